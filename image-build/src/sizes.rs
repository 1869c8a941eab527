//! `image-build sizes`: what takes how much of the image. Each part is packed on its own with the image's own settings,
//! so that the sum comes close to the whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::context::Context;
use crate::error::{Result, file};
use crate::images;
use crate::root;
use crate::tree::{Content, Kind, Tree};

/// Programs large enough for a line of their own.
const PROGRAMS: [&str; 9] = [
    "dockerd",
    "containerd",
    "containerd-shim-runc-v2",
    "docker",
    "runc",
    "crun",
    "docker-proxy",
    "ros",
    "busybox",
];

/// One line of the table.
pub struct Part {
    /// What it is.
    pub name: String,
    /// Length of its files.
    pub plain: u64,
    /// Its share of the squashfs.
    pub packed: u64,
}

/// The parts of the root image, largest first.
pub fn parts(context: &Context, tree: &Tree) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for (name, part) in split(tree) {
        let squashfs = root::pack(context, "size", &part)?;
        let packed = fs::metadata(&squashfs)
            .map_err(file("read", &squashfs))?
            .len();
        parts.push(Part {
            name,
            plain: part.size()?,
            packed,
        });
    }
    parts.sort_by_key(|part| std::cmp::Reverse(part.packed));
    Ok(parts)
}

/// Every file content under the name of one part; hard links count where they are met first.
fn split(tree: &Tree) -> BTreeMap<String, Tree> {
    let mut seen: BTreeSet<&Content> = BTreeSet::new();
    let mut parts: BTreeMap<String, Tree> = BTreeMap::new();
    // Layers before the host's own paths: a file's part is the layer it belongs to.
    let (layers, host): (Vec<_>, Vec<_>) = tree
        .iter()
        .partition(|(path, _)| path.starts_with(images::LAYERS));
    for (path, node) in layers.into_iter().chain(host) {
        if let Kind::File(content) = &node.kind
            && seen.insert(content)
        {
            parts
                .entry(part_of(path))
                .or_default()
                .put(path, node.clone());
        }
    }
    parts
}

fn part_of(path: &str) -> String {
    let base = path.rsplit('/').next().unwrap_or_default();
    let folder = path.trim_end_matches(base);
    if PROGRAMS.contains(&base) && (folder.ends_with("usr/bin/") || folder.ends_with("usr/sbin/")) {
        return base.to_owned();
    }
    if let Some(rest) = path.strip_prefix(images::LAYERS) {
        let layer = rest
            .trim_start_matches('/')
            .split('/')
            .next()
            .unwrap_or_default();
        let library = folder.contains("usr/lib/x86_64-linux-gnu");
        return format!(
            "layer {layer}: {}",
            if library {
                "libraries"
            } else {
                "programs and files"
            }
        );
    }
    if path.starts_with("usr/lib/modules") {
        "kernel modules".to_owned()
    } else {
        "configuration and records".to_owned()
    }
}

/// Prints the table, with the files of `build/` that are not part of the root image.
pub fn print(context: &Context, parts: &[Part]) {
    println!(
        "{:<40} {:>12} {:>12}",
        "part of the root image", "bytes", "packed"
    );
    for part in parts {
        println!("{:<40} {:>12} {:>12}", part.name, part.plain, part.packed);
    }
    println!(
        "{:<40} {:>12} {:>12}",
        "sum",
        parts.iter().map(|p| p.plain).sum::<u64>(),
        parts.iter().map(|p| p.packed).sum::<u64>()
    );
    println!();
    for name in ["vmlinuz", "initrd-small", "initrd", "ros.iso"] {
        if let Ok(metadata) = fs::metadata(context.build.join(name)) {
            println!(
                "build/{name:<34} {:>12}  {:6.1} MiB",
                metadata.len(),
                metadata.len() as f64 / f64::from(1 << 20)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Node;

    #[test]
    fn a_file_counts_once_for_its_layer() {
        let mut tree = Tree::default();
        tree.put("usr/bin/tool", Node::text("tool"));
        tree.put(
            &format!("{}/base/usr/bin/tool", images::LAYERS),
            Node::text("tool"),
        );
        tree.put(
            &format!("{}/engine/usr/sbin/dockerd", images::LAYERS),
            Node::text("engine"),
        );
        tree.put("usr/lib/modules/6/x.ko", Node::text("module"));
        let parts = split(&tree);
        let names: Vec<&String> = parts.keys().collect();
        assert_eq!(
            names,
            [
                "dockerd",
                "kernel modules",
                "layer base: programs and files"
            ]
        );
    }
}
