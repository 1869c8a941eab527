//! Keeping daemons running: start, restart with back-off, stop. Which daemons and how they are called is their own modules' business.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kernel::cgroup::Group;
use kernel::process::{self, Exit, Kill};

use crate::log;
use crate::machine::Machine;
use crate::outcome::Outcome;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often logs are looked at, and how long they may get: nothing rotates them while their daemon runs.
const LOG_PAUSE: Duration = Duration::from_secs(10 * 60);
const LOG_LIMIT: u64 = 4 << 20;
/// A daemon that ran this long is taken as healthy: its next end counts as the first.
const HEALTHY: Duration = Duration::from_secs(60);

/// Where a daemon's output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// To `/dev/console`.
    Console,
    /// Appended to this file.
    File(PathBuf),
}

/// How a daemon is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Program and arguments.
    pub command: Vec<String>,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// Where its output goes.
    pub output: Output,
    /// -1000 (never) to 1000 (first): who dies when memory runs out.
    pub oom_score: i32,
}

#[derive(Debug)]
struct Daemon {
    name: &'static str,
    launch: Launch,
    group: Option<Group>,
    pid: Option<u32>,
    started: Instant,
    failures: u32,
    due: Option<Instant>,
}

/// The daemons of the host.
#[derive(Debug, Default)]
pub struct Supervisor {
    daemons: Vec<Daemon>,
}

impl Supervisor {
    /// Adds a daemon and starts it. When it is there already and is to be called differently, it is started anew.
    pub fn keep_running(&mut self, name: &'static str, launch: Launch, group: Option<Group>) {
        let now = Instant::now();
        match self.daemons.iter_mut().find(|daemon| daemon.name == name) {
            Some(daemon) if daemon.launch == launch => {}
            Some(daemon) => {
                daemon.launch = launch;
                log::info(&format!("{name}: settings changed, starting it again"));
                match daemon.pid {
                    // Its end starts it with the new settings.
                    Some(pid) => _ = process::kill(pid, Kill::Terminate),
                    None => daemon.due = Some(now),
                }
            }
            None => self.daemons.push(Daemon {
                name,
                launch,
                group,
                pid: None,
                started: now,
                failures: 0,
                due: Some(now),
            }),
        }
        self.start_due(now);
    }

    /// When the next daemon is to be started.
    pub fn next_start(&self) -> Option<Instant> {
        self.daemons.iter().filter_map(|daemon| daemon.due).min()
    }

    /// Starts the daemons whose time has come.
    pub fn start_due(&mut self, now: Instant) {
        for daemon in self
            .daemons
            .iter_mut()
            .filter(|daemon| daemon.due.is_some_and(|due| due <= now))
        {
            daemon.due = None;
            daemon.started = now;
            match spawn(&daemon.launch, daemon.group.as_ref()) {
                Ok(pid) => daemon.pid = Some(pid),
                Err(error) => {
                    log::error(&format!("cannot start {}: {error}", daemon.name));
                    daemon.failures += 1;
                    daemon.due = Some(now + pause(daemon.failures));
                }
            }
        }
    }

    /// A child ended; if it is a daemon, its next start is planned.
    pub fn ended(&mut self, pid: u32, exit: Exit, now: Instant) {
        let Some(daemon) = self
            .daemons
            .iter_mut()
            .find(|daemon| daemon.pid == Some(pid))
        else {
            return;
        };
        daemon.pid = None;
        if now.saturating_duration_since(daemon.started) >= HEALTHY {
            daemon.failures = 0;
        }
        daemon.failures += 1;
        let pause = pause(daemon.failures);
        daemon.due = Some(now + pause);
        log::warn(&format!(
            "{} {exit}; starting it again in {} ms",
            daemon.name,
            pause.as_millis()
        ));
    }

    /// Cuts logs that have become too long; what they said last is kept beside them.
    fn trim_logs(&self) {
        for daemon in &self.daemons {
            if let Output::File(path) = &daemon.launch.output
                && let Err(error) = trim(path, LOG_LIMIT)
            {
                log::debug(&format!("{}: {error}", path.display()));
            }
        }
    }

    /// Forgets all daemons, so that none is started again; gives the processes that still run, last started first.
    pub fn release(&mut self) -> Vec<(&'static str, u32)> {
        let running = self
            .daemons
            .iter()
            .rev()
            .filter_map(|daemon| Some((daemon.name, daemon.pid?)));
        let running = running.collect();
        self.daemons.clear();
        running
    }
}

/// 100 ms after the first failure, then twice as long each time, 30 s at most.
fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_PAUSE
        .saturating_mul(1 << doublings)
        .min(LONGEST_PAUSE)
}

/// The daemon appends to the file and goes on at its new end.
fn trim(path: &Path, limit: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    if file.metadata()?.len() > limit {
        // Without room for a copy (a full disk) the log is cut all the same: that makes room.
        let copied = std::fs::copy(path, path.with_extension("log.1"));
        file.set_len(0)?;
        copied?;
    }
    Ok(())
}

fn spawn(launch: &Launch, group: Option<&Group>) -> io::Result<u32> {
    let (program, arguments) = launch
        .command
        .split_first()
        .ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(launch.environment.iter().cloned())
        .stdin(Stdio::null());
    if let Some(file) = output_file(&launch.output) {
        command.stderr(file.try_clone()?).stdout(file);
    }
    process::isolate(&mut command, group)?;
    let pid = command.spawn()?.id();
    // Only a matter of who dies first when memory runs out.
    process::set_oom_score(pid, launch.oom_score).ok();
    Ok(pid)
}

/// A file that cannot be opened (a full disk) must not keep a daemon from running: it then writes to the console.
fn output_file(output: &Output) -> Option<File> {
    let path = match output {
        Output::Console => return None,
        Output::File(path) => path,
    };
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.inspect_err(|error| log::warn(&format!("cannot write {}: {error}", path.display())))
        .ok()
}

/// Stays here as long as the machine runs.
pub fn run(machine: &mut Machine) -> Outcome {
    let mut next_look = Instant::now();
    loop {
        if let Some(stop) = machine.stop {
            return Outcome::Stop(stop);
        }
        if Instant::now() >= next_look {
            machine.supervisor.trim_logs();
            next_look = Instant::now() + LOG_PAUSE;
        }
        machine.wait(&[], Some(next_look));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn launch(command: &[&str]) -> Launch {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Launch {
            command,
            environment: Vec::new(),
            output: Output::Console,
            oom_score: 0,
        }
    }

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        let pauses: Vec<u128> = [1, 2, 3, 9, 10, 50]
            .map(|failures| pause(failures).as_millis())
            .into();
        assert_eq!(pauses, [100, 200, 400, 25_600, 30_000, 30_000]);
    }

    #[test]
    fn a_long_life_forgives_earlier_failures() {
        let mut supervisor = Supervisor::default();
        supervisor.keep_running("true", launch(&["/bin/true"]), None);
        let pid = supervisor.daemons[0].pid.unwrap();
        supervisor.daemons[0].failures = 7;
        let start = supervisor.daemons[0].started;
        supervisor.ended(pid, Exit::Code(0), start + Duration::from_secs(59));
        assert_eq!(supervisor.daemons[0].failures, 8);
        supervisor.daemons[0].pid = Some(pid);
        supervisor.ended(pid, Exit::Code(0), start + Duration::from_secs(60));
        assert_eq!(supervisor.daemons[0].failures, 1);
        assert_eq!(
            supervisor.next_start(),
            Some(start + Duration::from_millis(60_100))
        );
    }

    #[test]
    fn a_long_log_is_cut_and_its_daemon_goes_on_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("daemon.log");
        let mut daemon = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        daemon.write_all(b"0123456789").unwrap();
        trim(&path, 10).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0123456789");
        trim(&path, 9).unwrap();
        daemon.write_all(b"next").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "next");
        assert_eq!(
            std::fs::read_to_string(directory.path().join("daemon.log.1")).unwrap(),
            "0123456789"
        );
    }

    #[test]
    fn a_program_that_is_missing_is_tried_again() {
        let mut supervisor = Supervisor::default();
        supervisor.keep_running("gone", launch(&["/no/such/program"]), None);
        assert!(supervisor.daemons[0].pid.is_none());
        assert!(supervisor.next_start().is_some());
        assert_eq!(supervisor.release(), []);
        assert_eq!(supervisor.next_start(), None);
    }

    #[test]
    fn the_same_settings_leave_a_daemon_alone() {
        let mut supervisor = Supervisor::default();
        supervisor.keep_running("sleep", launch(&["/bin/sleep", "60"]), None);
        let pid = supervisor.daemons[0].pid;
        supervisor.keep_running("sleep", launch(&["/bin/sleep", "60"]), None);
        assert_eq!(supervisor.daemons[0].pid, pid);
        supervisor.keep_running("sleep", launch(&["/bin/sleep", "61"]), None);
        let (ended, exit) = loop {
            if let Some(end) = kernel::process::reap().filter(|(ended, _)| Some(*ended) == pid) {
                break end;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(exit, Exit::Signal(15));
        supervisor.ended(ended, exit, Instant::now());
        supervisor.start_due(Instant::now() + Duration::from_secs(1));
        assert_eq!(
            supervisor
                .release()
                .iter()
                .filter(|(_, pid)| kernel::process::kill(*pid, Kill::Kill))
                .count(),
            1
        );
    }
}
