//! Writes files so that they are whole: whoever reads, or comes back after a loss of power, sees the old content or the new one. Knows
//! nothing of what is in them.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Mode of a file that only its owner may read.
pub const SECRET: u32 = 0o600;
/// Mode of a file that everybody may read.
pub const PUBLIC: u32 = 0o644;

/// Writes a file with exactly this mode: beside, flushed, and renamed. Its folder is made when it is missing, for others as far as the mode
/// is for them.
///
/// # Errors
/// When it cannot be written; the old one is there then.
pub fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let passable = if mode & 0o077 == 0 { 0o700 } else { 0o755 };
    DirBuilder::new()
        .recursive(true)
        .mode(passable)
        .create(folder)?;
    let beside = beside(path)?;
    // One that was left behind may have another mode, and be open elsewhere.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write_new(&beside, content, mode).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error is the one to report.
        fs::remove_file(&beside).ok();
    }
    written?;
    File::open(folder)?.sync_all()
}

/// `name.new`, with the whole name: `a.json` and `a.yml` do not meet.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut name = OsString::from(name);
    name.push(".new");
    Ok(path.with_file_name(name))
}

fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    // Whatever the umask is.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_are_whole_and_have_their_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.json");
        write(&path, b"1", SECRET).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        // What a killed process has left is of no harm.
        let left = folder.path().join("a/b.json.new");
        fs::write(&left, "half").unwrap();
        fs::set_permissions(&left, Permissions::from_mode(0o666)).unwrap();
        write(&path, b"2", SECRET).unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), mode(&path)),
            (b"2".to_vec(), 0o600)
        );
        assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 1);
        write(&path, b"3", PUBLIC).unwrap();
        assert_eq!(mode(&path), 0o644);
    }

    #[test]
    fn what_fails_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::create_dir_all(path.join("full")).unwrap();
        // A folder is not replaced.
        assert!(write(&path, b"1", SECRET).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(
            write(Path::new("/"), b"", SECRET).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
}
