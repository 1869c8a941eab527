//! Keeps a list of programs running: the gettys and sshd of the console.
//!
//! Owns the programs that it started and nothing else. One thread a program; a program that ends is started again, at once when it ran for
//! a while, with growing pauses when it fails at start, so that a wrong sshd_config costs no CPU and is picked up when it is mended.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kernel::signals::{Event, Signals, wait_readable};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::fd::AsFd;

use crate::log::Log;

const LOG: Log = Log::of("respawn");
/// A program that ran this long did start.
const HEALTHY: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long programs have to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);
/// After this, SIGHUP says it again: a shell at its prompt does not listen to SIGTERM.
const HANG_UP_AFTER: Duration = Duration::from_millis(300);

/// Why `ros respawn` cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The list cannot be read.
    #[error("cannot read {path}; it holds one command a line")]
    List {
        /// The list.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Signals cannot be blocked.
    #[error("cannot take over signals")]
    Signals(#[source] io::Error),
}

/// The commands of a list: one a line, `#` comments and blank lines left out.
#[must_use]
pub fn parse(text: &str) -> Vec<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// Programs that are kept running.
#[derive(Debug, Clone, Default)]
pub struct Respawn {
    running: Arc<Mutex<BTreeMap<String, u32>>>,
    stopping: Arc<AtomicBool>,
}

impl Respawn {
    /// Starts `line` (split into words as a shell does, no shell) and keeps it running.
    pub fn keep(&self, line: String) {
        let this = self.clone();
        let name = line.clone();
        let started = std::thread::Builder::new()
            .name("respawn".into())
            .stack_size(128 * 1024)
            .spawn(move || this.supervise(&line));
        if let Err(error) = started {
            LOG.error(format_args!("{name}: cannot start a thread: {error}"));
        }
    }

    /// Ends all programs: SIGTERM, then SIGHUP, then SIGKILL.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.signal_all(Signal::SIGTERM);
        if !self.ends_within(HANG_UP_AFTER) {
            self.signal_all(Signal::SIGHUP);
            self.ends_within(GRACE - HANG_UP_AFTER);
        }
        self.signal_all(Signal::SIGKILL);
    }

    fn ends_within(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        while !self.lock().is_empty() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// Blocks until SIGTERM or SIGINT arrives at `signals`, then ends all programs. SIGHUP is passed on to them.
    pub fn run_until_told(&self, signals: &Signals) {
        loop {
            wait_readable(&[signals.as_fd()], None);
            while let Some(event) = signals.next() {
                match event {
                    Event::Terminate => return self.stop(),
                    Event::HangUp => self.signal_all(Signal::SIGHUP),
                    Event::Child | Event::User1 | Event::User2 => {}
                }
            }
        }
    }

    fn supervise(&self, line: &str) {
        let mut pause = FIRST_PAUSE;
        let mut told = false;
        while !self.stopping.load(Ordering::SeqCst) {
            let start = Instant::now();
            let end = self.run_once(line);
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            if start.elapsed() >= HEALTHY {
                (pause, told) = (FIRST_PAUSE, false);
                continue;
            }
            if !told {
                LOG.warn(format_args!("{line}: {end}; trying again"));
                told = true;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Runs the command to its end and says how it ended.
    fn run_once(&self, line: &str) -> String {
        let mut child = match spawn(line) {
            Ok(child) => child,
            Err(error) => return format!("does not start: {error}"),
        };
        self.lock().insert(line.to_owned(), child.id());
        let status = child.wait();
        self.lock().remove(line);
        match status {
            Ok(status) => format!("ended ({status})"),
            Err(error) => format!("cannot be waited for: {error}"),
        }
    }

    fn signal_all(&self, signal: Signal) {
        for (line, pid) in self.lock().iter() {
            let Ok(pid) = i32::try_from(*pid) else {
                continue;
            };
            if let Err(error) = kill(Pid::from_raw(pid), signal) {
                LOG.warn(format_args!("{line}: {signal} not delivered: {error}"));
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u32>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spawn(line: &str) -> io::Result<Child> {
    let words = shell_words::split(line).map_err(io::Error::other)?;
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| io::Error::other("empty command"))?;
    Command::new(program).args(arguments).spawn()
}

/// `ros respawn -f FILE`: keeps the programs of the list running until SIGTERM.
///
/// # Errors
/// When the list cannot be read or signals cannot be blocked.
pub fn run(list: &Path) -> Result<(), Error> {
    let text = std::fs::read_to_string(list).map_err(|source| Error::List {
        path: list.display().to_string(),
        source,
    })?;
    let signals = Signals::block().map_err(Error::Signals)?;
    let respawn = Respawn::default();
    for line in parse(&text) {
        respawn.keep(line);
    }
    respawn.run_until_told(&signals);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blank_lines_are_no_commands() {
        assert_eq!(
            parse("# consoles\n\n agetty tty1\nsshd -D # kept\n"),
            ["agetty tty1", "sshd -D # kept"]
        );
    }

    #[test]
    fn a_program_that_ends_is_started_again_and_stop_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let respawn = Respawn::default();
        respawn.keep(format!("/bin/sh -c 'echo x >> {}'", log.display()));
        respawn.keep("/bin/sleep 1000".into());
        let deadline = Instant::now() + Duration::from_secs(10);
        let lines = || {
            std::fs::read_to_string(&log)
                .unwrap_or_default()
                .lines()
                .count()
        };
        while lines() < 2 {
            assert!(Instant::now() < deadline, "started {} times", lines());
            std::thread::sleep(Duration::from_millis(20));
        }
        respawn.stop();
        std::thread::sleep(Duration::from_millis(100));
        assert!(respawn.lock().is_empty(), "{:?}", respawn.lock());
    }

    #[test]
    fn a_shell_that_does_not_listen_to_sigterm_ends_by_sighup() {
        let respawn = Respawn::default();
        respawn.keep("/bin/sh -c 'trap : TERM; while :; do sleep 0.05; done'".into());
        let deadline = Instant::now() + Duration::from_secs(10);
        while respawn.lock().is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(200));
        let begun = Instant::now();
        respawn.stop();
        assert!(begun.elapsed() < GRACE, "{:?}", begun.elapsed());
        assert!(begun.elapsed() >= HANG_UP_AFTER);
    }
}
