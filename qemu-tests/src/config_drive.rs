//! The ways to hand a cloud-config to a machine on a drive: OpenStack's config drive on ISO 9660, FAT or 9p, and NoCloud's seed.
//! Owns the files it writes inside the folder it is given.

use std::path::{Path, PathBuf};

use crate::error::{HarnessError, Result};
use crate::tool::Tool;

/// The form of the drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// ISO 9660 labelled `config-2` with `openstack/latest/{user_data,meta_data.json}`.
    Iso,
    /// FAT labelled `CONFIG-2` with the same content.
    Fat,
    /// A shared folder, 9p tag `config-2`, with the same content.
    NineP,
    /// ISO 9660 labelled `cidata` with `user-data` and `meta-data` (cloud-init's NoCloud).
    NoCloud,
}

/// A drive or folder with user data on it.
#[derive(Clone, Debug)]
pub struct ConfigDrive {
    /// Its form.
    pub form: Form,
    /// The image file, or the folder for 9p.
    pub path: PathBuf,
}

/// What the drive carries.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// The user data as it is, `#cloud-config` line included.
    pub user_data: String,
    /// `meta_data.json` or NoCloud's `meta-data`; empty for a minimal one.
    pub meta_data: String,
}

impl ConfigDrive {
    /// Writes the drive below `folder`.
    ///
    /// # Errors
    /// When a file cannot be written or the image tool fails.
    pub fn create(folder: &Path, form: Form, content: &Content) -> Result<Self> {
        let tree = folder.join(format!("config-{form:?}"));
        write_tree(&tree, form, content)?;
        let image = folder.join(format!("config-{form:?}.img"));
        let path = match form {
            Form::NineP => tree,
            Form::Iso => iso(&tree, &image, "config-2")?,
            Form::NoCloud => iso(&tree, &image, "cidata")?,
            Form::Fat => fat(&tree, &image)?,
        };
        Ok(Self { form, path })
    }
}

fn write_tree(tree: &Path, form: Form, content: &Content) -> Result<()> {
    let nocloud = form == Form::NoCloud;
    let dir = if nocloud {
        tree.to_owned()
    } else {
        tree.join("openstack/latest")
    };
    std::fs::create_dir_all(&dir).map_err(HarnessError::file("make config drive folder", &dir))?;
    let (user, meta) = if nocloud {
        ("user-data", "meta-data")
    } else {
        ("user_data", "meta_data.json")
    };
    let minimal = if nocloud {
        "instance-id: qemu-tests\n"
    } else {
        "{\"uuid\": \"qemu-tests\"}\n"
    };
    let meta_data = if content.meta_data.is_empty() {
        minimal
    } else {
        &content.meta_data
    };
    for (name, text) in [(user, content.user_data.as_str()), (meta, meta_data)] {
        let file = dir.join(name);
        std::fs::write(&file, text)
            .map_err(HarnessError::file("write config drive file", &file))?;
    }
    Ok(())
}

fn iso(tree: &Path, image: &Path, label: &str) -> Result<PathBuf> {
    let make =
        Tool::new("xorriso").args(["-as", "mkisofs", "-quiet", "-R", "-J", "-V", label, "-o"]);
    make.arg(image).arg(tree).run()?;
    Ok(image.to_owned())
}

fn fat(tree: &Path, image: &Path) -> Result<PathBuf> {
    let file =
        std::fs::File::create(image).map_err(HarnessError::file("create FAT image", image))?;
    file.set_len(8 << 20)
        .map_err(HarnessError::file("size FAT image", image))?;
    Tool::new("mkfs.vfat")
        .args(["-n", "CONFIG-2"])
        .arg(image)
        .run()?;
    Tool::new("mcopy")
        .arg("-s")
        .arg("-i")
        .arg(image)
        .arg(tree.join("openstack"))
        .arg("::/")
        .run()?;
    Ok(image.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_carries_the_label_that_the_guest_looks_for() {
        let dir = tempfile::tempdir().unwrap();
        let content = Content {
            user_data: "#cloud-config\nhostname: x\n".into(),
            ..Content::default()
        };
        for (form, label) in [
            (Form::Iso, "config-2"),
            (Form::Fat, "CONFIG-2"),
            (Form::NoCloud, "cidata"),
        ] {
            let drive = ConfigDrive::create(dir.path(), form, &content).unwrap();
            assert_eq!(
                crate::disk::Disk::existing(&drive.path).label().unwrap(),
                label
            );
        }
        let share = ConfigDrive::create(dir.path(), Form::NineP, &content).unwrap();
        assert_eq!(
            std::fs::read_to_string(share.path.join("openstack/latest/user_data")).unwrap(),
            content.user_data
        );
    }
}
