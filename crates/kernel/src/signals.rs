//! Signals as a file descriptor (signalfd(2)) and waiting on descriptors with a deadline.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A signal that PID 1 acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// SIGCHLD: at least one child ended.
    Child,
    /// SIGTERM, or SIGINT (which Ctrl-Alt-Del sends).
    Terminate,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
    /// SIGHUP.
    HangUp,
}

/// Blocked signals, read through a descriptor. Children inherit the block: give each of them [`unblock_in`].
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals of [`Event`] for the calling thread (call it before any other thread starts).
    pub fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [
            Signal::SIGCHLD,
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGHUP,
        ] {
            set.add(signal);
        }
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
        Ok(Self(SignalFd::with_flags(
            &set,
            SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC,
        )?))
    }

    /// The next pending signal, or `None`.
    pub fn next(&self) -> Option<Event> {
        loop {
            let info = self.0.read_signal().ok()??;
            let signal = i32::try_from(info.ssi_signo)
                .ok()
                .and_then(|number| Signal::try_from(number).ok());
            match signal {
                Some(Signal::SIGCHLD) => return Some(Event::Child),
                Some(Signal::SIGTERM | Signal::SIGINT) => return Some(Event::Terminate),
                Some(Signal::SIGUSR1) => return Some(Event::User1),
                Some(Signal::SIGUSR2) => return Some(Event::User2),
                Some(Signal::SIGHUP) => return Some(Event::HangUp),
                _ => {}
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Makes `command` start with no signal blocked, whatever this process blocks.
pub fn unblock_in(command: &mut Command) {
    // SAFETY: only sigprocmask(2) is called between fork and exec; it is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(|| {
            Ok(sigprocmask(
                SigmaskHow::SIG_SETMASK,
                Some(&SigSet::empty()),
                None,
            )?)
        });
    }
}

/// Sleeps until one of `fds` is readable or `deadline` passes; true when something is readable. `None` waits for ever.
pub fn wait_readable(fds: &[BorrowedFd<'_>], deadline: Option<Instant>) -> bool {
    loop {
        let mut polled: Vec<PollFd<'_>> = fds
            .iter()
            .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
            .collect();
        let timeout = deadline.map(|at| timespec(at.saturating_duration_since(Instant::now())));
        match poll(&mut polled, timeout.as_ref()) {
            Ok(count) => return count > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked_in_child(prepare: fn(&mut Command)) -> String {
        let mut set = SigSet::empty();
        set.add(Signal::SIGTERM);
        nix::sys::signal::pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), None).unwrap();
        let mut command = Command::new("cat");
        prepare(command.arg("/proc/self/status"));
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines()
            .find_map(|line| line.strip_prefix("SigBlk:"))
            .unwrap()
            .trim()
            .to_owned()
    }

    #[test]
    fn children_start_with_no_signal_blocked() {
        assert_eq!(blocked_in_child(|_| {}), "0000000000004000");
        assert_eq!(blocked_in_child(unblock_in), "0000000000000000");
    }
}
