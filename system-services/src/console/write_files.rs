//! `write_files`: decodes the content and puts it in place with owner and mode, for the console and, through `ros entrypoint`, for any
//! container.
//!
//! Owns no file; each entry stands alone, so that a bad one does not stop the others.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use os_config::types::WriteFile;

use super::accounts::{self, Accounts};
use crate::files::{Attributes, make_directory, write_with};

/// Container that entries without `container` are for.
pub const DEFAULT_CONTAINER: &str = "console";
/// Unpacked content larger than this is refused: gzip can make gigabytes out of nothing.
const LARGEST: u64 = 64 << 20;

/// Why an entry was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path is not absolute.
    #[error("write_files: path `{0}` must begin with /")]
    Path(String),
    /// An encoding that does not exist.
    #[error(
        "write_files {path}: unknown encoding `{encoding}`; use base64, gzip or gzip+base64, or leave it out"
    )]
    Encoding {
        /// The entry's path.
        path: String,
        /// What it says.
        encoding: String,
    },
    /// The content is not what `encoding` says.
    #[error("write_files {path}: the content is not valid {encoding}")]
    Content {
        /// The entry's path.
        path: String,
        /// What it says.
        encoding: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `permissions` are not octal digits.
    #[error(
        "write_files {path}: permissions `{permissions}` are not octal; write them as \"0644\""
    )]
    Permissions {
        /// The entry's path.
        path: String,
        /// What it says.
        permissions: String,
    },
    /// The owner is unknown.
    #[error("write_files {path}")]
    Owner {
        /// The entry's path.
        path: String,
        /// Why.
        #[source]
        source: accounts::Error,
    },
    /// The file cannot be written.
    #[error("write_files {path}: cannot be written")]
    Write {
        /// The entry's path.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Writes the entries of `container` under `root`; returns one error for each that was not written.
#[must_use]
pub fn apply(root: &Path, files: &[WriteFile], container: &str) -> Vec<Error> {
    let mine: Vec<&WriteFile> = files
        .iter()
        .filter(|file| belongs(file, container))
        .collect();
    if mine.is_empty() {
        return Vec::new();
    }
    let accounts = Accounts::read(root);
    mine.into_iter()
        .filter_map(|file| write(root, file, &accounts).err())
        .collect()
}

fn belongs(file: &WriteFile, container: &str) -> bool {
    let named = if file.container.is_empty() {
        DEFAULT_CONTAINER
    } else {
        &file.container
    };
    named == container
}

fn write(root: &Path, file: &WriteFile, accounts: &Accounts) -> Result<(), Error> {
    let path = file.path.clone();
    let target = target(root, &path)?;
    let content = decode(file)?;
    let mode = mode(file)?;
    let (uid, gid) = match file.owner.as_str() {
        "" => (None, None),
        owner => accounts.owner(owner).map_err(|source| Error::Owner {
            path: path.clone(),
            source,
        })?,
    };
    let parent = target.parent().unwrap_or(root).to_path_buf();
    make_directory(&parent, 0o755)
        .and_then(|()| write_with(&target, &content, Attributes { mode, uid, gid }))
        .map_err(|source| Error::Write { path, source })
}

fn target(root: &Path, path: &str) -> Result<PathBuf, Error> {
    match path.strip_prefix('/') {
        Some(relative) if !relative.is_empty() => Ok(root.join(relative)),
        _ => Err(Error::Path(path.to_owned())),
    }
}

fn mode(file: &WriteFile) -> Result<u32, Error> {
    if file.permissions.is_empty() {
        return Ok(0o644);
    }
    let digits = file
        .permissions
        .trim_start_matches("0o")
        .trim_matches(['"', '\'']);
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| Error::Permissions {
            path: file.path.clone(),
            permissions: file.permissions.clone(),
        })
}

/// What `encoding` asks for, in the order in which it is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Base64,
    Gzip,
}

fn layers(encoding: &str) -> Option<&'static [Layer]> {
    match encoding.to_ascii_lowercase().as_str() {
        "" | "text/plain" | "plain" => Some(&[]),
        "b64" | "base64" => Some(&[Layer::Base64]),
        "gz" | "gzip" => Some(&[Layer::Gzip]),
        "gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64" => Some(&[Layer::Base64, Layer::Gzip]),
        _ => None,
    }
}

fn decode(file: &WriteFile) -> Result<Vec<u8>, Error> {
    let layers = layers(&file.encoding).ok_or_else(|| Error::Encoding {
        path: file.path.clone(),
        encoding: file.encoding.clone(),
    })?;
    let mut content = file.content.clone().into_bytes();
    for layer in layers {
        content = match layer {
            Layer::Base64 => base64_of(&content),
            Layer::Gzip => gunzip(&content),
        }
        .map_err(|source| Error::Content {
            path: file.path.clone(),
            encoding: file.encoding.clone(),
            source,
        })?;
    }
    Ok(content)
}

fn base64_of(text: &[u8]) -> io::Result<Vec<u8>> {
    let compact: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    base64::engine::general_purpose::STANDARD
        .decode(compact)
        .map_err(io::Error::other)
}

fn gunzip(packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    flate2::read::MultiGzDecoder::new(packed)
        .take(LARGEST + 1)
        .read_to_end(&mut content)?;
    if content.len() as u64 > LARGEST {
        return Err(io::Error::other("unpacks to more than 64 MiB"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    fn file(path: &str, content: &str) -> WriteFile {
        WriteFile {
            path: path.into(),
            content: content.into(),
            ..WriteFile::default()
        }
    }

    #[test]
    fn encodings_are_undone() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"hello").unwrap();
        let packed = base64::engine::general_purpose::STANDARD.encode(gzip.finish().unwrap());
        for (encoding, content) in [
            ("", "hello".to_owned()),
            ("b64", "aGVs\n bG8=".to_owned()),
            ("base64", "aGVsbG8=".to_owned()),
            ("gzip+base64", packed.clone()),
            ("gz+b64", packed),
        ] {
            let entry = WriteFile {
                encoding: encoding.into(),
                content,
                ..file("/x", "")
            };
            assert_eq!(decode(&entry).unwrap(), b"hello", "{encoding}");
        }
    }

    #[test]
    fn a_bad_entry_is_named_and_the_others_are_written() {
        let root = tempfile::tempdir().unwrap();
        let entries = [
            file("relative", "x"),
            WriteFile {
                encoding: "rot13".into(),
                ..file("/a", "x")
            },
            WriteFile {
                permissions: "rwx".into(),
                ..file("/b", "x")
            },
            WriteFile {
                permissions: "0750".into(),
                ..file("/opt/deep/script", "#!/bin/sh\n")
            },
            WriteFile {
                container: "ntp".into(),
                ..file("/not-mine", "x")
            },
        ];
        let errors: Vec<String> = apply(root.path(), &entries, "console")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            errors,
            [
                "write_files: path `relative` must begin with /",
                "write_files /a: unknown encoding `rot13`; use base64, gzip or gzip+base64, or leave it out",
                "write_files /b: permissions `rwx` are not octal; write them as \"0644\"",
            ]
        );
        let written = root.path().join("opt/deep/script");
        assert_eq!(std::fs::read(&written).unwrap(), b"#!/bin/sh\n");
        assert_eq!(written.metadata().unwrap().mode() & 0o7777, 0o750);
        assert!(!root.path().join("not-mine").exists());
    }
}
