//! Writes a tree as tar, the same bytes for the same tree: every header field is set here, entries go in path order.
//! The squashfs and Docker's layer digests are both made from this stream.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use tar::{EntryType, Header};

use crate::error::{Result, data, file};
use crate::tree::{Content, Kind, Node, Tree};

/// How files that share one content are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// As hard links to the first of them.
    Hard,
    /// As a file each; Docker's layers are read back that way.
    Copies,
}

/// Receives a tar stream in the pieces that tar-split tells apart.
pub trait Sink {
    /// Header or padding bytes.
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// The content of the file whose header came last.
    fn content(&mut self, name: &str, content: &Content) -> Result<()>;
}

/// A sink that only writes.
pub struct Plain<'a>(pub &'a mut dyn Write);

impl Sink for Plain<'_> {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn content(&mut self, name: &str, content: &Content) -> Result<()> {
        io::copy(&mut content.open()?, self.0).map_err(file("copy", Path::new(name)))?;
        Ok(())
    }
}

/// Writes `tree` to `sink`; every time stamp is `epoch`.
pub fn write(tree: &Tree, epoch: u64, links: Links, sink: &mut dyn Sink) -> Result<()> {
    let mut first: BTreeMap<(&Content, u32, u32, u32), &str> = BTreeMap::new();
    for (path, node) in tree.iter() {
        let raw = file("write tar entry", Path::new(path));
        match &node.kind {
            Kind::File(content) => {
                let key = (content, node.mode, node.uid, node.gid);
                if let (Links::Hard, Some(original)) = (links, first.get(&key)) {
                    let header = header(node, EntryType::Link, path, original, 0, epoch)?;
                    sink.raw(&header).map_err(raw)?;
                    continue;
                }
                first.insert(key, path);
                let size = content.len()?;
                sink.raw(&header(node, EntryType::Regular, path, "", size, epoch)?)
                    .map_err(raw)?;
                if size > 0 {
                    sink.content(path, content)?;
                    let padding = (512 - size % 512) % 512;
                    sink.raw(&[0; 512][..padding as usize])
                        .map_err(file("write tar entry", Path::new(path)))?;
                }
            }
            Kind::Dir => {
                let name = format!("{path}/");
                sink.raw(&header(node, EntryType::Directory, &name, "", 0, epoch)?)
                    .map_err(raw)?;
            }
            Kind::Link(target) => {
                sink.raw(&header(node, EntryType::Symlink, path, target, 0, epoch)?)
                    .map_err(raw)?;
            }
            Kind::Device(..) => {
                return Err(data(
                    Path::new(path),
                    "a device node belongs into an initramfs: neither layers nor the root image have any",
                ));
            }
        }
    }
    sink.raw(&[0; 1024])
        .map_err(file("end tar", Path::new("stream")))
}

/// A GNU header, preceded by GNU's long-name entries where a name needs one.
fn header(
    node: &Node,
    kind: EntryType,
    path: &str,
    target: &str,
    size: u64,
    epoch: u64,
) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (long, name) in [(b'L', path), (b'K', target)] {
        if name.len() > 100 {
            bytes.extend(long_name(long, name)?);
        }
    }
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(node.mode);
    header.set_uid(node.uid.into());
    header.set_gid(node.gid.into());
    header.set_size(size);
    header.set_mtime(epoch);
    let fields = header
        .as_gnu_mut()
        .ok_or_else(|| data(Path::new(path), "no GNU header"))?;
    copy(&mut fields.name, path);
    copy(&mut fields.linkname, target);
    header.set_cksum();
    bytes.extend(header.as_bytes());
    Ok(bytes)
}

fn long_name(kind: u8, name: &str) -> Result<Vec<u8>> {
    let mut header = Header::new_gnu();
    let size = name.len() + 1;
    header.set_entry_type(EntryType::new(kind));
    header.set_size(size as u64);
    header.set_mode(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let fields = header
        .as_gnu_mut()
        .ok_or_else(|| data(Path::new(name), "no GNU header"))?;
    copy(&mut fields.name, "././@LongLink");
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(name.as_bytes());
    bytes.resize(512 + size.div_ceil(512) * 512, 0);
    Ok(bytes)
}

fn copy(field: &mut [u8], text: &str) {
    let n = text.len().min(field.len());
    field[..n].copy_from_slice(&text.as_bytes()[..n]);
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn sample() -> Tree {
        let mut tree = Tree::default();
        tree.put(
            "usr/bin/a",
            Node::file(Content::Bytes(b"same".to_vec()), 0o755),
        );
        tree.put(
            "usr/bin/b",
            Node::file(Content::Bytes(b"same".to_vec()), 0o755),
        );
        tree.put(
            "usr/bin/c",
            Node::file(Content::Bytes(b"same".to_vec()), 0o700),
        );
        tree.put("usr/bin/l", Node::link("a"));
        tree.put(
            &format!("usr/share/{}", "x".repeat(150)),
            Node::text("long"),
        );
        tree
    }

    fn bytes(links: Links) -> Vec<u8> {
        let mut out = Vec::new();
        write(&sample(), 1_000_000_000, links, &mut Plain(&mut out)).unwrap();
        out
    }

    #[test]
    fn reads_back_with_modes_links_and_long_names() {
        let data = bytes(Links::Hard);
        let mut seen = Vec::new();
        for entry in tar::Archive::new(data.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 1_000_000_000);
            seen.push((
                entry.path().unwrap().display().to_string(),
                entry.header().entry_type(),
                text,
            ));
        }
        assert!(
            seen.contains(&("usr/bin/b".into(), EntryType::Link, String::new())),
            "{seen:?}"
        );
        assert!(
            seen.contains(&("usr/bin/c".into(), EntryType::Regular, "same".into())),
            "{seen:?}"
        );
        assert!(
            seen.iter()
                .any(|(p, _, t)| p.ends_with("xxx") && t == "long"),
            "{seen:?}"
        );
    }

    #[test]
    fn same_tree_same_bytes() {
        assert_eq!(bytes(Links::Copies), bytes(Links::Copies));
        assert_eq!(bytes(Links::Copies).len() % 512, 0);
    }
}
