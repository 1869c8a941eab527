//! Config drives: block devices by label (ISO 9660, FAT, any other file system) and 9p shares by tag, mounted read-only for as long as they
//! are read.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use kernel::block;
use kernel::mount::{self, Flags};

use crate::log::{Chain, Log};

const LOG: Log = Log::of("cloud-init");
const FOLDER: &str = "/run/ros/cloud-init";
const TAGS: &str = "/sys/bus/virtio/drivers/9pnet_virtio";
const ATA: &str = "/sys/class/ata_device";
/// Its `state` is `recovery` while error handling, which does the first look at the ports, is at work.
const HOSTS: &str = "/sys/class/scsi_host";

/// Why a drive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The mount point cannot be made.
    #[error("cannot make {FOLDER}")]
    Folder(#[source] std::io::Error),
    /// The kernel refuses.
    #[error("config drive {drive} cannot be mounted")]
    Mount {
        /// Which.
        drive: String,
        /// Why.
        #[source]
        source: mount::Error,
    },
}

/// A drive that may hold user-data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drive {
    /// A disk or CD with a file system.
    Block {
        /// Its node.
        device: PathBuf,
        /// Its file system.
        fstype: String,
        /// Its label as found.
        label: String,
    },
    /// A directory of the host, shared by QEMU.
    Share {
        /// Its tag.
        tag: String,
    },
}

impl fmt::Display for Drive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block { device, label, .. } => {
                write!(formatter, "{} (LABEL={label})", device.display())
            }
            Self::Share { tag } => write!(formatter, "9p share {tag}"),
        }
    }
}

impl Drive {
    fn name(&self) -> &str {
        match self {
            Self::Block { label, .. } => label,
            Self::Share { tag } => tag,
        }
    }

    /// Mounts it read-only.
    ///
    /// # Errors
    /// When the kernel does not know the file system, or the medium is damaged.
    pub fn mount(&self) -> Result<Mounted, Error> {
        let target = Path::new(FOLDER);
        fs::create_dir_all(target).map_err(Error::Folder)?;
        let flags = Flags::RDONLY | Flags::NOSUID | Flags::NODEV | Flags::NOEXEC;
        let mounted = match self {
            Self::Block { device, fstype, .. } => {
                mount::mount(&device.display().to_string(), target, fstype, flags, "")
            }
            Self::Share { tag } => {
                mount::mount(tag, target, "9p", flags, "trans=virtio,version=9p2000.L")
            }
        };
        mounted.map_err(|source| Error::Mount {
            drive: self.to_string(),
            source,
        })?;
        Ok(Mounted(target.to_path_buf()))
    }
}

/// A mounted drive; unmounted when dropped.
#[derive(Debug)]
pub struct Mounted(PathBuf);

impl Mounted {
    /// Where.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = mount::detach(&self.0) {
            LOG.warn(Chain(&error));
        }
    }
}

/// The drives of this machine. Each device is looked at once, whatever is asked for.
#[derive(Debug, Clone, Default)]
pub struct Devices(Vec<Drive>);

impl Devices {
    /// Looks at every block device and share.
    #[must_use]
    pub fn look() -> Self {
        let shares = shares(Path::new(TAGS)).into_iter();
        let disks = block::list().into_iter().filter_map(|device| {
            let content = block::probe(&device.path)?;
            Some(Drive::Block {
                label: content.label?,
                fstype: content.fstype.to_owned(),
                device: device.path,
            })
        });
        Self(
            disks
                .chain(shares.map(|tag| Drive::Share { tag }))
                .collect(),
        )
    }

    /// The first drive called `label`; FAT labels are upper case, so case does not count.
    #[must_use]
    pub fn labelled(&self, label: &str) -> Option<&Drive> {
        self.0
            .iter()
            .find(|drive| drive.name().eq_ignore_ascii_case(label))
    }
}

fn shares(folder: &Path) -> Vec<String> {
    let mut tags: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("mount_tag")).ok())
        .map(|tag| tag.trim_end_matches(['\0', '\n']).to_owned())
        .collect();
    tags.sort();
    tags
}

/// True while the kernel still looks for disks and CDs: it does not wait for SATA and IDE before it starts init.
#[must_use]
pub fn more_may_come() -> bool {
    // A port without a drive stays unknown for ever; its host tells that the look at it is over.
    unknown(Path::new(ATA)) && probing(Path::new(HOSTS))
}

fn probing(folder: &Path) -> bool {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| {
            fs::read_to_string(entry.path().join("state"))
                .is_ok_and(|state| state.trim() != "running")
        })
}

fn unknown(folder: &Path) -> bool {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| {
            fs::read_to_string(entry.path().join("class"))
                .is_ok_and(|class| class.trim() == "unknown")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_in_any_case() {
        let devices = Devices(vec![
            Drive::Block {
                device: "/dev/vdb".into(),
                fstype: "vfat".into(),
                label: "CONFIG-2".into(),
            },
            Drive::Share {
                tag: "cidata".into(),
            },
        ]);
        assert_eq!(
            devices.labelled("config-2").unwrap().to_string(),
            "/dev/vdb (LABEL=CONFIG-2)"
        );
        assert_eq!(
            devices.labelled("cidata").unwrap().to_string(),
            "9p share cidata"
        );
        assert_eq!(devices.labelled("other"), None);
    }

    #[test]
    fn tags_end_with_a_nul() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("virtio3")).unwrap();
        fs::write(folder.path().join("virtio3/mount_tag"), b"config-2\0").unwrap();
        fs::write(folder.path().join("bind"), "").unwrap();
        assert_eq!(shares(folder.path()), ["config-2"]);
    }

    #[test]
    fn a_port_that_is_not_probed_yet_may_bring_more() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("dev1.0");
        fs::create_dir(&device).unwrap();
        fs::write(device.join("class"), "none\n").unwrap();
        assert!(!unknown(folder.path()));
        fs::write(device.join("class"), "unknown\n").unwrap();
        assert!(unknown(folder.path()));
    }
}
