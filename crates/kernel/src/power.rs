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

/// Writes all dirty data back; false when that took longer than `limit` (a dead disk never answers).
pub fn sync_within(limit: Duration) -> bool {
    let (done, wait) = mpsc::channel();
    let spawned = std::thread::Builder::new()
        .name("sync".into())
        .spawn(move || {
            rustix::fs::sync();
            // The receiver is gone when the limit has passed: nobody is left to tell.
            done.send(()).ok();
        });
    spawned.is_ok() && wait.recv_timeout(limit).is_ok()
}
