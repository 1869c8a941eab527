//! Mounts: mount(2) and friends, and `/proc/self/mountinfo`.
//!
//! Owns no policy about what is mounted where. Errors name the mount point and say in words what the usual cause is.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
pub use rustix::mount::MountFlags as Flags;
use rustix::mount::{MountPropagationFlags, UnmountFlags};

/// Why a mount operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// mount(2) refused.
    #[error("cannot mount {source_name} on {target}{}", advice(*.cause))]
    Mount {
        /// Device, share or `none`.
        source_name: String,
        /// Mount point.
        target: PathBuf,
        /// What the kernel said.
        #[source]
        cause: Errno,
    },
    /// A mount could not be moved, bound or its propagation changed.
    #[error("cannot {operation} {target}{}", advice(*.cause))]
    Change {
        /// What was tried.
        operation: &'static str,
        /// Mount point.
        target: PathBuf,
        /// What the kernel said.
        #[source]
        cause: Errno,
    },
    /// umount(2) refused.
    #[error("cannot unmount {target}{}", advice(*.cause))]
    Unmount {
        /// Mount point.
        target: PathBuf,
        /// What the kernel said.
        #[source]
        cause: Errno,
    },
    /// The mount point could not be made.
    #[error("cannot make the mount point {target}")]
    MountPoint {
        /// Mount point.
        target: PathBuf,
        /// What the kernel said.
        #[source]
        cause: std::io::Error,
    },
    /// The mount options hold a NUL byte.
    #[error("mount options for {target} hold a NUL byte")]
    Options {
        /// Mount point.
        target: PathBuf,
    },
    /// The mount table could not be read.
    #[error("cannot read /proc/thread-self/mountinfo")]
    Table(#[source] std::io::Error),
}

fn advice(errno: Errno) -> &'static str {
    match errno {
        Errno::INVAL => " (not a file system of that type, or a damaged one)",
        Errno::NODEV => " (the kernel has no such file system type; is its module there?)",
        Errno::BUSY => " (busy: something still uses it)",
        Errno::NOENT => " (the device or the mount point does not exist)",
        Errno::NXIO => " (no such device)",
        Errno::UCLEAN => " (the file system is damaged and needs a check)",
        Errno::ACCESS | Errno::ROFS => " (write-protected; mount it read-only)",
        Errno::NOTBLK => " (not a block device)",
        Errno::IO => " (the device gives read errors)",
        _ => "",
    }
}

/// Mounts `source` on `target`. `fstype` is a kernel file system name; `options` the comma-separated data string.
pub fn mount(
    source: &str,
    target: impl AsRef<Path>,
    fstype: &str,
    flags: Flags,
    options: &str,
) -> Result<(), Error> {
    let target = target.as_ref();
    let data = CString::new(options).map_err(|_| Error::Options {
        target: target.into(),
    })?;
    let data = (!options.is_empty()).then_some(data.as_c_str());
    rustix::mount::mount(source, target, fstype, flags, data).map_err(|cause| Error::Mount {
        source_name: source.to_owned(),
        target: target.into(),
        cause,
    })
}

/// Mounts a fresh tmpfs with the given mode and extra options (`size=…`).
pub fn tmpfs(target: impl AsRef<Path>, flags: Flags, options: &str) -> Result<(), Error> {
    mount("tmpfs", target, "tmpfs", flags, options)
}

/// Makes the directory tree `source` visible at `target` too, without what is mounted below it.
pub fn bind(source: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<(), Error> {
    let target = target.as_ref();
    rustix::mount::mount_bind(source.as_ref(), target).map_err(|cause| Error::Mount {
        source_name: source.as_ref().display().to_string(),
        target: target.into(),
        cause,
    })
}

/// Moves the mount at `source`, with everything below it, to `target`.
pub fn move_to(source: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<(), Error> {
    let target = target.as_ref();
    rustix::mount::mount_move(source.as_ref(), target).map_err(|cause| Error::Mount {
        source_name: source.as_ref().display().to_string(),
        target: target.into(),
        cause,
    })
}

/// Mounts an overlay of a writable `upper` over a read-only `lower`. `upper` and `work` lie on one file system.
pub fn overlay(lower: &str, upper: &str, work: &str, target: &str) -> Result<(), Error> {
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    mount("overlay", target, "overlay", Flags::empty(), &options)
}

/// Makes `target` and every mount below it shared, so that mounts made in containers are seen outside and the reverse.
pub fn share_recursively(target: impl AsRef<Path>) -> Result<(), Error> {
    change(
        target.as_ref(),
        MountPropagationFlags::SHARED | MountPropagationFlags::REC,
        "share",
    )
}

/// Cuts `target` and every mount below it off from other mount namespaces.
pub fn make_private_recursively(target: impl AsRef<Path>) -> Result<(), Error> {
    change(
        target.as_ref(),
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        "make private",
    )
}

fn change(
    target: &Path,
    flags: MountPropagationFlags,
    operation: &'static str,
) -> Result<(), Error> {
    rustix::mount::mount_change(target, flags).map_err(|cause| Error::Change {
        operation,
        target: target.into(),
        cause,
    })
}

/// Remounts read-only, which writes everything back.
pub fn remount_read_only(target: impl AsRef<Path>) -> Result<(), Error> {
    let target = target.as_ref();
    rustix::mount::mount_remount(target, Flags::RDONLY, "").map_err(|cause| Error::Change {
        operation: "remount read-only",
        target: target.into(),
        cause,
    })
}

/// Unmounts; fails with EBUSY while something uses it.
pub fn unmount(target: impl AsRef<Path>) -> Result<(), Error> {
    unmount_with(target.as_ref(), UnmountFlags::NOFOLLOW)
}

/// Takes the mount out of the tree at once; the kernel finishes when its last user is gone.
pub fn detach(target: impl AsRef<Path>) -> Result<(), Error> {
    unmount_with(
        target.as_ref(),
        UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
    )
}

fn unmount_with(target: &Path, flags: UnmountFlags) -> Result<(), Error> {
    rustix::mount::unmount(target, flags).map_err(|cause| Error::Unmount {
        target: target.into(),
        cause,
    })
}

/// Makes the directory if it is missing, then calls `action` with it.
pub fn on_new_directory(
    target: &Path,
    action: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    std::fs::create_dir_all(target).map_err(|cause| Error::MountPoint {
        target: target.into(),
        cause,
    })?;
    action(target)
}

/// One line of `/proc/self/mountinfo` (Documentation/filesystems/proc.rst 3.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountInfo {
    /// Unique number of the mount.
    pub id: u32,
    /// Number of the mount that it sits on.
    pub parent: u32,
    /// `major:minor` of the file system.
    pub device: String,
    /// Mount point as this process sees it.
    pub target: PathBuf,
    /// Options of this mount (`ro`, `nosuid`, …).
    pub options: Vec<String>,
    /// Kernel name of the file system.
    pub fstype: String,
    /// Device or other source.
    pub source: String,
}

impl MountInfo {
    /// Whether this mount is read-only.
    pub fn is_read_only(&self) -> bool {
        self.options.iter().any(|option| option == "ro")
    }
}

/// The mounts of this process, in the kernel's order.
pub fn table() -> Result<Vec<MountInfo>, Error> {
    let text = std::fs::read_to_string("/proc/thread-self/mountinfo").map_err(Error::Table)?;
    Ok(parse_mountinfo(&text))
}

/// Parses mountinfo; lines that do not have its shape are left out.
pub fn parse_mountinfo(text: &str) -> Vec<MountInfo> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<MountInfo> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let id = left.next()?.parse().ok()?;
    let parent = left.next()?.parse().ok()?;
    let device = left.next()?.to_owned();
    let _root_within_the_file_system = left.next()?;
    let target = PathBuf::from(unescape(left.next()?));
    let options = left.next()?.split(',').map(str::to_owned).collect();
    let mut right = right.split(' ');
    let fstype = right.next()?.to_owned();
    let source = unescape(right.next()?);
    Some(MountInfo {
        id,
        parent,
        device,
        target,
        options,
        fstype,
        source,
    })
}

/// Octal escapes of blank, tab, newline and backslash.
fn unescape(field: &str) -> String {
    let mut out = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        out.push_str(rest.get(..at).unwrap_or_default());
        let code = rest
            .get(at + 1..at + 4)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) => out.push(char::from(byte)),
            None => out.push('\\'),
        }
        rest = rest
            .get(at + if code.is_some() { 4 } else { 1 }..)
            .unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// The mount points in an order in which each can be unmounted: what sits on another mount goes before it.
pub fn unmount_order(mounts: &[MountInfo]) -> Vec<&MountInfo> {
    let mut done: Vec<&MountInfo> = Vec::with_capacity(mounts.len());
    let mut left: Vec<&MountInfo> = mounts.iter().rev().collect();
    while !left.is_empty() {
        let (leaves, rest): (Vec<_>, Vec<_>) = left.iter().partition(|mount| {
            !left
                .iter()
                .any(|other| other.parent == mount.id && other.id != mount.id)
        });
        if leaves.is_empty() {
            done.extend(rest);
            break;
        }
        done.extend(leaves);
        left = rest;
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
21 1 7:0 / / ro,relatime shared:1 - squashfs /dev/loop0 ro
22 21 0:20 / /run rw,nosuid shared:2 - tmpfs tmpfs rw,mode=755
23 21 254:0 / /state rw shared:3 - ext4 /dev/vda rw
24 21 254:0 /var /var rw shared:3 - ext4 /dev/vda rw
25 24 0:44 / /var/lib/system-docker/overlay2/a\\040b/merged rw - overlay overlay rw
not a line
";

    #[test]
    fn reads_escapes_and_skips_nonsense() {
        let mounts = parse_mountinfo(SAMPLE);
        assert_eq!(mounts.len(), 5);
        assert_eq!(
            mounts[4].target,
            Path::new("/var/lib/system-docker/overlay2/a b/merged")
        );
        assert_eq!(mounts[2].source, "/dev/vda");
        assert!(mounts[0].is_read_only() && !mounts[1].is_read_only());
    }

    #[test]
    fn children_are_unmounted_before_their_parents() {
        let mounts = parse_mountinfo(SAMPLE);
        let order: Vec<u32> = unmount_order(&mounts)
            .iter()
            .map(|mount| mount.id)
            .collect();
        let position = |id| order.iter().position(|&other| other == id);
        assert_eq!(order.len(), 5);
        assert!(position(25) < position(24));
        assert_eq!(position(21), Some(4));
    }

    #[test]
    fn a_loop_of_parents_ends() {
        let mounts =
            parse_mountinfo("1 2 0:1 / /a rw - tmpfs t rw\n2 1 0:1 / /b rw - tmpfs t rw\n");
        assert_eq!(unmount_order(&mounts).len(), 2);
    }
}
