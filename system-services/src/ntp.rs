//! `ros ntp-init`: the main process of container `ntp`: writes the time servers of `ntp:` where chronyd looks for them, and becomes chronyd.
//!
//! Owns the one file below `/etc/chrony/sources.d`. Must not touch chrony.conf, which `write_files` may have brought.

use std::fmt::Write as _;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use os_config::store::load_running;
use os_config::types::Ntp;

use crate::files::{make_directory, write_atomically};
use crate::log::Log;

const LOG: Log = Log::of("ntp-init");
/// chronyd reads what ends in `.sources` (chrony.conf(5), sourcedir).
const SOURCES: &str = "etc/chrony/sources.d/cloud-config.sources";
const CHRONYD: &str = "/usr/sbin/chronyd";
/// In the foreground; it needs no other user: the container has one capability.
const ARGUMENTS: [&str; 5] = ["-n", "-u", "root", "-f", "/etc/chrony/chrony.conf"];
/// Asked when the configuration names nobody.
const POOL: &str = "2.debian.pool.ntp.org";

/// Why the clock is not kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// chronyd cannot be run.
    #[error("ntp-init: cannot run {CHRONYD}")]
    Run(#[source] io::Error),
}

/// Becomes chronyd.
///
/// # Errors
/// When it cannot be run; does not return otherwise.
pub fn run() -> Result<(), Error> {
    let ntp = load_running().config.ntp;
    // Without its servers chronyd still keeps the drift, and a chrony.conf of the user may name others.
    if let Err(error) = write(Path::new("/"), &ntp) {
        LOG.error(format_args!("cannot write /{SOURCES}: {error}"));
    }
    Err(Error::Run(Command::new(CHRONYD).args(ARGUMENTS).exec()))
}

fn write(root: &Path, ntp: &Ntp) -> io::Result<()> {
    let path = root.join(SOURCES);
    make_directory(path.parent().unwrap_or(root), 0o755)?;
    write_atomically(&path, sources(ntp).as_bytes(), 0o644)
}

/// The lines for chronyd. What is not one word was refused with the configuration; it is left out here too, for it would be options.
fn sources(ntp: &Ntp) -> String {
    let given = |kind, names: &[String]| -> Vec<(&'static str, String)> {
        let is_word = |name: &&String| {
            !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control())
        };
        names
            .iter()
            .filter(is_word)
            .map(|name| (kind, name.clone()))
            .collect()
    };
    let mut lines = given("server", &ntp.servers);
    lines.extend(given("pool", &ntp.pools));
    if lines.is_empty() {
        lines.push(("pool", POOL.to_owned()));
    }
    let mut text = String::from("# From `ntp:` of the cloud-config, written at each start.\n");
    for (kind, name) in lines {
        // Writing to a String cannot fail.
        writeln!(text, "{kind} {name} iburst").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(ntp: &Ntp) -> Vec<String> {
        sources(ntp).lines().skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn servers_and_pools_are_asked_and_nobody_else() {
        let ntp = Ntp {
            servers: vec!["10.0.0.1".into(), "time.example.com".into()],
            pools: vec!["pool.example.com".into()],
            ..Ntp::default()
        };
        assert_eq!(
            lines(&ntp),
            [
                "server 10.0.0.1 iburst",
                "server time.example.com iburst",
                "pool pool.example.com iburst"
            ]
        );
    }

    #[test]
    fn the_public_pool_is_asked_when_nobody_is_named() {
        let pool = ["pool 2.debian.pool.ntp.org iburst"];
        assert_eq!(lines(&Ntp::default()), pool);
        let injected = Ntp {
            servers: vec!["a\nallow all".into(), "b prefer".into(), String::new()],
            ..Ntp::default()
        };
        assert_eq!(lines(&injected), pool);
    }

    #[test]
    fn the_file_is_where_the_shipped_configuration_looks() {
        let root = tempfile::tempdir().unwrap();
        let ntp = Ntp {
            servers: vec!["10.0.0.1".into()],
            ..Ntp::default()
        };
        for _ in 0..2 {
            write(root.path(), &ntp).unwrap();
        }
        let path = root.path().join(SOURCES);
        assert!(
            std::fs::read_to_string(&path)
                .unwrap()
                .contains("\nserver 10.0.0.1 iburst\n")
        );
        let shipped = include_str!("../ntp/root/etc/chrony/chrony.conf");
        let folder = Path::new("/").join(SOURCES);
        let line = format!("sourcedir {}", folder.parent().unwrap().display());
        assert!(shipped.lines().any(|found| found == line), "{line}");
        assert!(SOURCES.ends_with(".sources"));
    }
}
