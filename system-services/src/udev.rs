//! `ros udev-init`: main process of `udev`: starts udevd, has every device that the kernel already knows set up, and says so in
//! `/run/udev-done`.
//!
//! The rules are Debian's. Must not load the modules of the configuration: init does.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use kernel::signals::{Event, Signals, wait_readable};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::fd::AsFd;

use crate::log::Log;

const LOG: Log = Log::of("udev");
const UDEVD: &str = "/usr/lib/systemd/systemd-udevd";
const CONTROL: &str = "/run/udev/control";
const DONE: &str = "/run/udev-done";
/// Devices that take longer are set up all the same; what waits for udev goes on.
const SETTLE_LIMIT: &str = "30";
const START_LIMIT: Duration = Duration::from_secs(10);

/// Devices that no rule does anything for but give an owner.
const LATER: [&str; 14] = [
    "ata_device",
    "ata_link",
    "ata_port",
    "bdi",
    "clockevents",
    "clocksource",
    "machinecheck",
    "mem",
    "memory",
    "misc",
    "tty",
    "vc",
    "wakeup",
    "workqueue",
];
/// Longest wait of those for Docker.
const PATIENCE: Duration = Duration::from_secs(20);
const DOCKER_DONE: &str = "/run/docker-done";

/// Why devices are not set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program is missing.
    #[error("cannot run {0}")]
    Start(&'static str, #[source] io::Error),
    /// Signals cannot be blocked.
    #[error("cannot take over signals")]
    Signals(#[source] io::Error),
    /// udevd ended.
    #[error("udevd ended: {0}")]
    Ended(ExitStatus),
    /// udevd does not listen.
    #[error("udevd does not listen on {CONTROL} after {} s", START_LIMIT.as_secs())]
    Silent,
    /// udevadm failed.
    #[error("udevadm {0} failed: {1}")]
    Udevadm(String, ExitStatus),
    /// The stamp cannot be written.
    #[error("cannot write {DONE}")]
    Done(#[source] io::Error),
}

/// Runs udevd until SIGTERM.
///
/// # Errors
/// When udevd cannot be started or ends by itself: the service manager starts the container again.
pub fn run() -> Result<(), Error> {
    let signals = Signals::block().map_err(Error::Signals)?;
    // A socket left by the container before would pass for a running udevd.
    std::fs::remove_file(CONTROL).ok();
    let mut udevd = Command::new(UDEVD)
        .arg(format!("--children-max={}", workers()))
        .spawn()
        .map_err(|error| Error::Start(UDEVD, error))?;
    // Not waited for: it ends with the process.
    std::thread::Builder::new()
        .name("cold-plug".into())
        .spawn(|| {
            if let Err(error) = cold_plug() {
                LOG.failure(&error);
            }
        })
        .map_err(|error| Error::Start("a thread", error))?;
    supervise(&mut udevd, &signals)
}

/// udevd's own choice, eight and more, has each of two processors change between ten processes while the user's Docker starts.
fn workers() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (2 * processors).max(4)
}

/// Waits for the end of udevd, which SIGTERM brings about.
fn supervise(udevd: &mut Child, signals: &Signals) -> Result<(), Error> {
    let mut told = false;
    loop {
        let ended = udevd
            .try_wait()
            .map_err(|error| Error::Start(UDEVD, error))?;
        match ended {
            Some(status) if told || status.signal().is_some_and(|signal| signal == 15) => {
                return Ok(());
            }
            Some(status) => return Err(Error::Ended(status)),
            None => {}
        }
        wait_readable(&[signals.as_fd()], None);
        while let Some(event) = signals.next() {
            if event == Event::Terminate {
                told = true;
                terminate(udevd);
            }
        }
    }
}

fn terminate(udevd: &Child) {
    let Ok(pid) = i32::try_from(udevd.id()) else {
        return;
    };
    if let Err(error) = kill(Pid::from_raw(pid), Signal::SIGTERM) {
        LOG.warn(format_args!("udevd cannot be signalled: {error}"));
    }
}

/// Has udevd treat every device as if it had just appeared: first what brings drivers, disks and network cards, then, when the user's Docker
/// has had the processor, terminals and the like, which only get an owner.
fn cold_plug() -> Result<(), Error> {
    wait_for_udevd()?;
    let (first, later): (Vec<_>, Vec<_>) = devices(Path::new("/sys/devices"))
        .into_iter()
        .partition(|device| !LATER.contains(&device.subsystem.as_str()));
    trigger(&first);
    if let Err(error) = settle() {
        // Slow devices hold up nothing for longer than this.
        LOG.failure(&error);
    }
    std::fs::write(DONE, "").map_err(Error::Done)?;
    LOG.info(format_args!("{} devices are set up", first.len()));
    let deadline = Instant::now() + PATIENCE;
    while !Path::new(DOCKER_DONE).exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(250));
    }
    trigger(&later);
    Ok(())
}

/// A device of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Device {
    folder: PathBuf,
    subsystem: String,
}

/// Every device below `folder`, parents before children.
fn devices(folder: &Path) -> Vec<Device> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if folder.join("uevent").exists()
            && let Ok(subsystem) = std::fs::read_link(folder.join("subsystem"))
        {
            found.push(Device {
                subsystem: subsystem
                    .file_name()
                    .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
                folder: folder.clone(),
            });
        }
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        // Links lead out of the tree or back up.
        folders.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    found.sort_by(|a, b| a.folder.cmp(&b.folder));
    found
}

/// What `udevadm trigger --action=add` does, without starting a program.
fn trigger(devices: &[Device]) {
    for device in devices {
        // It may have gone meanwhile; some refuse.
        std::fs::write(device.folder.join("uevent"), "add").ok();
    }
}

fn wait_for_udevd() -> Result<(), Error> {
    let deadline = Instant::now() + START_LIMIT;
    while !Path::new(CONTROL).exists() {
        if Instant::now() >= deadline {
            return Err(Error::Silent);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// `ros udev-settle`: waits until udevd has nothing left to do.
///
/// # Errors
/// When udevadm cannot be run or gives up.
pub fn settle() -> Result<(), Error> {
    udevadm(&["settle", "--timeout", SETTLE_LIMIT])
}

fn udevadm(arguments: &[&str]) -> Result<(), Error> {
    let status = Command::new("udevadm")
        .args(arguments)
        .status()
        .map_err(|error| Error::Start("udevadm", error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Udevadm(arguments.join(" "), status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn devices_come_with_their_subsystem_and_parents_first() {
        let root = tempfile::tempdir().unwrap();
        let device = |path: &str, subsystem: &str| {
            let folder = root.path().join("devices").join(path);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("uevent"), "").unwrap();
            symlink(format!("../../bus/{subsystem}"), folder.join("subsystem")).unwrap();
            folder
        };
        let child = device("pci0/a/net/eth0", "net");
        device("pci0/a", "pci");
        // A link back up must not lead into a circle.
        symlink("../..", child.join("device")).unwrap();
        let found = devices(&root.path().join("devices"));
        let names: Vec<&str> = found
            .iter()
            .map(|device| device.subsystem.as_str())
            .collect();
        assert_eq!(names, ["pci", "net"]);
        trigger(&found);
        assert_eq!(fs::read_to_string(child.join("uevent")).unwrap(), "add");
    }
}
