//! Phase `root-image`: finds the read-only root image, makes it `/`, and frees the initramfs.
//!
//! Two places, in this order: `/root.squashfs` in the initramfs; an ISO 9660 medium labelled `RancherOS` that holds
//! `/boot/root-<image-id>.squashfs`. The id ties the image to this initramfs: another version's medium is passed over.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kernel::block;
use kernel::loopdev;
use kernel::mount::{self, Flags};
use kernel::uevent::Uevents;

use crate::facts::ROOT_IMAGE;
use crate::machine::Machine;
use crate::outcome::Halted;
use crate::{disks_seen, log};

/// USB sticks and CD drives take seconds to answer.
const MEDIUM_PATIENCE: Duration = Duration::from_secs(20);
const LABELS: [&str; 2] = ["RancherOS", "RANCHEROS"];
const NEW_ROOT: &str = "/newroot";
const MEDIUM: &str = "/medium";

/// Why there is no root file system.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither place has it.
    #[error("no root image: {ROOT_IMAGE} is not in the initramfs{}", medium_text(.id.as_deref(), .seen))]
    NotFound {
        /// The wanted image.
        id: Option<String>,
        /// What was looked at.
        seen: Vec<String>,
    },
    /// The image is there but cannot be used.
    #[error("cannot use the root image")]
    Loop(#[from] loopdev::Error),
    /// The image is not a squashfs, or damaged.
    #[error("cannot mount the root image; is the download or the medium damaged?")]
    Mount(#[source] mount::Error),
    /// The old root could not be left.
    #[error("cannot switch to the root image")]
    Switch(#[source] mount::Error),
    /// chroot(2) failed.
    #[error("cannot enter the root image")]
    Enter(#[source] io::Error),
}

fn medium_text(id: Option<&str>, seen: &[String]) -> String {
    let Some(id) = id else {
        return ", and without /image-id no medium can be searched; use the initrd of a complete build".into();
    };
    let seen = disks_seen::text(seen);
    format!(", and no medium labelled RancherOS holds /boot/root-{id}.squashfs ({seen})")
}

/// Finds the image, mounts it and makes it `/`.
pub fn run(machine: &mut Machine) -> Result<(), Halted> {
    let source = if machine.facts.has_root_image {
        mount_image(Path::new(ROOT_IMAGE))?;
        "initramfs".to_owned()
    } else {
        from_medium(machine)?
    };
    machine.record.root = Some(source);
    switch()?;
    Ok(())
}

fn mount_image(image: &Path) -> Result<(), Error> {
    let device = loopdev::attach_read_only(image)?;
    let path = device.path().display().to_string();
    let mounted = mount::on_new_directory(Path::new(NEW_ROOT), |root| {
        mount::mount(&path, root, "squashfs", Flags::RDONLY, "")
    });
    // From here on the mount keeps the device, and the device keeps the file even when it is unlinked.
    device.release();
    mounted.map_err(Error::Mount)
}

/// Waits for the medium; woken by the kernel's device events, and once a second for drives that load without one.
fn from_medium(machine: &mut Machine) -> Result<String, Error> {
    let id = machine.facts.image_id.clone();
    let Some(wanted) = id.as_deref() else {
        return Err(Error::NotFound {
            id,
            seen: Vec::new(),
        });
    };
    let events = Uevents::subscribe().ok();
    let deadline = Instant::now() + MEDIUM_PATIENCE;
    let mut announced = false;
    loop {
        if let Some(device) = look_for_medium(wanted)? {
            return Ok(device);
        }
        if Instant::now() >= deadline || machine.stop.is_some() {
            return Err(Error::NotFound {
                id,
                seen: disks_seen::describe(),
            });
        }
        if !announced {
            log::info(&format!(
                "waiting up to {} s for the medium that holds the root image",
                MEDIUM_PATIENCE.as_secs()
            ));
            announced = true;
        }
        let fds: Vec<_> = events.iter().map(AsFd::as_fd).collect();
        machine.wait(
            &fds,
            Some(deadline.min(Instant::now() + Duration::from_secs(1))),
        );
        events.as_ref().map(Uevents::drain);
    }
}

fn look_for_medium(id: &str) -> Result<Option<String>, Error> {
    for device in block::list() {
        let content = block::probe(&device.path);
        let is_medium = content.is_some_and(|content| {
            content.fstype == "iso9660"
                && content
                    .label
                    .is_some_and(|label| LABELS.contains(&label.as_str()))
        });
        if is_medium && use_medium(&device.path, id)? {
            return Ok(Some(device.path.display().to_string()));
        }
    }
    Ok(None)
}

/// Mounts the image from this medium; false when it holds another version.
fn use_medium(device: &Path, id: &str) -> Result<bool, Error> {
    let name = device.display().to_string();
    let mounted = mount::on_new_directory(Path::new(MEDIUM), |target| {
        mount::mount(&name, target, "iso9660", Flags::RDONLY, "")
    });
    if let Err(error) = mounted {
        log::warn(&crate::outcome::chain(&error));
        return Ok(false);
    }
    let image = PathBuf::from(MEDIUM)
        .join("boot")
        .join(format!("root-{id}.squashfs"));
    let found = image.exists();
    let result = if found { mount_image(&image) } else { Ok(()) };
    // The loop device keeps the medium's file system alive; out of the tree it is in nobody's way.
    mount::detach(MEDIUM).ok();
    result.map(|()| found)
}

/// switch_root: moves the mounts over, empties the initramfs (it is RAM), puts the image over `/` and enters it.
///
/// chroot alone would not do: setns(2) into a container's mount namespace and back would land in the initramfs.
fn switch() -> Result<(), Error> {
    for directory in ["dev", "proc", "sys"] {
        mount::move_to(
            Path::new("/").join(directory),
            Path::new(NEW_ROOT).join(directory),
        )
        .map_err(Error::Switch)?;
    }
    let initramfs = std::fs::metadata("/").map_err(Error::Enter)?.dev();
    empty(Path::new("/"), initramfs);
    std::env::set_current_dir(NEW_ROOT).map_err(Error::Enter)?;
    mount::move_to(".", "/").map_err(Error::Switch)?;
    kernel::process::change_root(".").map_err(Error::Enter)?;
    mount::share_recursively("/").map_err(Error::Switch)
}

/// Deletes what lies on the file system `device`; what is mounted there is left alone.
fn empty(directory: &Path, device: u64) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(metadata) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.dev() != device {
            continue;
        }
        // Failing to free a file costs memory, nothing else.
        if metadata.is_dir() {
            empty(&path, device);
            std::fs::remove_dir(&path).ok();
        } else {
            std::fs::remove_file(&path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_image_says_what_was_searched() {
        let error = Error::NotFound {
            id: Some("1a2b".into()),
            seen: vec!["sda1 (ext4 labelled DATA)".into()],
        };
        assert_eq!(
            error.to_string(),
            "no root image: /root.squashfs is not in the initramfs, and no medium labelled RancherOS holds \
             /boot/root-1a2b.squashfs (disks here: sda1 (ext4 labelled DATA))"
        );
    }

    #[test]
    fn emptying_stays_on_its_file_system() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("a/b")).unwrap();
        std::fs::write(directory.path().join("a/b/file"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", directory.path().join("link")).unwrap();
        let device = std::fs::metadata(directory.path()).unwrap().dev();
        empty(directory.path(), device + 1);
        assert!(directory.path().join("a/b/file").exists());
        empty(directory.path(), device);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(Path::new("/etc/passwd").exists());
    }
}
