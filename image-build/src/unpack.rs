//! Unpacks .debs into the cache, once each, and remembers their entries with owners and modes as the archive states them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::control::Package;
use crate::error::{Error, Result, data, file};
use crate::hash::Inputs;
use crate::tree::{Content, Kind, Node, normal};

/// An unpacked package.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// The package.
    pub package: Package,
    /// Path (normalised) and node of everything in it.
    pub entries: Vec<(String, Node)>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    path: String,
    link: Option<String>,
    hard: Option<String>,
    dir: bool,
    mode: u32,
    uid: u32,
    gid: u32,
}

/// Unpacks `deb`, or takes what is in the cache from before.
pub fn unpack(context: &Context, package: &Package, deb: &Path) -> Result<Unpacked> {
    let mut inputs = Inputs::default();
    inputs.value("layout", 2).value("sha256", &package.sha256);
    let dir = context.cache.join("unpacked").join(inputs.key());
    if !dir.is_dir() {
        let scratch = context
            .cache
            .join("unpacked")
            .join(format!(".{}", inputs.key()));
        crate::context::fresh_dir(&scratch)?;
        let entries = extract(deb, &scratch)?;
        let list = scratch.join("entries.json");
        let text = serde_json::to_vec(&entries).map_err(|e| data(&list, e))?;
        fs::write(&list, text).map_err(file("write", &list))?;
        fs::rename(&scratch, &dir).map_err(file("publish", &dir))?;
    }
    let list = dir.join("entries.json");
    let text = fs::read(&list).map_err(file("read", &list))?;
    let entries: Vec<Entry> = serde_json::from_slice(&text).map_err(|e| data(&list, e))?;
    let nodes = entries
        .iter()
        .map(|entry| (normal(&entry.path), node(entry, &dir)));
    Ok(Unpacked {
        package: package.clone(),
        entries: nodes.collect(),
    })
}

fn node(entry: &Entry, dir: &Path) -> Node {
    let kind = match (&entry.link, &entry.hard) {
        _ if entry.dir => Kind::Dir,
        (Some(target), _) => Kind::Link(target.clone()),
        (None, Some(target)) => Kind::File(Content::Disk(on_disk(dir, target))),
        (None, None) => Kind::File(Content::Disk(on_disk(dir, &entry.path))),
    };
    Node {
        kind,
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
    }
}

fn on_disk(dir: &Path, path: &str) -> PathBuf {
    dir.join("files").join(normal(path))
}

fn extract(deb: &Path, dir: &Path) -> Result<Vec<Entry>> {
    let spawn = |source| Error::Spawn {
        step: "packages".into(),
        program: "dpkg-deb".into(),
        source,
    };
    let mut child = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(spawn)?;
    let mut entries = Vec::new();
    if let Some(out) = child.stdout.take() {
        let mut archive = tar::Archive::new(out);
        for entry in archive.entries().map_err(file("read", deb))? {
            let mut entry = entry.map_err(file("read", deb))?;
            entries.extend(extract_one(&mut entry, dir).map_err(file("unpack", deb))?);
        }
    }
    let status = child.wait().map_err(file("read", deb))?;
    if status.success() {
        Ok(entries)
    } else {
        Err(data(deb, format!("dpkg-deb ended with {status}")))
    }
}

fn extract_one<R: Read>(entry: &mut tar::Entry<R>, dir: &Path) -> std::io::Result<Option<Entry>> {
    let path = entry.path()?.to_string_lossy().into_owned();
    let link = entry.link_name()?.map(|l| l.to_string_lossy().into_owned());
    let header = entry.header();
    let kind = header.entry_type();
    let (mode, uid, gid) = (
        header.mode()? & 0o7777,
        header.uid()? as u32,
        header.gid()? as u32,
    );
    let mut record = Entry {
        path,
        link: None,
        hard: None,
        dir: kind.is_dir(),
        mode,
        uid,
        gid,
    };
    if kind.is_symlink() {
        record.link = link;
    } else if kind.is_hard_link() {
        record.hard = link;
    } else if kind.is_file() {
        let target = on_disk(dir, &record.path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        std::io::copy(entry, &mut fs::File::create(&target)?)?;
        // The build itself runs one of them (busybox, for the list of its applets).
        fs::set_permissions(
            &target,
            fs::Permissions::from_mode(if mode & 0o111 == 0 { 0o644 } else { 0o755 }),
        )?;
    } else if !kind.is_dir() || normal(&record.path).is_empty() {
        return Ok(None);
    }
    Ok(if normal(&record.path).is_empty() {
        None
    } else {
        Some(record)
    })
}
