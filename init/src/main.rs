//! PID 1 of RancherOS: brings the machine up in named phases, keeps three daemons running, takes it down again.
//!
//! Everything that can happen ends in a value ([`outcome::Outcome`]) that reaches one tail here; nothing else stops the machine.
//! Synchronous, one thread; it must never wait without a deadline and never panic.

mod children;
mod cloud_init;
mod commands;
mod configuration;
mod containerd;
mod disks_seen;
mod early;
mod facts;
mod groups;
mod layout;
mod log;
mod machine;
mod outcome;
mod plan;
mod record;
mod recovery;
mod reserve;
mod root_image;
mod seed;
mod sequence;
mod services;
mod shutdown;
mod state;
mod supervise;
mod system_docker;
mod writable;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use machine::Machine;
use outcome::{Outcome, Stop};

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!(
            "init: this program is PID 1 of RancherOS; to stop the machine use reboot, poweroff or halt"
        );
        return ExitCode::from(2);
    }
    std::panic::set_hook(Box::new(|panic| {
        log::error(&format!("internal error: {panic}"))
    }));
    let mut outcome = match caught(boot) {
        Ok((mut machine, outcome)) => return follow(&mut machine, outcome),
        Err(reason) => Outcome::Recovery(reason),
    };
    // Not even the machine's state could be built: a fresh one serves recovery and shutdown.
    loop {
        match caught(Machine::new) {
            Ok(Ok(mut machine)) => return follow(&mut machine, outcome),
            Ok(Err(error)) => outcome = Outcome::Recovery(outcome::chain(&error)),
            Err(reason) => outcome = Outcome::Recovery(reason),
        }
        log::error("cannot start; trying again in 10 s");
        std::thread::sleep(Duration::from_secs(10));
    }
}

/// Runs the boot sequence and then supervises until something ends it.
fn boot() -> (Machine, Outcome) {
    let mut machine = loop {
        match Machine::new() {
            Ok(machine) => break machine,
            Err(error) => log::error(&outcome::chain(&error)),
        }
        std::thread::sleep(Duration::from_secs(1));
    };
    let outcome = match caught(|| sequence::run(&mut machine)) {
        Ok(outcome) => outcome,
        Err(reason) => Outcome::Recovery(reason),
    };
    (machine, outcome)
}

/// The one tail: whatever the outcome, the machine ends in recovery or stopped.
fn follow(machine: &mut Machine, mut outcome: Outcome) -> ExitCode {
    loop {
        outcome = match outcome {
            Outcome::Recovery(reason) => match caught(|| recovery::run(machine, &reason)) {
                Ok(stop) => Outcome::Stop(stop),
                Err(_) => Outcome::Stop(Stop::Reboot),
            },
            Outcome::Stop(stop) => {
                if caught(|| shutdown::tidy(machine, stop)).is_err() {
                    log::error("stopping without having tidied up");
                }
                shutdown::stop(stop);
                Outcome::Stop(Stop::Reboot)
            }
        };
    }
}

/// Runs `action`; a panic in it becomes its message.
fn caught<T>(action: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(action)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        format!("internal error: {}", text.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_reason() {
        assert_eq!(caught(|| 3), Ok(3));
        let empty: Vec<u8> = Vec::new();
        let reason = caught(|| empty[std::hint::black_box(7)]).unwrap_err();
        assert!(
            reason.starts_with("internal error: index out of bounds"),
            "{reason}"
        );
    }
}
