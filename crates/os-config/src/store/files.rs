//! Reading and atomic writing of small files. Owns temporary names, modes and the lock.

use crate::yaml::MAX_BYTES;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What a path holds.
pub(super) enum Content {
    Bytes(Vec<u8>),
    Missing,
}

/// Reads a regular file up to one byte more than the parser takes, so that it can say that it is too large.
pub(super) fn read(path: &Path) -> io::Result<Content> {
    // Not blocking, so that a FIFO in the way cannot stop a boot.
    let options = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path);
    let file = match options {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Content::Missing);
        }
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Content::Bytes(bytes))
}

/// The files of a directory by name, without dotfiles and directories; none when there is no directory.
pub(super) fn names(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !hidden && !entry.path().is_dir() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// Makes a directory, parents included; what is made has mode 0700.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Writes a file so that a reader, or a machine that loses power, sees the old content or the new.
pub(super) fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(ErrorKind::InvalidInput.into()),
    };
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?;
    // A dotfile: `names` does not read it if it is left behind.
    let temporary = parent.join(format!(
        ".{}.{}",
        name.to_string_lossy(),
        std::process::id()
    ));
    let result = write_new(&temporary, content, mode).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // The first error is the one to report; a leftover dotfile does no harm.
        drop(fs::remove_file(&temporary));
    }
    result?;
    File::open(parent)?.sync_all()
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    // The umask, or a file left behind, may have given another mode.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

/// Keeps other writers of the directory out until dropped.
pub(super) struct Lock {
    _dir: File,
}

impl Lock {
    pub(super) fn take(dir: &Path) -> io::Result<Self> {
        let dir = File::open(dir)?;
        flock(&dir, FlockOperation::LockExclusive)?;
        Ok(Self { _dir: dir })
    }
}
