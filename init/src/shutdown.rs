//! The end of the machine: containers first, then processes, then file systems, then reboot(2). Each step has a limit, and none
//! can keep the next from being tried.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kernel::mount::{self, MountInfo};
use kernel::power;
use kernel::process::{self, Kill};

use crate::log;
use crate::machine::{Machine, RunError};
use crate::outcome::{Stop, chain};
use crate::plan::PATH;

const MANAGER_PATIENCE: Duration = Duration::from_secs(3);
const TERM_PATIENCE: Duration = Duration::from_secs(5);
const KILL_PATIENCE: Duration = Duration::from_secs(3);
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(20);
const SYNC_PATIENCE: Duration = Duration::from_secs(20);

/// Stops everything and leaves nothing unwritten, as far as that goes.
pub fn tidy(machine: &mut Machine, stop: Stop) {
    log::info(&format!("{}: stopping containers", stop.name()));
    let limit = Duration::from_secs(u64::from(
        machine.loaded.config.rancher.shutdown_timeout.max(5),
    ));
    let daemons = machine.supervisor.release();
    // First the one that would start again what is being stopped.
    end_manager(machine, &daemons);
    if daemons.iter().any(|(name, _)| *name == "system-docker") {
        stop_containers(machine, stop, limit);
    }
    log::info(&format!("{}: stopping processes", stop.name()));
    end_everything(machine);
    log::info(&format!("{}: unmounting", stop.name()));
    if !power::finishes_within(SYNC_PATIENCE, power::sync) {
        log::error("a disk does not take its data; going on without it");
    }
    if !power::finishes_within(UNMOUNT_PATIENCE, unmount_all) {
        log::error("a file system does not let itself be unmounted; going on without it");
    }
    power::finishes_within(KILL_PATIENCE, power::sync);
}

/// Stops the machine; returns only when the kernel refuses.
pub fn stop(stop: Stop) {
    log::plain(&format!("[            ] init:info: {}", stop.name()));
    let refused = power::stop_now(stop);
    log::error(&format!("the kernel refuses to {}: {refused}", stop.name()));
    std::thread::sleep(Duration::from_secs(5));
}

fn end_manager(machine: &mut Machine, daemons: &[(&'static str, u32)]) {
    let Some((_, pid)) = daemons.iter().find(|(name, _)| *name == "service-manager") else {
        return;
    };
    process::kill(*pid, Kill::Terminate);
    let deadline = Instant::now() + MANAGER_PATIENCE;
    // A zombie still counts as alive here until it is reaped, which waiting does.
    while process::is_alive(*pid) && Instant::now() < deadline {
        machine.wait(&[], Some(deadline));
    }
    if process::is_alive(*pid) {
        process::kill(*pid, Kill::Kill);
    }
}

fn stop_containers(machine: &mut Machine, stop: Stop, limit: Duration) {
    let mut command = Command::new("ros");
    command
        .args(["service-manager", "stop-all"])
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::null());
    match machine.run(&mut command, limit) {
        Ok(exit) if exit.is_success() => {}
        Ok(exit) => log::warn(&format!("ros service-manager stop-all {exit}")),
        Err(RunError::TooLong { .. }) => log::plain(&format!(
            "Container shutdown taking too long, forcing {}.",
            stop.name()
        )),
        Err(error) => log::warn(&chain(&error)),
    }
}

/// SIGTERM, a while to comply, SIGKILL. Kernel threads are not touched by either.
fn end_everything(machine: &mut Machine) {
    for (how, patience) in [
        (Kill::Terminate, TERM_PATIENCE),
        (Kill::Kill, KILL_PATIENCE),
    ] {
        process::kill_everything(how);
        let deadline = Instant::now() + patience;
        while !process::others().is_empty() && Instant::now() < deadline {
            machine.wait(
                &[],
                Some(deadline.min(Instant::now() + Duration::from_millis(250))),
            );
        }
    }
    let left = process::others();
    if !left.is_empty() {
        let names: Vec<String> = left
            .iter()
            .map(|(pid, name)| format!("{name} ({pid})"))
            .collect();
        log::warn(&format!("still running: {}", names.join(", ")));
    }
}

/// What holds data that must reach a disk, as opposed to the kernel's own file systems and the read-only root.
fn holds_data(mount: &MountInfo) -> bool {
    const VIRTUAL: [&str; 14] = [
        "proc",
        "sysfs",
        "devtmpfs",
        "devpts",
        "cgroup2",
        "mqueue",
        "securityfs",
        "bpf",
        "efivarfs",
        "fusectl",
        "rootfs",
        "squashfs",
        "nsfs",
        "binfmt_misc",
    ];
    !VIRTUAL.contains(&mount.fstype.as_str()) && mount.target != Path::new("/")
}

/// Unmounts in rounds, as one mount may keep another busy; what stays busy is made read-only.
fn unmount_all() {
    for _ in 0..3 {
        let table = mount::table().unwrap_or_default();
        let mut progress = false;
        for mount in mount::unmount_order(&table)
            .into_iter()
            .filter(|mount| holds_data(mount))
        {
            progress |= mount::unmount(&mount.target).is_ok();
        }
        if !progress {
            break;
        }
    }
    for mount in mount::table()
        .unwrap_or_default()
        .iter()
        .filter(|mount| holds_data(mount) && mount.fstype != "tmpfs")
    {
        if !mount.is_read_only()
            && let Err(error) = mount::remount_read_only(&mount.target)
        {
            log::warn(&chain(&error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_and_the_kernels_own_stay_mounted() {
        let table = mount::parse_mountinfo(
            "1 0 7:0 / / ro - squashfs /dev/loop0 ro\n2 1 0:5 / /proc rw - proc proc rw\n3 1 254:0 / /state rw - ext4 /dev/vda rw\n\
             4 1 0:9 / /run rw - tmpfs tmpfs rw\n5 1 0:10 / /etc rw - overlay overlay rw\n",
        );
        let targets: Vec<String> = table
            .iter()
            .filter(|mount| holds_data(mount))
            .map(|mount| mount.target.display().to_string())
            .collect();
        assert_eq!(targets, ["/state", "/run", "/etc"]);
    }
}
