//! A server in a folder of its own, and people with homes of their own.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// The program.
pub const ROS: &str = env!("CARGO_BIN_EXE_ros");
/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running `ros server`.
pub struct Server {
    child: Child,
    /// All that it has printed up to "Listening on".
    pub said: String,
}

impl Server {
    /// Starts one on a free port of loopback, or on `listen`.
    pub fn start(data: &Path, listen: &str) -> Self {
        let mut child = Command::new(ROS)
            .args(["server", "--listen", listen, "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut said = String::new();
        while !said.contains("Listening on ") {
            match receiver.recv_timeout(PATIENCE) {
                Ok(line) => said.push_str(&format!("{line}\n")),
                Err(error) => {
                    child.kill().unwrap();
                    panic!("{error}; the server has said: {said}")
                }
            }
        }
        Self { child, said }
    }

    /// The line that holds `part`.
    pub fn line(&self, part: &str) -> &str {
        let line = self.said.lines().find(|line| line.contains(part));
        line.unwrap_or_else(|| panic!("no `{part}` in: {}", self.said))
            .trim()
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        let line = self.line("Listening on ");
        line.trim_start_matches("Listening on ")
            .trim_end_matches('.')
    }

    /// `https://…`
    pub fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// The words of the line to paste, without `sudo` and `ros`.
    pub fn words(&self, part: &str) -> Vec<&str> {
        let words = self.line(part).split(' ');
        words.skip_while(|word| *word != "ros").skip(1).collect()
    }

    /// The administrator's key.
    pub fn key(&self) -> &str {
        self.line("  roskey.")
    }

    /// Ends it as systemd does, and gives how it has ended.
    pub fn stop(mut self) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A person with a home.
pub struct Person(TempDir);

impl Person {
    /// With an empty home.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With a server's first context.
    pub fn admin(server: &Server) -> Self {
        let person = Self::new();
        person.good(&server.words("ros context add"));
        person
    }

    /// A file in the home.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A call of the program.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(ROS);
        command.args(arguments).env("HOME", self.0.path());
        for (name, _) in std::env::vars_os() {
            let is_ours = name.to_string_lossy().starts_with("ROS_");
            if is_ours || name == "XDG_CONFIG_HOME" {
                command.env_remove(name);
            }
        }
        command
    }

    /// Calls it.
    pub fn call(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Calls it with something on standard input.
    pub fn call_with(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    /// What a call that must succeed prints.
    pub fn good(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same as JSON.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.good(&[arguments, &["--format", "json"]].concat());
        serde_json::from_str(&text).unwrap()
    }

    /// What a call that must fail with 1 says.
    pub fn bad(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        let error = String::from_utf8(output.stderr).unwrap();
        error
            .trim_start_matches("FATA[0000] ")
            .trim_end()
            .to_owned()
    }

    /// Repeats a call until what it prints is as it should be; gives how it has ended then.
    pub fn until(&self, arguments: &[&str], is_so: impl Fn(&str) -> bool) -> Option<i32> {
        let begun = Instant::now();
        loop {
            let output = self.call(arguments);
            let said = String::from_utf8_lossy(&output.stdout);
            if is_so(&said) {
                return output.status.code();
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{arguments:?} still: {output:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
