//! What each reader of the configuration has read, for as long as the machine runs: a file of digests below `/run`.

use super::files::{self, Content};
use super::{Error, Loaded};
use crate::effects::{Digests, Reader, changed, digests};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where the records are on a running system.
pub const FOLDER: &str = "/run/ros/applied";

/// Changed keys, with those who have not read the change yet.
pub type Pending = BTreeMap<String, BTreeSet<Reader>>;

/// Notes that `reader` acts by this configuration from now on.
///
/// # Errors
/// When the record cannot be written.
pub fn record(folder: &Path, reader: Reader, loaded: &Loaded) -> Result<(), Error> {
    let path = path(folder, reader);
    let failed = |source| Error::Write {
        path: path.clone(),
        source,
    };
    files::make_dir(folder).map_err(failed)?;
    let text =
        serde_json::to_vec(&digests(&loaded.tree, reader)).map_err(|error| failed(error.into()))?;
    files::write(&path, &text, 0o600).map_err(failed)
}

/// What the configuration says otherwise than each reader has read it. One who has read nothing yet will read all of it, and is left out.
///
/// # Errors
/// When a record is there and cannot be read.
pub fn pending(folder: &Path, loaded: &Loaded) -> Result<Pending, Error> {
    let mut all = Pending::new();
    for reader in Reader::ALL {
        let Some(before) = read(&path(folder, reader))? else {
            continue;
        };
        for key in changed(&before, &digests(&loaded.tree, reader)) {
            all.entry(key).or_default().insert(reader);
        }
    }
    Ok(all)
}

fn path(folder: &Path, reader: Reader) -> PathBuf {
    folder.join(format!("{}.json", reader.name()))
}

fn read(path: &Path) -> Result<Option<Digests>, Error> {
    let failed = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    match files::read(path).map_err(failed)? {
        Content::Missing => Ok(None),
        Content::Bytes(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| failed(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn loaded(text: &str) -> Loaded {
        Loaded {
            tree: crate::yaml::parse(text.as_bytes(), "test").unwrap().root,
            ..Loaded::default()
        }
    }

    #[test]
    fn a_change_waits_for_those_who_have_read_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("applied");
        let before = loaded("{hostname: a, rancher: {debug: false}}");
        for reader in [Reader::Network, Reader::Docker, Reader::Boot] {
            record(&folder, reader, &before).unwrap();
        }
        assert_eq!(pending(&folder, &before).unwrap(), Pending::new());
        let now = loaded("{hostname: b, rancher: {debug: true, ssh: {port: 23}}}");
        let of = |readers: &[Reader]| BTreeSet::from_iter(readers.iter().copied());
        let expected = [
            ("hostname".to_owned(), of(&[Reader::Network])),
            (
                "rancher.debug".to_owned(),
                of(&[Reader::Docker, Reader::Boot]),
            ),
        ];
        assert_eq!(pending(&folder, &now).unwrap(), Pending::from(expected));
        record(&folder, Reader::Docker, &now).unwrap();
        let left = pending(&folder, &now).unwrap();
        assert_eq!(left["rancher.debug"], of(&[Reader::Boot]));
    }

    #[test]
    fn records_are_for_root_and_hold_no_value() {
        let folder = tempfile::tempdir().unwrap();
        let config = loaded("rancher: {docker: {server_key: very-secret}}");
        record(folder.path(), Reader::Docker, &config).unwrap();
        let path = folder.path().join("docker.json");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("rancher.docker.server_key"), "{text}");
        assert!(!text.contains("very-secret"), "{text}");
    }

    #[test]
    fn a_damaged_record_is_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("boot.json"), "{").unwrap();
        let error = pending(folder.path(), &loaded("{}")).unwrap_err();
        assert!(error.to_string().contains("boot.json"), "{error}");
    }
}
