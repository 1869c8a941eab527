//! A file tree in memory: what an image layer or the root image holds, with owners and modes that need no root to set.
//! Contents stay on disk (or are small bytes made by the build); two nodes with one content are one file.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Result, data, file};
use crate::hash::{self, Inputs};

/// Where the bytes of a file are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// A file on disk, never changed after it was put in a tree.
    Disk(PathBuf),
    /// Bytes made by the build.
    Bytes(Vec<u8>),
}

impl Content {
    /// Length in bytes.
    pub fn len(&self) -> Result<u64> {
        match self {
            Content::Disk(path) => Ok(fs::metadata(path).map_err(file("read", path))?.len()),
            Content::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// A reader from the start.
    pub fn open(&self) -> Result<Box<dyn Read + '_>> {
        match self {
            Content::Disk(path) => Ok(Box::new(fs::File::open(path).map_err(file("open", path))?)),
            Content::Bytes(bytes) => Ok(Box::new(Cursor::new(bytes))),
        }
    }
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File(Content),
    /// A symbolic link and its target.
    Link(String),
    /// A character device: its major and minor number. In an initramfs only, where devtmpfs comes too late.
    Device(u32, u32),
}

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Node {
    /// A directory of root's, 0755.
    pub fn dir() -> Self {
        Self {
            kind: Kind::Dir,
            mode: 0o755,
            uid: 0,
            gid: 0,
        }
    }

    /// A symbolic link.
    pub fn link(target: impl Into<String>) -> Self {
        Self {
            kind: Kind::Link(target.into()),
            mode: 0o777,
            uid: 0,
            gid: 0,
        }
    }

    /// A character device of root's that everybody may use.
    pub fn device(major: u32, minor: u32) -> Self {
        Self {
            kind: Kind::Device(major, minor),
            mode: 0o666,
            uid: 0,
            gid: 0,
        }
    }

    /// A file of root's with the given permission bits.
    pub fn file(content: Content, mode: u32) -> Self {
        Self {
            kind: Kind::File(content),
            mode,
            uid: 0,
            gid: 0,
        }
    }

    /// A file of root's, 0644, with these bytes.
    pub fn text(bytes: impl Into<Vec<u8>>) -> Self {
        Self::file(Content::Bytes(bytes.into()), 0o644)
    }
}

/// Paths (relative, `/`-separated) and what is there. Parents come before children in its order.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// Puts a node at `path`, with the directories above it; replaces what was there.
    pub fn put(&mut self, path: &str, node: Node) {
        let path = normal(path);
        let mut at = 0;
        while let Some(slash) = path[at..].find('/') {
            at += slash;
            self.nodes
                .entry(path[..at].to_owned())
                .or_insert_with(Node::dir);
            at += 1;
        }
        let both_dirs = |old: &Node| old.kind == Kind::Dir && node.kind == Kind::Dir;
        if node == Node::dir() && self.nodes.get(&path).is_some_and(both_dirs) {
            return;
        }
        self.nodes.insert(path, node);
    }

    /// Puts a node unless something is there already.
    pub fn put_new(&mut self, path: &str, node: Node) {
        if !self.contains(path) {
            self.put(path, node);
        }
    }

    /// Takes out `path` and all below it.
    pub fn remove(&mut self, path: &str) {
        let (path, below) = (normal(path), format!("{}/", normal(path)));
        self.nodes
            .retain(|p, _| *p != path && !p.starts_with(&below));
    }

    /// Whether something is at `path`.
    pub fn contains(&self, path: &str) -> bool {
        self.nodes.contains_key(&normal(path))
    }

    /// The node at `path`.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(&normal(path))
    }

    /// The node at `path`, to change it.
    pub fn get_mut(&mut self, path: &str) -> Option<&mut Node> {
        self.nodes.get_mut(&normal(path))
    }

    /// All nodes, parents first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Copies every node of `other` under `prefix` (empty for the root); `other` wins.
    pub fn merge(&mut self, prefix: &str, other: &Tree) {
        for (path, node) in other.iter() {
            let path = if prefix.is_empty() {
                path.to_owned()
            } else {
                format!("{prefix}/{path}")
            };
            self.put(&path, node.clone());
        }
    }

    /// Total length of all regular files, contents shared by several nodes counted once.
    pub fn size(&self) -> Result<u64> {
        let mut seen = std::collections::BTreeSet::new();
        let mut total = 0;
        for node in self.nodes.values() {
            if let Kind::File(content) = &node.kind
                && seen.insert(content)
            {
                total += content.len()?;
            }
        }
        Ok(total)
    }

    /// Adds the files of a folder of the disk under `prefix`: executables 0755, all else 0644, owned by root. Empty folders are left
    /// out: git does not keep them, and another clone is to give the same tree.
    pub fn add_folder(&mut self, prefix: &str, folder: &Path) -> Result<()> {
        for entry in walkdir::WalkDir::new(folder)
            .sort_by_file_name()
            .min_depth(1)
        {
            let entry = entry.map_err(|e| data(folder, e))?;
            let Ok(relative) = entry.path().strip_prefix(folder) else {
                continue;
            };
            let path = format!("{prefix}/{}", relative.to_string_lossy());
            let kind = entry.file_type();
            if kind.is_dir() {
                continue;
            }
            if kind.is_symlink() {
                let target = fs::read_link(entry.path()).map_err(file("read", entry.path()))?;
                self.put(&path, Node::link(target.to_string_lossy()));
            } else {
                let mode = entry
                    .metadata()
                    .map_err(|e| data(entry.path(), e))?
                    .permissions()
                    .mode();
                let mode = if mode & 0o100 == 0 { 0o644 } else { 0o755 };
                self.put(
                    &path,
                    Node::file(Content::Disk(entry.path().to_path_buf()), mode),
                );
            }
        }
        Ok(())
    }

    /// A key for the whole tree. Files inside `cache` never change under their path; all others are read.
    pub fn key(&self, cache: &Path) -> Result<String> {
        let mut inputs = Inputs::default();
        for (path, node) in self.iter() {
            let what = match &node.kind {
                Kind::Dir => "dir".to_owned(),
                Kind::Link(target) => format!("link {target}"),
                Kind::Device(major, minor) => format!("device {major}:{minor}"),
                Kind::File(Content::Bytes(bytes)) => format!("file {}", hash::bytes(bytes)),
                Kind::File(Content::Disk(disk)) => match disk.strip_prefix(cache) {
                    Ok(relative) => format!("cached {}", relative.display()),
                    Err(_) => format!("file {}", hash::of_file(disk)?),
                },
            };
            inputs.value(
                path,
                format!("{what} {:o} {}:{}", node.mode, node.uid, node.gid),
            );
        }
        Ok(inputs.key())
    }
}

/// `/bin/x`, `./usr/bin/x` and `bin/x` are all `usr/bin/x`: Debian's root has merged directories.
pub fn normal(path: &str) -> String {
    let path = path.trim_start_matches("./").trim_matches('/');
    let merged = ["bin", "sbin", "lib", "lib64"]
        .iter()
        .any(|d| path.strip_prefix(d).is_some_and(|r| r.starts_with('/')));
    if merged {
        format!("usr/{path}")
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_appear_and_come_first() {
        let mut tree = Tree::default();
        tree.put("usr/bin/x", Node::text("1"));
        tree.put("./lib/x86_64-linux-gnu/libc.so.6", Node::text("2"));
        let paths: Vec<&str> = tree.iter().map(|(p, _)| p).collect();
        let expected = [
            "usr",
            "usr/bin",
            "usr/bin/x",
            "usr/lib",
            "usr/lib/x86_64-linux-gnu",
            "usr/lib/x86_64-linux-gnu/libc.so.6",
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn a_plain_directory_does_not_undo_a_special_one() {
        let mut tree = Tree::default();
        tree.put(
            "tmp",
            Node {
                mode: 0o1777,
                ..Node::dir()
            },
        );
        tree.put("tmp", Node::dir());
        assert_eq!(tree.get("tmp").unwrap().mode, 0o1777);
    }

    #[test]
    fn empty_folders_are_not_in_a_clone() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("a/empty")).unwrap();
        fs::write(folder.path().join("a/file"), "x").unwrap();
        let mut tree = Tree::default();
        tree.add_folder("etc", folder.path()).unwrap();
        let paths: Vec<&str> = tree.iter().map(|(p, _)| p).collect();
        assert_eq!(paths, ["etc", "etc/a", "etc/a/file"]);
    }

    #[test]
    fn shared_content_counts_once() {
        let mut tree = Tree::default();
        tree.put("a", Node::text("four"));
        tree.put("b", Node::text("four"));
        assert_eq!(tree.size().unwrap(), 4);
    }
}
