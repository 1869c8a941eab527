//! The state of PID 1, and waiting: every wait has a deadline, and while waiting signals are heard, orphans reaped and daemons kept.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use kernel::process::{Exit, Kill};
use kernel::signals::{Event, Signals, wait_readable};
use os_config::{Config, Loaded};

use crate::children::Children;
use crate::facts::Facts;
use crate::groups::Groups;
use crate::outcome::Stop;
use crate::record::Record;
use crate::supervise::Supervisor;

/// Why PID 1 could not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The signal descriptor could not be made.
    #[error("cannot receive signals")]
    Signals(#[source] io::Error),
}

/// Why a program that had to finish did not.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be started.
    #[error("cannot start {program}")]
    Start {
        /// Its path.
        program: String,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// It took too long and was killed.
    #[error("{program} was still running after {} s and was killed", .limit.as_secs())]
    TooLong {
        /// Its path.
        program: String,
        /// How long it was given.
        limit: Duration,
    },
    /// The machine is told to stop.
    #[error("{program} was cut short: the machine is told to stop")]
    Stopping {
        /// Its path.
        program: String,
    },
}

/// Everything PID 1 knows.
#[derive(Debug)]
pub struct Machine {
    /// What was found when it started.
    pub facts: Facts,
    /// The configuration, once read.
    pub loaded: Loaded,
    /// The configuration that host name, sysctl and modules were last set from.
    pub applied: Config,
    /// The record of this boot.
    pub record: Record,
    /// The daemons that are kept running.
    pub supervisor: Supervisor,
    /// The control groups, once made.
    pub groups: Option<Groups>,
    /// State settings that a disk of docker-machine stands for.
    pub implied_state: Option<os_config::types::State>,
    /// Set when a signal asked to stop the machine.
    pub stop: Option<Stop>,
    signals: Signals,
    children: Children,
}

impl Machine {
    /// Blocks the signals and begins with nothing known.
    pub fn new() -> Result<Self, Error> {
        Ok(Self {
            facts: Facts::default(),
            loaded: Loaded::default(),
            applied: Config::default(),
            record: Record::default(),
            supervisor: Supervisor::default(),
            groups: None,
            implied_state: None,
            stop: None,
            signals: Signals::block().map_err(Error::Signals)?,
            children: Children::default(),
        })
    }

    /// Sleeps until one of `fds` is readable, a signal has been handled or `deadline` has passed.
    pub fn wait(&mut self, fds: &[BorrowedFd<'_>], deadline: Option<Instant>) {
        self.keep();
        let next = [deadline, self.supervisor.next_start()]
            .into_iter()
            .flatten()
            .min();
        let mut all = vec![self.signals.as_fd()];
        all.extend_from_slice(fds);
        wait_readable(&all, next);
        self.keep();
    }

    /// Hears pending signals, reaps, and starts daemons that are due.
    fn keep(&mut self) {
        while let Some(event) = self.signals.next() {
            match event {
                Event::Child => {}
                Event::Terminate => self.stop = Some(Stop::Reboot),
                Event::User1 => self.stop = Some(Stop::Halt),
                Event::User2 => self.stop = Some(Stop::PowerOff),
                Event::HangUp => continue,
            }
        }
        // Signals of one kind merge while they are pending, so reaping never counts them.
        for (pid, exit) in self.children.reap_all() {
            self.supervisor.ended(pid, exit, Instant::now());
        }
        self.supervisor.start_due(Instant::now());
    }

    /// Starts a program whose end somebody will ask for.
    pub fn start(&mut self, command: &mut Command) -> Result<u32, RunError> {
        kernel::signals::unblock_in(command);
        let spawned = command.spawn().map_err(|cause| RunError::Start {
            program: name_of(command),
            cause,
        })?;
        self.children.watch(spawned.id());
        Ok(spawned.id())
    }

    /// How a program started with [`Machine::start`] ended, if it has.
    pub fn ended(&mut self, pid: u32) -> Option<Exit> {
        self.keep();
        self.children.take(pid)
    }

    /// Runs a program to its end, but no longer than `limit` and not into a stop of the machine.
    pub fn run(&mut self, command: &mut Command, limit: Duration) -> Result<Exit, RunError> {
        let pid = self.start(command)?;
        let deadline = Instant::now() + limit;
        let already_stopping = self.stop.is_some();
        loop {
            if let Some(exit) = self.ended(pid) {
                return Ok(exit);
            }
            let program = name_of(command);
            if self.stop.is_some() && !already_stopping {
                self.end(pid);
                return Err(RunError::Stopping { program });
            }
            if Instant::now() >= deadline {
                self.end(pid);
                return Err(RunError::TooLong { program, limit });
            }
            self.wait(&[], Some(deadline));
        }
    }

    /// Kills a watched program.
    pub fn end(&mut self, pid: u32) {
        kernel::process::kill(pid, Kill::Kill);
        self.children.forget(pid);
    }
}

fn name_of(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}
