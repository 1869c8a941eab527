//! `mounts`: file systems and swap of the cloud-config, mounted in the console and, below the shared directories, seen by the host and by
//! containers too.
//!
//! mount(8) does the work, so that LABEL=, UUID=, loop files, probing and NFS are as everywhere. Each mount has a time limit and none stops
//! the others: a dead server must not keep a machine from its users.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use os_config::types::Mount;

/// Longest time for one entry.
pub const LIMIT: Duration = Duration::from_secs(30);
/// Mounts below these are seen outside the console.
const SHARED: [&str; 8] = [
    "/home",
    "/opt",
    "/mnt",
    "/media",
    "/root",
    "/run",
    "/tmp",
    "/var/lib/docker",
];

/// Why an entry was not mounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The target is not an absolute path.
    #[error("mounts: `{0}` is no mount point; write an absolute path as the second item")]
    Target(String),
    /// The mount point cannot be made.
    #[error("mounts: cannot make {target}")]
    MountPoint {
        /// The mount point.
        target: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// mount(8) or swapon(8) cannot be run.
    #[error("mounts: cannot run {program}")]
    Start {
        /// The program.
        program: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It refused.
    #[error("mounts: {device} on {target} failed: {output}")]
    Refused {
        /// Device as configured.
        device: String,
        /// Mount point, or `swap`.
        target: String,
        /// What mount(8) said.
        output: String,
    },
    /// It took too long.
    #[error(
        "mounts: {device} on {target} did not answer within {} s and was given up",
        LIMIT.as_secs()
    )]
    TimeOut {
        /// Device as configured.
        device: String,
        /// Mount point, or `swap`.
        target: String,
    },
}

/// Mounts one entry. What is mounted already (the console was restarted) is left alone.
///
/// # Errors
/// See [`Error`].
pub fn apply(entry: &Mount) -> Result<(), Error> {
    if entry.fstype == "swap" {
        return run("swapon", &swap_arguments(entry), entry);
    }
    let target = Path::new(&entry.target);
    if !target.is_absolute() {
        return Err(Error::Target(entry.target.clone()));
    }
    if is_mounted(target) {
        return Ok(());
    }
    std::fs::create_dir_all(target).map_err(|source| Error::MountPoint {
        target: target.to_path_buf(),
        source,
    })?;
    run("mount", &mount_arguments(entry), entry)
}

/// True when containers and the host see what is mounted there.
#[must_use]
pub fn is_shared(target: &str) -> bool {
    SHARED
        .iter()
        .any(|shared| Path::new(target).starts_with(shared))
}

/// True when one of `entries` covers `path`, so that what was written there before is hidden now.
#[must_use]
pub fn cover(entries: &[Mount], path: &str) -> bool {
    entries
        .iter()
        .any(|entry| entry.fstype != "swap" && Path::new(path).starts_with(&entry.target))
}

fn is_mounted(target: &Path) -> bool {
    let target = std::fs::canonicalize(target).unwrap_or_else(|_| target.to_path_buf());
    // The shared directories are mount points of the container itself: mounting over them is what was asked.
    let own = SHARED.iter().any(|shared| target == Path::new(shared));
    !own && kernel::mount::table()
        .is_ok_and(|table| table.iter().any(|mount| mount.target == target))
}

fn mount_arguments(entry: &Mount) -> Vec<String> {
    let mut arguments = Vec::new();
    if !matches!(entry.fstype.as_str(), "" | "auto" | "none") {
        arguments.extend(["-t".to_owned(), entry.fstype.clone()]);
    }
    // Words of fstab that say when to mount, not how.
    let options: Vec<&str> = entry
        .options
        .split(',')
        .map(str::trim)
        .filter(|word| !matches!(*word, "" | "auto" | "noauto" | "nofail" | "_netdev"))
        .filter(|word| !word.starts_with("x-systemd."))
        .collect();
    if !options.is_empty() {
        arguments.extend(["-o".to_owned(), options.join(",")]);
    }
    arguments.extend([entry.device.clone(), entry.target.clone()]);
    arguments
}

fn swap_arguments(entry: &Mount) -> Vec<String> {
    let priority = entry
        .options
        .split(',')
        .find_map(|word| word.trim().strip_prefix("pri="));
    let mut arguments = vec!["-e".to_owned()];
    if let Some(priority) = priority {
        arguments.extend(["-p".to_owned(), priority.to_owned()]);
    }
    arguments.push(entry.device.clone());
    arguments
}

fn run(program: &'static str, arguments: &[String], entry: &Mount) -> Result<(), Error> {
    let start = |source| Error::Start { program, source };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    let deadline = Instant::now() + LIMIT;
    let named = || (entry.device.clone(), entry.target.clone());
    while child.try_wait().map_err(start)?.is_none() {
        if Instant::now() >= deadline {
            // It may sit in the kernel and not end; nobody waits for it any more.
            child.kill().ok();
            let (device, target) = named();
            return Err(Error::TimeOut { device, target });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().map_err(start)?;
    if output.status.success() {
        return Ok(());
    }
    let (device, target) = named();
    let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Refused {
        device,
        target,
        output,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(items: [&str; 4]) -> Mount {
        Mount::from(items.map(str::to_owned))
    }

    #[test]
    fn arguments_are_those_of_mount() {
        let nfs = entry(["host:/x", "/mnt/x", "nfs4", "ro,nofail,_netdev,vers=4"]);
        assert_eq!(
            mount_arguments(&nfs),
            ["-t", "nfs4", "-o", "ro,vers=4", "host:/x", "/mnt/x"]
        );
        let plain = entry(["LABEL=data", "/mnt/data", "auto", ""]);
        assert_eq!(mount_arguments(&plain), ["LABEL=data", "/mnt/data"]);
        let swap = entry(["/dev/vdb", "none", "swap", "sw,pri=5"]);
        assert_eq!(swap_arguments(&swap), ["-e", "-p", "5", "/dev/vdb"]);
    }

    #[test]
    fn a_mount_over_home_hides_the_keys() {
        let entries = [entry(["/dev/vdb", "/home", "ext4", ""])];
        assert!(cover(&entries, "/home/rancher"));
        assert!(!cover(&entries, "/homes"));
        assert!(is_shared("/mnt/data"));
        assert!(!is_shared("/data"));
    }

    #[test]
    fn a_relative_target_is_refused() {
        let error = apply(&entry(["/dev/vdb", "data", "", ""])).unwrap_err();
        assert!(matches!(error, Error::Target(_)), "{error:?}");
    }
}
