//! Mounting a state device: driver, check when the file system asks for one, mount.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kernel::modules::Index;
use kernel::mount::{self, Flags};
use kernel::process::Exit;

use super::Error;
use super::search::Found;
use crate::log;
use crate::machine::Machine;
use crate::outcome::chain;
use crate::plan::PATH;

/// A check of a large file system reads all its metadata.
const CHECK_PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Mounts `found` on `target`; gives the file system's kernel name.
pub fn mount_checked(
    machine: &mut Machine,
    found: &Found,
    fstype: Option<&str>,
    target: &str,
) -> Result<String, Error> {
    let probed = found.content.as_ref().map(|content| content.fstype);
    let fstype = fstype.or(probed).unwrap_or("ext4");
    load_driver(fstype);
    let is_ext = fstype.starts_with("ext");
    let mut checked = false;
    if is_ext
        && found
            .content
            .as_ref()
            .is_some_and(|content| content.has_errors)
    {
        log::warn(&format!(
            "{}: marked as having errors, checking it",
            found.path.display()
        ));
        check(machine, &found.path);
        checked = true;
    }
    let device = found.path.display().to_string();
    let attempt = || {
        mount::on_new_directory(Path::new(target), |target| {
            mount::mount(&device, target, fstype, Flags::empty(), "")
        })
    };
    let result = attempt().or_else(|error| {
        if !is_ext || checked {
            return Err(error);
        }
        log::warn(&format!("{}; checking it", chain(&error)));
        check(machine, &found.path);
        attempt()
    });
    result
        .map(|()| fstype.to_owned())
        .map_err(|cause| Error::Mount { device, cause })
}

/// The kernel would ask user space for it, and there is none yet.
fn load_driver(fstype: &str) {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known
        .lines()
        .any(|line| line.split_whitespace().last() == Some(fstype))
    {
        return;
    }
    let loaded = Index::of_running_kernel().and_then(|index| index.load(fstype, ""));
    if let Err(error) = loaded {
        log::warn(&format!("file system {fstype}: {}", chain(&error)));
    }
}

/// Repairs what can be repaired without a human; says what could not.
fn check(machine: &mut Machine, device: &Path) {
    let mut command = Command::new("e2fsck");
    command
        .arg("-p")
        .arg(device)
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::null());
    match machine.run(&mut command, CHECK_PATIENCE) {
        // 1: errors corrected; 2: corrected, reboot advised for a mounted root, which this is not.
        Ok(Exit::Code(0..=2)) => log::info(&format!("{}: checked and repaired", device.display())),
        Ok(exit) => log::error(&format!(
            "e2fsck -p {} {exit}: it needs a decision; boot with rancher.recovery=true and run e2fsck {}",
            device.display(),
            device.display()
        )),
        Err(error) => log::error(&chain(&error)),
    }
}
