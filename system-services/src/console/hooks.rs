//! The user's commands at the start of the console: `runcmd`, `cloud-config-script`, `/opt/rancher/bin/start.sh`, `/etc/rc.local`.
//!
//! Each is logged with its output and how it ended. A command that fails or hangs costs nothing but itself: sshd and the gettys do not wait
//! for it (see `mod.rs`).

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use os_config::types::Command as Configured;

use crate::log::Log;

const LOG: Log = Log::of("console");

/// Where the output of hooks is kept beside the container's log.
pub const LOG_FILE: &str = "/var/log/boot/console-init.log";

/// Runs hooks and keeps what they print.
#[derive(Debug, Clone)]
pub struct Runner {
    file: Option<Arc<Mutex<File>>>,
    environment: Vec<(String, String)>,
}

impl Runner {
    /// A runner that logs to `log_file` (begun anew) and gives commands `environment`.
    #[must_use]
    pub fn new(log_file: &Path, environment: Vec<(String, String)>) -> Self {
        let open = || {
            if let Some(folder) = log_file.parent() {
                std::fs::create_dir_all(folder)?;
            }
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .open(log_file)
        };
        let file = match open() {
            Ok(file) => Some(Arc::new(Mutex::new(file))),
            Err(error) => {
                LOG.warn(format_args!("no log in {}: {error}", log_file.display()));
                None
            }
        };
        Self { file, environment }
    }

    /// Runs the commands of `runcmd` in order; the first that fails is the last, as in RancherOS 1.x.
    pub fn run_commands(&self, commands: &[Configured]) {
        for (index, configured) in commands.iter().enumerate() {
            let number = index + 1;
            let (title, command) = match command_of(configured) {
                Some(found) => found,
                None => continue,
            };
            if let Err(end) = self.run(&title, command) {
                let left = commands.len() - number;
                self.fail(&format!(
                    "runcmd {number} of {} failed ({end}): {title}; {left} not run",
                    commands.len()
                ));
                return;
            }
        }
    }

    /// Runs the script at `path` if it is there and is one: executable, or with a `#!` line.
    pub fn run_script(&self, path: &Path) {
        let Some(command) = script(path) else {
            return;
        };
        let title = path.display().to_string();
        if let Err(end) = self.run(&title, command) {
            self.fail(&format!("{title} failed ({end})"));
        }
    }

    fn run(&self, title: &str, mut command: Command) -> Result<(), String> {
        self.say(&format!("running {title}"));
        command
            .envs(
                self.environment
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str())),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let status = self
            .with_output(command)
            .map_err(|error| error.to_string())?;
        if status.success() {
            Ok(())
        } else {
            Err(status.to_string())
        }
    }

    /// Copies what the command prints until it ends. What it leaves running in the background may print on.
    fn with_output(&self, mut command: Command) -> io::Result<ExitStatus> {
        let mut child = command.spawn()?;
        self.copy_in_background(child.stdout.take())?;
        self.copy_in_background(child.stderr.take())?;
        child.wait()
    }

    fn copy_in_background<R: Read + Send + 'static>(&self, stream: Option<R>) -> io::Result<()> {
        let Some(stream) = stream else {
            return Ok(());
        };
        let this = self.clone();
        std::thread::Builder::new()
            .name("hook-output".into())
            .stack_size(128 * 1024)
            .spawn(move || {
                let mut reader = BufReader::new(stream);
                let mut line = Vec::new();
                while reader
                    .read_until(b'\n', &mut line)
                    .is_ok_and(|read| read > 0)
                {
                    this.keep(String::from_utf8_lossy(&line).trim_end());
                    line.clear();
                }
            })
            .map(drop)
    }

    fn say(&self, text: &str) {
        LOG.info(text);
        self.write(text);
    }

    fn fail(&self, text: &str) {
        LOG.error(text);
        self.write(text);
    }

    fn keep(&self, line: &str) {
        println!("{line}");
        self.write(line);
    }

    fn write(&self, line: &str) {
        let Some(file) = &self.file else {
            return;
        };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk must not stop the boot; the container's log has the line too.
        writeln!(file, "{line}").ok();
    }
}

fn command_of(configured: &Configured) -> Option<(String, Command)> {
    match configured {
        Configured::Shell(line) => {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").arg(line);
            Some((line.clone(), command))
        }
        Configured::Exec(words) => {
            let (program, arguments) = words.split_first()?;
            let mut command = Command::new(program);
            command.args(arguments);
            Some((shell_words::join(words), command))
        }
    }
}

/// A file with `#!` is executed by the program it names, whatever its mode; one without, but executable, by the shell.
fn script(path: &Path) -> Option<Command> {
    let metadata = path.metadata().ok().filter(|file| file.is_file())?;
    let mut start = [0_u8; 128];
    let length = File::open(path)
        .and_then(|mut file| file.read(&mut start))
        .ok()?;
    let first_line = start.get(..length)?.split(|byte| *byte == b'\n').next()?;
    let executable = metadata.permissions().mode() & 0o111 != 0;
    let interpreter = first_line
        .strip_prefix(b"#!")
        .map(|words| String::from_utf8_lossy(words).trim().to_owned());
    let mut command = match interpreter {
        Some(words) if !words.is_empty() => {
            let (program, argument) = match words.split_once(char::is_whitespace) {
                Some((program, argument)) => (program.to_owned(), Some(argument.trim().to_owned())),
                None => (words, None),
            };
            let mut command = Command::new(program);
            command.args(argument);
            command
        }
        _ if executable => Command::new("/bin/sh"),
        _ => return None,
    };
    command.arg(path);
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn until(log: &Path, text: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let found = std::fs::read_to_string(log).unwrap_or_default();
            if found.contains(text) {
                return found;
            }
            assert!(Instant::now() < deadline, "no `{text}` in:\n{found}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn commands_run_in_order_until_one_fails() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let runner = Runner::new(&log, vec![("WHO".into(), "world".into())]);
        runner.run_commands(&[
            Configured::Shell("echo hello $WHO".into()),
            Configured::Exec(vec!["/bin/echo".into(), "two words".into()]),
            Configured::Shell("exit 3".into()),
            Configured::Shell("echo never".into()),
        ]);
        let text = until(&log, "hello world");
        let text = format!("{text}{}", until(&log, "two words"));
        assert!(
            text.contains("runcmd 3 of 4 failed (exit status: 3): exit 3; 1 not run"),
            "{text}"
        );
        assert!(!text.contains("\nnever"), "{text}");
    }

    #[test]
    fn a_script_needs_an_interpreter_or_the_executable_bit() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str, mode| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let plain = file("plain", "echo x\n", 0o644);
        assert!(script(&plain).is_none());
        assert!(script(&folder.path().join("missing")).is_none());
        let executable = script(&file("executable", "echo x\n", 0o755)).unwrap();
        assert_eq!(executable.get_program(), "/bin/sh");
        let with_line = script(&file("line", "#!/usr/bin/env bash\n", 0o644)).unwrap();
        assert_eq!(with_line.get_program(), "/usr/bin/env");
        assert_eq!(with_line.get_args().count(), 2);
    }
}
