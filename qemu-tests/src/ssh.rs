//! The way in that a user has: the OpenSSH client with a key made for this run.
//! Owns the key and the shared connection (under emulation each new one costs seconds).

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{HarnessError, Result};
use crate::tool::Tool;
use crate::wait::{Look, Patience, until};

/// A key pair, by default one that lives as long as the run.
pub struct SshKey {
    file: PathBuf,
    public: String,
    /// Removes the files at the end of a run.
    _temporary: Option<tempfile::TempDir>,
}

impl SshKey {
    /// Makes an ed25519 pair without pass phrase for this run.
    ///
    /// # Errors
    /// When `ssh-keygen` fails.
    pub fn generate() -> Result<Self> {
        let dir = tempfile::tempdir()
            .map_err(HarnessError::file("make key folder", std::env::temp_dir()))?;
        let mut key = Self::kept_at(&dir.path().join("id"))?;
        key._temporary = Some(dir);
        Ok(key)
    }

    /// The pair whose private half is `file`; made there when it is not.
    ///
    /// # Errors
    /// When `ssh-keygen` fails or the public half cannot be read.
    pub fn kept_at(file: &Path) -> Result<Self> {
        if !file.is_file() {
            let make = Tool::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C"]);
            make.args(["rancheros", "-f"]).arg(file).run()?;
        }
        let public = file.with_extension("pub");
        let text = std::fs::read_to_string(&public)
            .map_err(HarnessError::file("read public key", &public))?;
        Ok(Self {
            file: file.to_owned(),
            public: text.trim().to_owned(),
            _temporary: None,
        })
    }

    /// One line as in `authorized_keys`.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The private key's file.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

/// What a command in the guest answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Exit code; 255 is ssh's own failure.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// Both streams in one text.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Access to one guest as one user.
pub struct Ssh {
    key: PathBuf,
    user: String,
    port: u16,
    control: PathBuf,
}

impl Ssh {
    /// Describes the access; `scratch` receives the control socket (keep its path short: sockets allow 107 bytes).
    pub fn new(key: &SshKey, user: &str, port: u16, scratch: &Path) -> Self {
        Self {
            key: key.file().to_owned(),
            user: user.to_owned(),
            port,
            control: scratch.join(format!("c{port}-{user}")),
        }
    }

    /// Waits until a login works. `alive` is asked before each try.
    ///
    /// Each try is a whole login: connections that only look at the server's banner count as attacks with OpenSSH 10
    /// (`PerSourcePenalties`) and lock the address out.
    ///
    /// # Errors
    /// Timeout with the last answer, or the error of `alive`.
    pub fn wait_for_login(
        &self,
        patience: Patience,
        mut alive: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        until(
            "an ssh login",
            patience.every(Duration::from_millis(500)),
            || {
                alive()?;
                let answer = self.run("true")?;
                if answer.code == 0 {
                    return Ok(Look::Seen(()));
                }
                self.drop_connection();
                Ok(Look::NotYet(format!("ssh: {}", answer.text().trim())))
            },
        )
    }

    /// Runs a command line in the user's shell.
    ///
    /// # Errors
    /// When the ssh client itself cannot be started.
    pub fn run(&self, command: &str) -> Result<Answer> {
        self.run_with_input(command, b"")
    }

    /// Runs a command line with `input` on its standard input.
    ///
    /// # Errors
    /// When the ssh client itself cannot be started.
    pub fn run_with_input(&self, command: &str, input: &[u8]) -> Result<Answer> {
        let output = self
            .client()
            .arg("--")
            .arg(command)
            .output_with_input(input)?;
        Ok(Answer {
            code: output.status.code().unwrap_or(255),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a command that must succeed and returns its standard output, trimmed.
    ///
    /// # Errors
    /// [`HarnessError::Guest`] when it exits with another code than 0.
    pub fn ok(&self, command: &str) -> Result<String> {
        self.ok_with_input(command, b"")
    }

    /// The same with `input` on standard input.
    ///
    /// # Errors
    /// [`HarnessError::Guest`] when it exits with another code than 0.
    pub fn ok_with_input(&self, command: &str, input: &[u8]) -> Result<String> {
        let answer = self.run_with_input(command, input)?;
        if answer.code == 0 {
            return Ok(answer.stdout.trim().to_owned());
        }
        Err(HarnessError::Guest {
            command: command.to_owned(),
            status: format!("exit code {}", answer.code),
            output: answer.text().trim().to_owned(),
        })
    }

    /// Waits until a command succeeds and returns its trimmed output.
    ///
    /// # Errors
    /// Timeout with the last answer.
    pub fn wait_for(&self, command: &str, patience: Patience) -> Result<String> {
        until(
            &format!("`{command}` to succeed"),
            patience.every(Duration::from_millis(500)),
            || {
                let answer = self.run(command)?;
                if answer.code == 0 {
                    return Ok(Look::Seen(answer.stdout.trim().to_owned()));
                }
                Ok(Look::NotYet(format!(
                    "exit code {}: {}",
                    answer.code,
                    answer.text().trim()
                )))
            },
        )
    }

    /// Ends the shared connection, which a reboot of the guest makes useless.
    pub fn drop_connection(&self) {
        // Without a connection there is nothing to end; ssh says so and that is fine.
        drop(self.client().args(["-O", "exit"]).output());
        drop(std::fs::remove_file(&self.control));
    }

    fn client(&self) -> Tool {
        let control = format!("ControlPath={}", self.control.display());
        Tool::new("ssh")
            .args([
                "-F",
                "/dev/null",
                "-o",
                "BatchMode=yes",
                "-o",
                "StrictHostKeyChecking=no",
            ])
            .args([
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-o",
                "LogLevel=ERROR",
                "-o",
                "IdentitiesOnly=yes",
            ])
            .args([
                "-o",
                "ConnectTimeout=30",
                "-o",
                "ServerAliveInterval=10",
                "-o",
                "ServerAliveCountMax=12",
            ])
            .args([
                "-o",
                "ControlMaster=auto",
                "-o",
                "ControlPersist=300",
                "-o",
                control.as_str(),
                "-i",
            ])
            .arg(&self.key)
            .args(["-p", &self.port.to_string()])
            .arg(format!("{}@127.0.0.1", self.user))
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        self.drop_connection();
    }
}
