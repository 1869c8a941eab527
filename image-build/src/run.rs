//! Runs host programs: output to a log file, progress to the terminal, the last lines into the error.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{BufWriter, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Error, Result, file};

const TAIL_LINES: usize = 25;
const TAIL_BYTES: u64 = 8 << 10;
const HEARTBEAT: Duration = Duration::from_secs(30);

/// One call of a host program on behalf of a build step.
pub struct Run {
    step: String,
    log: PathBuf,
    program: OsString,
    command: Command,
}

impl Run {
    /// Prepares `program` for `step`; its output goes to `<logs>/<step>.log`.
    pub fn new(logs: &Path, step: &str, program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program.as_ref());
        command.stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
        let log = logs.join(format!("{step}.log"));
        Self {
            step: step.to_owned(),
            log,
            program: program.as_ref().to_owned(),
            command,
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Takes a variable out of the environment.
    pub fn env_remove(mut self, key: &str) -> Self {
        self.command.env_remove(key);
        self
    }

    /// Sets the working directory.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Runs to the end; output goes to the log, a sign of life to the terminal.
    pub fn go(mut self) -> Result<()> {
        let log = self.open_log()?;
        let begin = log.metadata().map_or(0, |m| m.len());
        let again = log.try_clone().map_err(file("open", &self.log))?;
        self.command.stdout(log).stderr(again);
        let mut child = self.spawn()?;
        let status = self.watch(&mut child)?;
        if status.success() {
            Ok(())
        } else {
            Err(self.failure(&status.to_string(), begin))
        }
    }

    /// Runs to the end and returns standard output; standard error goes to the log.
    pub fn output(mut self) -> Result<Vec<u8>> {
        let log = self.open_log()?;
        let begin = log.metadata().map_or(0, |m| m.len());
        self.command.stderr(log).stdout(Stdio::piped());
        let child = self.spawn()?;
        let out = child
            .wait_with_output()
            .map_err(file("read the output of", Path::new(&self.program)))?;
        if out.status.success() {
            Ok(out.stdout)
        } else {
            Err(self.failure(&out.status.to_string(), begin))
        }
    }

    /// Starts it with a pipe as standard input, which `feed` fills.
    pub fn feed(mut self, feed: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        let log = self.open_log()?;
        let begin = log.metadata().map_or(0, |m| m.len());
        let again = log.try_clone().map_err(file("open", &self.log))?;
        self.command.stdin(Stdio::piped()).stdout(log).stderr(again);
        let mut child = self.spawn()?;
        let fed = match child.stdin.take() {
            Some(pipe) => feed(&mut pipe_writer(pipe)),
            None => Ok(()),
        };
        let status = child
            .wait()
            .map_err(file("wait for", Path::new(&self.program)))?;
        if status.success() {
            fed
        } else {
            Err(self.failure(&status.to_string(), begin))
        }
    }

    fn open_log(&self) -> Result<File> {
        if let Some(dir) = self.log.parent() {
            fs::create_dir_all(dir).map_err(file("create", dir))?;
        }
        let mut log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(file("open", &self.log))?;
        writeln!(log, "$ {}", self.line()).map_err(file("write", &self.log))?;
        Ok(log)
    }

    fn spawn(&mut self) -> Result<Child> {
        let (step, program) = (
            self.step.clone(),
            self.program.to_string_lossy().into_owned(),
        );
        self.command.spawn().map_err(|source| Error::Spawn {
            step,
            program,
            source,
        })
    }

    fn watch(&self, child: &mut Child) -> Result<ExitStatus> {
        let terminal = std::io::stderr().is_terminal();
        let wait = if terminal {
            Duration::from_millis(500)
        } else {
            HEARTBEAT
        };
        let (begun, mut last) = (Instant::now(), Instant::now());
        loop {
            if let Some(status) = child
                .try_wait()
                .map_err(file("wait for", Path::new(&self.program)))?
            {
                if terminal {
                    eprint!("\r\x1b[K");
                }
                return Ok(status);
            }
            if last.elapsed() >= wait {
                let line = tail(&self.log, 0)
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .to_owned();
                sign_of_life(&self.step, begun.elapsed().as_secs(), &line, terminal);
                last = Instant::now();
            }
            // Waiting for a child with a time limit needs signals; ten looks a second cost nothing.
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn failure(&self, status: &str, begin: u64) -> Error {
        let output = tail(&self.log, begin);
        let lines: Vec<&str> = output.lines().collect();
        Error::Command {
            step: self.step.clone(),
            command: self.line(),
            status: status.to_owned(),
            tail: lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n"),
            log: self.log.clone(),
        }
    }

    fn line(&self) -> String {
        let mut line = self.program.to_string_lossy().into_owned();
        for arg in self.command.get_args() {
            line.push(' ');
            line.push_str(&arg.to_string_lossy());
        }
        line
    }
}

fn pipe_writer(pipe: ChildStdin) -> BufWriter<ChildStdin> {
    BufWriter::with_capacity(1 << 20, pipe)
}

/// The last few kilobytes of a log, nothing of it from before `begin`.
fn tail(log: &Path, begin: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut input = File::open(log)?;
        let from = input
            .metadata()?
            .len()
            .saturating_sub(TAIL_BYTES)
            .max(begin);
        input.seek(SeekFrom::Start(from))?;
        let mut text = Vec::new();
        input.read_to_end(&mut text)?;
        Ok(text)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

fn sign_of_life(step: &str, seconds: u64, line: &str, terminal: bool) {
    let shown: String = line.trim().chars().take(70).collect();
    if terminal {
        eprint!("\r\x1b[K    {step} {seconds} s: {shown}");
    } else {
        eprintln!("    {step} {seconds} s: {shown}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_step_command_and_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let run =
            Run::new(dir.path(), "try", "sh").args(["-c", "echo first; echo it broke >&2; exit 3"]);
        let text = run.go().unwrap_err().to_string();
        assert!(
            text.contains("step try")
                && text.contains("it broke")
                && text.contains("exit status: 3"),
            "{text}"
        );
    }

    #[test]
    fn output_is_standard_output_alone() {
        let dir = tempfile::tempdir().unwrap();
        let out = Run::new(dir.path(), "try", "sh")
            .args(["-c", "echo out; echo err >&2"])
            .output()
            .unwrap();
        assert_eq!(out, b"out\n");
    }
}
