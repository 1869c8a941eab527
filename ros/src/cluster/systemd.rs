//! systemd on hosts that are not RancherOS: a unit of ours, written, enabled and started; signals and readiness for what it runs.
//! Owns `/etc/systemd/system/ros-*.service` and `/usr/local/bin/ros`.

use std::fmt::Write;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::error::{Error, Result};
use crate::outcome::NOT_JOINED;

/// Folder of the administrator's units.
const UNITS: &str = "/etc/systemd/system";
/// Where the program is put when it lies in a place that does not last.
const PROGRAM: &str = "/usr/local/bin/ros";
/// Folders that are emptied at a boot, or are a person's own.
const PASSING: [&str; 8] = [
    "/tmp", "/var/tmp", "/run", "/dev", "/home", "/root", "/mnt", "/media",
];

/// Whether systemd runs this machine (`sd_booted(3)`).
pub fn is_here() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// That systemd is there; otherwise says what to run.
#[cfg(feature = "server")]
pub fn check(command: &str) -> Result<()> {
    if is_here() {
        return Ok(());
    }
    let advice = match crate::service::is_managed() {
        true => format!("on RancherOS: {}", super::server::SWITCH),
        false => format!("have what starts its services run `{command}`"),
    };
    Err(Error::Other(format!(
        "systemd does not run this machine; {advice}"
    )))
}

/// The program that a unit starts.
pub struct Program(PathBuf);

impl Program {
    /// This program where it is, or a copy of it in `/usr/local/bin` when it is in a place that does not last.
    pub fn settle() -> Result<Self> {
        let own =
            std::env::current_exe().map_err(|error| Error::File("/proc/self/exe".into(), error))?;
        if !PASSING.iter().any(|folder| own.starts_with(folder)) {
            return Ok(Self(own));
        }
        let target = PathBuf::from(PROGRAM);
        copy(&own, &target).map_err(|error| Error::Write(target.clone(), error))?;
        eprintln!(
            "{} may not be there at the next boot: it was copied to {PROGRAM}.",
            own.display()
        );
        Ok(Self(target))
    }
}

/// Whole or not at all: a unit may be running the old one.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let beside = to.with_extension("new");
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, &beside)?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755))?;
    fs::rename(beside, to)
}

/// A service.
pub struct Unit {
    /// Its name, without `.service`.
    pub name: &'static str,
    /// One line for people.
    pub description: &'static str,
    /// Arguments of the program.
    pub arguments: Vec<String>,
    /// What must be there before it.
    pub after: &'static str,
    /// Whether it says when it is ready (`sd_notify(3)`).
    pub notifies: bool,
}

impl Unit {
    /// The unit's file.
    fn text(&self, program: &Path) -> String {
        let mut command = quoted(&program.display().to_string());
        for argument in &self.arguments {
            // Writing to a String cannot fail.
            write!(command, " {}", quoted(argument)).ok();
        }
        let Self {
            description, after, ..
        } = self;
        let kind = if self.notifies { "notify" } else { "exec" };
        format!(
            "\
# Written by `ros`; changes are lost when it writes it again. Yours belong into {UNITS}/{name}.service.d/.
[Unit]
Description={description}
Wants=network-online.target
After={after}

[Service]
Type={kind}
ExecStart={command}
Restart=always
RestartSec=2
RestartPreventExitStatus={NOT_JOINED}
LimitNOFILE=1048576
UMask=0077

[Install]
WantedBy=multi-user.target
",
            name = self.name
        )
    }

    /// Writes, enables and (re)starts it.
    pub fn install(&self, program: &Program) -> Result<()> {
        let path = Path::new(UNITS).join(format!("{}.service", self.name));
        fs::write(&path, self.text(&program.0)).map_err(|error| Error::Write(path, error))?;
        systemctl(&["daemon-reload"])?;
        systemctl(&["enable", self.name])?;
        systemctl(&["restart", self.name])
    }
}

/// Stops and removes a unit, if there is one.
pub fn remove(name: &str) -> Result<()> {
    let path = Path::new(UNITS).join(format!("{name}.service"));
    if !path.exists() {
        return Ok(());
    }
    systemctl(&["disable", "--now", name])?;
    fs::remove_file(&path).map_err(|error| Error::Write(path, error))?;
    systemctl(&["daemon-reload"])
}

/// Keeps a unit from being started at the next boot. What calls it may be the unit itself.
pub fn disable(name: &str) -> Result<()> {
    systemctl(&["disable", name])
}

fn systemctl(arguments: &[&str]) -> Result<()> {
    let line = format!("systemctl {}", arguments.join(" "));
    let output = Command::new("systemctl")
        .args(arguments)
        .output()
        .map_err(|error| Error::Other(format!("cannot run `{line}`: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Other(format!(
        "`{line}` has failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

/// A word of `ExecStart=` (systemd.service(5), "Command lines").
fn quoted(word: &str) -> String {
    let escaped: String = word
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            '%' => "%%".into(),
            '$' => "$$".into(),
            '\n' => "\\n".into(),
            c => c.into(),
        })
        .collect();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-_.,:=@+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        escaped
    } else {
        format!("\"{escaped}\"")
    }
}

/// Cancels `stop` at SIGTERM or SIGINT.
pub fn stop_on_signal(stop: &CancellationToken) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

/// Tells systemd that the service is ready; nothing when systemd has not started it (`sd_notify(3)`).
#[cfg(feature = "server")]
pub fn ready() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let name = name.into_encoded_bytes();
    let address = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(String::from_utf8_lossy(&name).as_ref()),
    };
    let told =
        address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address));
    if let Err(error) = told {
        eprintln!("cannot tell systemd that this is ready: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_says_what_to_start() {
        let unit = Unit {
            name: "ros-server",
            description: "Server of a RancherOS cluster",
            arguments: ["server", "--data", "/srv/my data", "--name", "a%b$c"]
                .map(str::to_owned)
                .into(),
            after: "network-online.target",
            notifies: true,
        };
        insta::assert_snapshot!(unit.text(Path::new("/usr/local/bin/ros")));
    }

    #[test]
    fn copies_are_whole_and_executable() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b/ros"));
        fs::write(&from, "x").unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(
            fs::metadata(&to).unwrap().permissions().mode() & 0o777,
            0o755
        );
        assert_eq!(fs::read_dir(folder.path().join("b")).unwrap().count(), 1);
    }
}
