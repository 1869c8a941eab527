//! Writing files so that a reader never sees half of one.
//!
//! Owns the mechanics; what is written, and where, is the caller's.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Owner and mode of a file to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// Owner; `None`: whoever writes.
    pub uid: Option<u32>,
    /// Group; `None`: that of whoever writes.
    pub gid: Option<u32>,
}

/// Makes `path` and its parents with `mode`; what exists stays as it is.
///
/// # Errors
/// When a part of the path is not a directory or cannot be made.
pub fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Replaces `path` with `content`: through a new file in the same directory, or in place when `path` is a mount point (a bound
/// `/etc/hosts` cannot be replaced, only rewritten).
///
/// # Errors
/// When the directory or the file cannot be written; the old file is whole then.
pub fn write_atomically(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let attributes = Attributes {
        mode,
        uid: None,
        gid: None,
    };
    write_with(path, content, attributes)
}

/// The same with owner and group.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_with(path: &Path, content: &[u8], attributes: Attributes) -> io::Result<()> {
    // What a link points to is replaced, not the link.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let temporary = beside(&target);
    let written =
        write_new(&temporary, content, attributes).and_then(|()| fs::rename(&temporary, &target));
    match written {
        Ok(()) => Ok(()),
        Err(error) => {
            // It may never have been made; the error that counts is the first.
            fs::remove_file(&temporary).ok();
            if error.kind() == io::ErrorKind::ResourceBusy {
                return rewrite(&target, content);
            }
            Err(error)
        }
    }
}

/// Replaces the content of `path` but keeps the file (its inode), which other containers may have bound.
///
/// # Errors
/// When it cannot be written.
pub fn rewrite(path: &Path, content: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.write_all(content)
}

fn beside(path: &Path) -> PathBuf {
    let name = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    path.with_file_name(format!(".{name}.ros-new"))
}

fn write_new(path: &Path, content: &[u8], attributes: Attributes) -> io::Result<()> {
    fs::remove_file(path).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    // Made private, so that a secret is never readable for a moment.
    let mut file: File = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    if attributes.uid.is_some() || attributes.gid.is_some() {
        fchown(&file, attributes.uid, attributes.gid)?;
    }
    file.set_permissions(Permissions::from_mode(attributes.mode & 0o7777))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_is_replaced_with_its_mode_and_a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let link = folder.path().join("link");
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_atomically(&link, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn rewriting_keeps_the_inode() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hosts");
        fs::write(&file, "a long old text").unwrap();
        let inode = fs::metadata(&file).unwrap().ino();
        rewrite(&file, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().ino(), inode);
    }
}
