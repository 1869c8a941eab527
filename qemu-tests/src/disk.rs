//! Raw disk images: made, formatted, filled and judged with the file systems' own tools.
//! Owns the files it makes inside the folder it is given; never mounts anything on the host.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{HarnessError, Result};
use crate::tool::{Tool, said};

/// The file system on a new disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4 over the whole disk.
    Ext4,
    /// btrfs over the whole disk.
    Btrfs,
    /// xfs over the whole disk; its labels have at most 12 bytes, so `RANCHER_STATE` does not fit.
    Xfs,
    /// Nothing: all bytes zero.
    None,
}

/// A raw disk image.
#[derive(Clone, Debug)]
pub struct Disk {
    file: PathBuf,
}

/// The label that RancherOS looks for by convention.
pub const STATE_LABEL: &str = "RANCHER_STATE";

impl Disk {
    /// Makes a sparse image of `mib` mebibytes, formatted and labelled (a label is ignored without a file system).
    ///
    /// # Errors
    /// When the file or the file system cannot be made.
    pub fn create(file: &Path, mib: u64, system: FileSystem, label: &str) -> Result<Self> {
        blank(file, mib)?;
        match system {
            FileSystem::None => {}
            FileSystem::Ext4 => drop(
                Tool::new("mkfs.ext4")
                    .args(["-q", "-F", "-L", label])
                    .arg(file)
                    .run()?,
            ),
            FileSystem::Btrfs => drop(
                Tool::new("mkfs.btrfs")
                    .args(["-q", "-L", label])
                    .arg(file)
                    .run()?,
            ),
            FileSystem::Xfs => drop(
                Tool::new("mkfs.xfs")
                    .args(["-q", "-L", label])
                    .arg(file)
                    .run()?,
            ),
        }
        Ok(Self {
            file: file.to_owned(),
        })
    }

    /// Makes an ext4 image that holds a copy of the folder `content`.
    ///
    /// # Errors
    /// When the file or the file system cannot be made, or the folder does not fit.
    pub fn ext4_with(file: &Path, mib: u64, label: &str, content: &Path) -> Result<Self> {
        blank(file, mib)?;
        Tool::new("mkfs.ext4")
            .args(["-q", "-F", "-L", label, "-d"])
            .arg(content)
            .arg(file)
            .run()?;
        Ok(Self {
            file: file.to_owned(),
        })
    }

    /// Wraps an image that exists already.
    pub fn existing(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
        }
    }

    /// The image file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The file system's UUID as blkid reads it.
    ///
    /// # Errors
    /// When there is none.
    pub fn uuid(&self) -> Result<String> {
        self.blkid("UUID")
    }

    /// The file system's label as blkid reads it.
    ///
    /// # Errors
    /// When there is none.
    pub fn label(&self) -> Result<String> {
        self.blkid("LABEL")
    }

    /// The file system's type as blkid reads it.
    ///
    /// # Errors
    /// When there is none.
    pub fn system(&self) -> Result<String> {
        self.blkid("TYPE")
    }

    /// Says whether an ext4 file system was unmounted cleanly: marked clean, no journal to replay, and without fault.
    ///
    /// # Errors
    /// [`HarnessError::Form`] with what is wrong with it.
    pub fn check_ext4_clean(&self) -> Result<()> {
        let head = Tool::new("dumpe2fs").arg("-h").arg(&self.file).run()?;
        let value = |key: &str| {
            let line = head
                .lines()
                .find(|line| line.starts_with(key))
                .unwrap_or_default();
            line.split_once(':')
                .map(|(_, value)| value.trim().to_owned())
                .unwrap_or_default()
        };
        if value("Filesystem state") != "clean"
            || value("Filesystem features").contains("needs_recovery")
        {
            return Err(unclean(format!(
                "state {:?}, features {:?}",
                value("Filesystem state"),
                value("Filesystem features")
            )));
        }
        let check = Tool::new("e2fsck")
            .args(["-f", "-n"])
            .arg(&self.file)
            .output()?;
        if check.status.success() {
            Ok(())
        } else {
            Err(unclean(said(&check)))
        }
    }

    /// Reads one file out of an ext4 image without mounting it.
    ///
    /// # Errors
    /// When debugfs cannot read the image or the file is not there.
    pub fn ext4_read(&self, path: &str) -> Result<String> {
        let output = Tool::new("debugfs")
            .args(["-R", &format!("cat {path}")])
            .arg(&self.file)
            .output()?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if errors.contains("File not found") {
            return Err(HarnessError::Form {
                what: "disk image",
                detail: format!("{path}: {}", errors.trim()),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Lists a folder of an ext4 image without mounting it, as debugfs prints it.
    ///
    /// # Errors
    /// When debugfs cannot read the image.
    pub fn ext4_list(&self, path: &str) -> Result<String> {
        Tool::new("debugfs")
            .args(["-R", &format!("ls -p {path}")])
            .arg(&self.file)
            .run()
    }

    fn blkid(&self, tag: &str) -> Result<String> {
        let value = Tool::new("blkid")
            .args(["-p", "-o", "value", "-s", tag])
            .arg(&self.file)
            .run()?;
        Ok(value.trim().to_owned())
    }
}

fn blank(file: &Path, mib: u64) -> Result<()> {
    let image = File::create(file).map_err(HarnessError::file("create disk image", file))?;
    image
        .set_len(mib << 20)
        .map_err(HarnessError::file("size disk image", file))
}

fn unclean(detail: String) -> HarnessError {
    HarnessError::Form {
        what: "ext4 file system after shutdown",
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_ext4_is_clean_and_a_torn_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::create(&dir.path().join("d"), 16, FileSystem::Ext4, "L1").unwrap();
        disk.check_ext4_clean().unwrap();
        assert_eq!(
            (
                disk.label().unwrap().as_str(),
                disk.system().unwrap().as_str()
            ),
            ("L1", "ext4")
        );
        Tool::new("debugfs")
            .args(["-w", "-R", "set_super_value state 0"])
            .arg(disk.file())
            .run()
            .unwrap();
        let error = disk.check_ext4_clean().unwrap_err();
        assert!(error.to_string().contains("not clean"), "{error}");
    }

    #[test]
    fn files_of_the_content_folder_can_be_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let content = dir.path().join("content");
        std::fs::create_dir(&content).unwrap();
        std::fs::write(content.join("hello"), "world").unwrap();
        let disk = Disk::ext4_with(&dir.path().join("d"), 16, "L2", &content).unwrap();
        assert_eq!(disk.ext4_read("/hello").unwrap(), "world");
        assert!(
            disk.ext4_read("/missing")
                .is_err_and(|error| error.to_string().contains("missing"))
        );
    }
}
