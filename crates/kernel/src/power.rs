//! reboot(2) and a sync that cannot hang its caller.

use std::sync::mpsc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::system::{RebootCommand, reboot};

/// What the machine does when it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Start again.
    Reboot,
    /// Stop and stay on.
    Halt,
    /// Stop and cut the power.
    PowerOff,
    /// Start the kernel that kexec_load(2) put in place.
    Kexec,
}

impl Stop {
    /// The word that users and messages use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::Halt => "halt",
            Self::PowerOff => "poweroff",
            Self::Kexec => "kexec",
        }
    }
}

/// Stops the machine at once; returns only when the kernel refuses. Nothing is synced first.
pub fn stop_now(how: Stop) -> Errno {
    let command = match how {
        Stop::Reboot => RebootCommand::Restart,
        Stop::Halt => RebootCommand::Halt,
        Stop::PowerOff => RebootCommand::PowerOff,
        Stop::Kexec => RebootCommand::Kexec,
    };
    match reboot(command) {
        Ok(()) => Errno::AGAIN,
        Err(errno) => errno,
    }
}

/// Makes Ctrl-Alt-Del send SIGINT to PID 1 instead of resetting the machine.
pub fn ctrl_alt_del_to_init() -> Result<(), Errno> {
    reboot(RebootCommand::CadOff)
}

/// Runs `action`, which may hang in the kernel (a dead disk or server never answers), but waits no longer than `limit`; false when
/// it has not ended by then. It is left behind in a thread.
pub fn finishes_within(limit: Duration, action: impl FnOnce() + Send + 'static) -> bool {
    let (done, wait) = mpsc::channel();
    let spawned = std::thread::Builder::new()
        .name("limited".into())
        .spawn(move || {
            action();
            // The receiver is gone when the limit has passed: nobody is left to tell.
            done.send(()).ok();
        });
    spawned.is_ok() && wait.recv_timeout(limit).is_ok()
}

/// Writes all dirty data back.
pub fn sync() {
    rustix::fs::sync();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_left_behind() {
        assert!(finishes_within(Duration::from_secs(5), sync));
        let hanging = || std::thread::sleep(Duration::from_secs(600));
        assert!(!finishes_within(Duration::from_millis(20), hanging));
        // A panic is an end too, but not a good one.
        assert!(!finishes_within(Duration::from_secs(5), || panic!(
            "expected here"
        )));
    }
}
