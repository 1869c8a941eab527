//! Phase `writable-parts`: what must be writable or virtual on top of the read-only root.

use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use kernel::mount::{self, Flags};

use crate::log;
use crate::machine::Machine;
use crate::outcome::{Halted, chain};
use crate::record::RUN;

enum Need {
    Required,
    /// Missing in some kernels or on some machines.
    Optional,
}

struct Entry {
    fstype: &'static str,
    target: &'static str,
    flags: Flags,
    options: &'static str,
    need: Need,
}

const HARD: Flags = Flags::NOSUID.union(Flags::NODEV).union(Flags::NOEXEC);
const DATA: Flags = Flags::NOSUID.union(Flags::NODEV);

const fn entry(
    fstype: &'static str,
    target: &'static str,
    flags: Flags,
    options: &'static str,
) -> Entry {
    Entry {
        fstype,
        target,
        flags,
        options,
        need: Need::Required,
    }
}

const fn optional(fstype: &'static str, target: &'static str, options: &'static str) -> Entry {
    Entry {
        fstype,
        target,
        flags: HARD,
        options,
        need: Need::Optional,
    }
}

/// In this order.
const MOUNTS: [Entry; 9] = [
    entry("tmpfs", "/run", DATA, "mode=755"),
    entry("tmpfs", "/tmp", DATA, "mode=1777"),
    // Group 5 is `tty` in every Debian image.
    entry(
        "devpts",
        "/dev/pts",
        Flags::NOSUID.union(Flags::NOEXEC),
        "gid=5,mode=620,ptmxmode=666",
    ),
    entry("tmpfs", "/dev/shm", DATA, "mode=1777,size=64m"),
    optional("mqueue", "/dev/mqueue", ""),
    optional("securityfs", "/sys/kernel/security", ""),
    optional("bpf", "/sys/fs/bpf", "mode=700"),
    optional("efivarfs", "/sys/firmware/efi/efivars", ""),
    optional("fusectl", "/sys/fs/fuse/connections", ""),
];

/// Mounts the table, the overlay of `/etc` and what belongs to them.
pub fn run(_machine: &mut Machine) -> Result<(), Halted> {
    without_module_helper(|| MOUNTS.iter().try_for_each(mount_entry))?;
    for directory in [
        RUN,
        "/run/ros/etc/upper",
        "/run/ros/etc/work",
        "/run/lock",
        "/run/log",
    ] {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::set_permissions("/run/lock", std::fs::Permissions::from_mode(0o1777))?;
    mount::overlay("/etc", "/run/ros/etc/upper", "/run/ros/etc/work", "/etc")?;
    std::fs::create_dir_all("/etc/docker")?;
    for (target, link) in [
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
        ("/run/log.sock", "/dev/log"),
    ] {
        link_once(target, link)?;
    }
    // Containers are many and each holds files open; the default of 1024 is a limit for one shell.
    kernel::process::set_open_files_limit(1_000_000)?;
    Ok(())
}

/// Mounting bpf makes the kernel ask modprobe for a module that we do not have, which takes longer than all the rest of this phase.
fn without_module_helper<T>(action: impl FnOnce() -> T) -> T {
    const HELPER: &str = "kernel.modprobe";
    let before = std::fs::read_to_string("/proc/sys/kernel/modprobe").unwrap_or_default();
    kernel::sysctl::set(HELPER, "\n").ok();
    let result = action();
    if let Err(error) = kernel::sysctl::set(HELPER, before.trim_end()) {
        log::warn(&chain(&error));
    }
    result
}

fn mount_entry(entry: &Entry) -> Result<(), mount::Error> {
    let target = Path::new(entry.target);
    // Directories of /sys are the kernel's: a missing one means that it lacks the feature.
    if !target.exists() && target.starts_with("/sys") {
        return Ok(());
    }
    let result = mount::on_new_directory(target, |target| {
        mount::mount(
            entry.fstype,
            target,
            entry.fstype,
            entry.flags,
            entry.options,
        )
    });
    match (result, &entry.need) {
        (Err(error), Need::Optional) => {
            log::debug(&chain(&error));
            Ok(())
        }
        (result, _) => result,
    }
}

fn link_once(target: &str, link: &str) -> io::Result<()> {
    match symlink(target, link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}
