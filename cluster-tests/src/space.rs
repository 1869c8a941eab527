//! Namespaces of one host, held by one process: when it ends, the kernel ends all processes in them and takes down their mounts and links.
//! It ends when the harness does, however that ends, because it reads from a pipe that only the harness holds open.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use qemu_tests::tool::Tool;
use qemu_tests::wait::{Look, Patience, until};
use qemu_tests::{HarnessError, Result};

/// What the first process does when all is prepared: it reaps, and ends with the pipe.
const HOLD: &str = "exec 3<&0; cat <&3 >/dev/null & echo ready; exec >&2; wait $!";
/// A program that does not end makes a test fail, not wait for ever.
const LONGEST: &str = "90";

/// The namespaces of one host.
pub struct Space {
    holder: Child,
}

impl Space {
    /// Makes them, runs `prepare` (sh, with `args` as `$1` …) in them, and keeps them. What it says goes to `log`.
    ///
    /// # Errors
    /// When the programs are missing or `prepare` fails.
    pub fn hold(prepare: &str, args: &[&str], log: &Path) -> Result<Self> {
        let errors = File::create(log).map_err(HarnessError::file("create log", log))?;
        let mut holder = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--uts", "--ipc", "--fork"])
            .args(["--propagation", "private", "sh", "-c"])
            .arg(format!("set -e; {prepare}\n{HOLD}"))
            .arg("host")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(|source| HarnessError::Start {
                program: "unshare".into(),
                source,
            })?;
        let mut line = String::new();
        if let Some(out) = holder.stdout.take() {
            BufReader::new(out)
                .read_line(&mut line)
                .map_err(HarnessError::file(
                    "read from the host's first process",
                    log,
                ))?;
        }
        let space = Self { holder };
        if line == "ready\n" {
            return Ok(space);
        }
        Err(HarnessError::Form {
            what: "the host's preparation",
            detail: std::fs::read_to_string(log).unwrap_or_default(),
        })
    }

    /// The process that is in all of them but the process namespace, which its child is the first of.
    #[must_use]
    pub fn holder(&self) -> u32 {
        self.holder.id()
    }

    /// The file that stands for the network namespace.
    #[must_use]
    pub fn network(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.holder.id()).into()
    }

    /// A program of this machine in the network namespace only.
    #[must_use]
    pub fn in_net(&self, program: &str) -> Tool {
        Tool::new("nsenter")
            .arg(format!("--net={}", self.network().display()))
            .arg(program)
    }

    /// Arguments of nsenter that lead into all of them.
    #[must_use]
    pub fn way_in(&self) -> Vec<String> {
        let of =
            |option: &str, name: &str| format!("--{option}=/proc/{}/ns/{name}", self.holder.id());
        let mut way = vec![of("pid", "pid_for_children")];
        way.extend(["net", "uts", "ipc"].iter().map(|name| of(name, name)));
        way.push(of("mount", "mnt"));
        way.extend(["--", "env", "-i", "HOME=/root"].map(String::from));
        way.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
        way
    }

    /// A program inside; killed when it takes longer than anything should.
    #[must_use]
    pub fn inside(&self, words: &[&str]) -> Tool {
        Tool::new("nsenter")
            .args(self.way_in())
            .args(["timeout", "--kill-after=5", LONGEST])
            .args(words)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let ended = until(
            "the host's end",
            Patience::seconds(10).every(Duration::from_millis(20)),
            || {
                Ok(match self.holder.try_wait() {
                    Ok(None) => Look::NotYet("it runs".into()),
                    _ => Look::Seen(()),
                })
            },
        );
        if ended.is_err() {
            // Its child, the first of the process namespace, is left to the pipe.
            drop(self.holder.kill());
            drop(self.holder.wait());
        }
    }
}
