//! The recovery console: a root shell on every console, without state, network or containers.
//!
//! Who gets it: somebody who could change the kernel line, as there is no password to ask for. After a failed boot that means
//! `rancher.recovery` or `rancher.autologin=<tty>` on it; otherwise the failure is shown and the machine starts again after
//! `panic=` seconds (60 without one), so that an unattended machine comes back by itself.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::machine::Machine;
use crate::outcome::Stop;
use crate::plan::PATH;
use crate::{disks_seen, log};

const SHELLS: [&[&str]; 3] = [
    &["/usr/bin/busybox", "sh", "-l"],
    &["/bin/bash", "-l"],
    &["/bin/sh", "-l"],
];

/// busybox would call reboot(2) itself, with file systems still mounted; these go the way of every other stop.
const ALIASES: &str = "alias reboot='kill -TERM 1' poweroff='kill -USR2 1' halt='kill -USR1 1'\n";
const PROFILE: &str = "/run/ros/recovery-profile";

/// Offers the shell until the machine is told to stop. An empty reason means that it was asked for.
pub fn run(machine: &mut Machine, reason: &str) -> Stop {
    if !reason.is_empty() {
        log::error(&format!("RancherOS has failed to boot: {reason}"));
    }
    for (name, pid) in machine.supervisor.release() {
        log::debug(&format!("stopping {name}"));
        kernel::process::kill(pid, kernel::process::Kill::Terminate);
    }
    if !reason.is_empty() && !may_log_in(machine) {
        log::plain(
            "To repair it, add rancher.recovery=true to the kernel command line in the boot menu.",
        );
        return pause_and_restart(machine);
    }
    let Some(shell) = SHELLS.into_iter().find(|shell| {
        shell
            .first()
            .is_some_and(|program| Path::new(program).exists())
    }) else {
        log::plain("There is no shell: it lies in the root image, which is not mounted.");
        return pause_and_restart(machine);
    };
    if let Err(error) = std::fs::write(PROFILE, ALIASES) {
        log::debug(&format!("{PROFILE}: {error}"));
    }
    log::info("Launching recovery console");
    log::plain(&disks_seen::text(&disks_seen::describe()));
    log::plain("`reboot` or `poweroff` leave this console.");
    keep_shells(machine, shell)
}

fn may_log_in(machine: &Machine) -> bool {
    let autologin =
        !machine.facts.cmdline.autologin.is_empty() && !machine.loaded.config.disabled("autologin");
    machine.facts.asks_for_recovery() || machine.loaded.config.rancher.recovery || autologin
}

fn pause_and_restart(machine: &mut Machine) -> Stop {
    let pause = machine.facts.failure_pause();
    match pause {
        Some(seconds) => log::plain(&format!("The machine starts again in {seconds} s.")),
        None => log::plain("The machine waits (panic=0); Ctrl-Alt-Del starts it again."),
    }
    let deadline = pause.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    loop {
        if let Some(stop) = machine.stop {
            return stop;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Stop::Reboot;
        }
        machine.wait(&[], deadline);
    }
}

struct Terminal {
    name: String,
    pid: Option<u32>,
    next: Instant,
}

fn keep_shells(machine: &mut Machine, shell: &[&str]) -> Stop {
    let mut terminals: Vec<Terminal> = terminals()
        .into_iter()
        .map(|name| Terminal {
            name,
            pid: None,
            next: Instant::now(),
        })
        .collect();
    loop {
        if let Some(stop) = machine.stop {
            return stop;
        }
        for terminal in &mut terminals {
            if terminal.pid.is_some_and(|pid| machine.ended(pid).is_some()) {
                terminal.pid = None;
                terminal.next = Instant::now() + Duration::from_secs(1);
            }
            if terminal.pid.is_none() && terminal.next <= Instant::now() {
                terminal.pid = start_shell(machine, &terminal.name, shell);
                terminal.next = Instant::now() + Duration::from_secs(1);
            }
        }
        let waiting = terminals.iter().filter(|terminal| terminal.pid.is_none());
        let deadline = waiting.map(|terminal| terminal.next).min();
        machine.wait(&[], deadline);
    }
}

/// The consoles that can hold a session: tty0 is whichever screen is in front, so its first one is used.
fn terminals() -> Vec<String> {
    let mut names: Vec<String> = kernel::tty::active_consoles()
        .into_iter()
        .map(|name| {
            if name == "tty0" {
                "tty1".to_owned()
            } else {
                name
            }
        })
        .collect();
    if names.is_empty() {
        names.push("console".to_owned());
    }
    names.dedup();
    names
}

fn start_shell(machine: &mut Machine, name: &str, shell: &[&str]) -> Option<u32> {
    let (program, arguments) = shell.split_first()?;
    let terminal = kernel::tty::open(name)
        .inspect_err(|error| log::warn(&format!("{name}: {error}")))
        .ok()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("TERM", "linux")
        .env("ENV", PROFILE);
    command
        .env("PS1", "[Recovery console \\u@\\h:\\w]# ")
        .env("USER", "root");
    kernel::tty::run_on(&mut command, &terminal).ok()?;
    machine
        .start(&mut command)
        .inspect_err(|error| log::warn(&crate::outcome::chain(error)))
        .ok()
}
