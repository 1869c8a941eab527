//! Stopping the machine: `halt`, `poweroff`, `reboot`, `shutdown`.
//!
//! Asks PID 1, which stops the containers and unmounts (ARCHITECTURE.md, "Talking to PID 1"); with force it syncs and does it at once. Must
//! not stop anything itself.

use std::fs;
use std::time::Duration;

use kernel::power::{Stop, finishes_within, stop_now, sync};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use os_config::store::load_running;
use os_config::{Problem, Severity};

/// Unwritten data is given this long when nothing else is waited for.
const SYNC_LIMIT: Duration = Duration::from_secs(10);

/// How the request is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Containers are stopped, file systems unmounted. Refused when the next boot would find a broken configuration.
    Orderly,
    /// At once.
    Forced,
}

/// Why the machine goes on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The next boot would not come up as configured.
    #[error(
        "the configuration has errors:\n{}\nMend them (sudo ros config validate). `{command} -f` asks no questions, but stops no containers and unmounts nothing",
        lines(.problems)
    )]
    Configuration {
        /// The command.
        command: &'static str,
        /// The errors.
        problems: Vec<Problem>,
    },
    /// PID 1 is something else.
    #[error(
        "PID 1 here is `{0}`, not the init of RancherOS; run this in the console, or in a container with `pid: host`"
    )]
    NotInit(String),
    /// PID 1 cannot be signalled.
    #[error("cannot tell init to {command}; use sudo")]
    Signal {
        /// The command.
        command: &'static str,
        /// Why.
        #[source]
        source: Errno,
    },
    /// The kernel refused.
    #[error("the kernel refuses to {command}")]
    Refused {
        /// The command.
        command: &'static str,
        /// Why.
        #[source]
        source: rustix::io::Errno,
    },
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("  {problem}"))
        .collect();
    lines.join("\n")
}

/// Stops the machine.
///
/// # Errors
/// See [`Error`]. Returns when init has been told; with [`Manner::Forced`] only when it failed.
pub fn stop(how: Stop, manner: Manner) -> Result<(), Error> {
    match manner {
        Manner::Forced => {
            finishes_within(SYNC_LIMIT, sync);
            let source = stop_now(how);
            Err(Error::Refused {
                command: how.name(),
                source,
            })
        }
        Manner::Orderly => orderly(how),
    }
}

fn orderly(how: Stop) -> Result<(), Error> {
    let command = how.name();
    let problems: Vec<Problem> = load_running()
        .problems
        .into_iter()
        .filter(|problem| problem.severity == Severity::Error)
        .collect();
    if !problems.is_empty() {
        return Err(Error::Configuration { command, problems });
    }
    let pid_1 = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    if pid_1.trim() != "init" {
        return Err(Error::NotInit(pid_1.trim().to_owned()));
    }
    println!("{}: stopping containers, then the system", title(how));
    kill(Pid::from_raw(1), signal_for(how)).map_err(|source| Error::Signal { command, source })
}

fn title(how: Stop) -> &'static str {
    match how {
        Stop::Reboot | Stop::Kexec => "Rebooting",
        Stop::Halt => "Halting",
        Stop::PowerOff => "Powering off",
    }
}

/// The contract with init.
fn signal_for(how: Stop) -> Signal {
    match how {
        Stop::Reboot | Stop::Kexec => Signal::SIGTERM,
        Stop::Halt => Signal::SIGUSR1,
        Stop::PowerOff => Signal::SIGUSR2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use os_config::problem::Position;

    #[test]
    fn a_broken_configuration_is_explained() {
        let problem = Problem::new(
            Severity::Error,
            &Position::whole("/x/boot.yml"),
            "rancher.ssh.port",
            "not a number",
        );
        let error = Error::Configuration {
            command: "reboot",
            problems: vec![problem],
        };
        assert_eq!(
            error.to_string(),
            "the configuration has errors:\n  /x/boot.yml: rancher.ssh.port: not a number\nMend them (sudo ros config validate). `reboot -f` asks no questions, but stops no containers and unmounts nothing"
        );
    }

    #[test]
    fn signals_are_those_of_the_contract() {
        assert_eq!(signal_for(Stop::Reboot), Signal::SIGTERM);
        assert_eq!(signal_for(Stop::Halt), Signal::SIGUSR1);
        assert_eq!(signal_for(Stop::PowerOff), Signal::SIGUSR2);
    }
}
