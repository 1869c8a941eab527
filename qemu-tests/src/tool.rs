//! Runs programs of the host and keeps what they said. Owns no files and never runs a shell.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::error::{HarnessError, Result};

/// A program of the host with its arguments.
pub struct Tool {
    command: Command,
    words: String,
}

impl Tool {
    /// Starts a command line with the program's name. `/sbin` is searched too: mkfs and fsck live there.
    pub fn new(program: &str) -> Self {
        let mut command = Command::new(locate(program));
        command.stdin(Stdio::null());
        Self {
            command,
            words: program.to_owned(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.words.push(' ');
        self.words.push_str(&arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        for arg in args {
            self = self.arg(arg);
        }
        self
    }

    /// Sets one environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it and returns what it wrote to standard output.
    ///
    /// # Errors
    /// When it cannot be started or does not exit with 0.
    pub fn run(self) -> Result<String> {
        let words = self.words.clone();
        let output = self.output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(HarnessError::Tool {
            program: words,
            status: output.status.to_string(),
            stderr: end_of(&said(&output)),
        })
    }

    /// Runs it and returns status and output, whatever they are.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn output(mut self) -> Result<Output> {
        let program = self.words;
        self.command
            .output()
            .map_err(|source| HarnessError::Start { program, source })
    }

    /// Runs it with `input` on standard input and returns status and output, whatever they are.
    ///
    /// # Errors
    /// When it cannot be started or waited for.
    pub fn output_with_input(mut self, input: &[u8]) -> Result<Output> {
        let program = self.words;
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let failed = |source| HarnessError::Start {
            program: program.clone(),
            source,
        };
        let mut child = self.command.spawn().map_err(failed)?;
        if let Some(mut pipe) = child.stdin.take() {
            // A program that does not read all of its input says why with its exit status.
            drop(pipe.write_all(input));
        }
        child
            .wait_with_output()
            .map_err(|source| HarnessError::Start { program, source })
    }
}

/// Both output streams as text.
pub fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The full path of a host program, or `None` when it is not installed.
pub fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

fn locate(program: &str) -> std::ffi::OsString {
    find(program).map_or_else(|| program.into(), Into::into)
}

fn end_of(text: &str) -> String {
    let text = text.trim();
    let skip = text.chars().count().saturating_sub(2000);
    text.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_names_the_program_and_its_words() {
        let error = Tool::new("ls")
            .arg("/nonexistent-for-test")
            .run()
            .unwrap_err();
        let HarnessError::Tool {
            program, stderr, ..
        } = error
        else {
            panic!("other variant: {error}")
        };
        assert_eq!(program, "ls /nonexistent-for-test");
        assert!(stderr.contains("nonexistent-for-test"), "{stderr}");
    }

    #[test]
    fn unknown_program_is_a_start_error() {
        let error = Tool::new("no-such-program-here").run().unwrap_err();
        assert!(matches!(error, HarnessError::Start { .. }), "{error}");
    }

    #[test]
    fn input_reaches_the_program() {
        let output = Tool::new("cat").output_with_input(b"abc").unwrap();
        assert_eq!(output.stdout, b"abc");
    }
}
