//! Files that must be whole or not there, and secret: mode 0600, in a folder for their owner only.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] io::Error),
    /// It cannot be written.
    #[error("cannot write {0}")]
    Write(PathBuf, #[source] io::Error),
    /// It is not what it should be.
    #[error("{0} is damaged")]
    Damaged(PathBuf, #[source] serde_json::Error),
}

/// Reads a file; `None`: it is not there.
///
/// # Errors
/// When it cannot be read or is damaged.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::Damaged(path.to_owned(), error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::Read(path.to_owned(), error)),
    }
}

/// Writes a file. Its folder is made for its owner only.
///
/// # Errors
/// When it cannot be written; the old one is there then.
pub fn write(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let failed = |error| Error::Write(path.to_owned(), error);
    let bytes = serde_json::to_vec(value).map_err(|error| failed(error.into()))?;
    files::write(path, &bytes, files::SECRET).map_err(failed)
}

/// Held by the one process that works with a folder.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "holds the lock until it is dropped")] File);

/// Takes the folder for this process; `None`: another one has it.
///
/// # Errors
/// When the folder cannot be written.
pub fn lock(folder: &Path) -> Result<Option<Lock>, Error> {
    let path = folder.join("lock");
    let open = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let file = open.map_err(|error| Error::Write(path.clone(), error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock(file))),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(Error::Write(path, error)),
    }
}

/// Removes a file; it need not be there.
///
/// # Errors
/// When it stays.
pub fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::Write(path.to_owned(), error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn files_are_whole_and_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.json");
        assert!(read::<u32>(&path).unwrap().is_none());
        write(&path, &7).unwrap();
        write(&path, &8).unwrap();
        assert_eq!(read::<u32>(&path).unwrap(), Some(8));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&path), mode(&folder.path().join("a"))),
            (0o600, 0o700)
        );
        fs::write(&path, "{").unwrap();
        assert!(matches!(read::<u32>(&path), Err(Error::Damaged(..))));
        remove(&path).unwrap();
        remove(&path).unwrap();
    }
}
