//! The `root` step: layers, Docker's records, host programs and kernel modules become one squashfs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::context::Context;
use crate::digest::{self, Digest};
use crate::error::{Result, file};
use crate::hash::{self, Inputs};
use crate::images::{self, Image};
use crate::layers::{self, Layer, Sources};
use crate::osconfig;
use crate::packages::Packages;
use crate::tarball::{self, Links, Plain};
use crate::tree::{Content, Node, Tree};

/// What the host takes from layers above the base, beside all of `engine`.
const HOST_FROM_CONSOLE: [&str; 1] = ["usr/bin/docker"];

/// Mount points of the root image and of every system container.
const MOUNT_POINTS: [&str; 17] = [
    "boot",
    "dev",
    "etc",
    "home",
    "host",
    "media",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "state",
    "sys",
    "tmp",
    "usr/lib/modules",
    "usr/share/ros/oem",
    "var",
];

/// What the root image is made from, beside packages.
pub struct Parts {
    /// Programs of ours by the names the layer lists use.
    pub built: BTreeMap<String, PathBuf>,
    /// The folder that the kernel's modules were installed to (`lib/modules/…` below it).
    pub modules: PathBuf,
    /// Version of the operating system.
    pub version: String,
}

/// The root image and what is known of its parts.
pub struct Root {
    /// The squashfs.
    pub squashfs: PathBuf,
    /// The first half of the squashfs's SHA-256: `init` finds its root image on a medium by it.
    pub image_id: String,
    /// The layers with their digests.
    pub layers: Vec<(Layer, Digest)>,
    /// Everything in it.
    pub tree: Tree,
    /// Number of files and the length of what they hold.
    pub files: (usize, u64),
}

/// Runs the step.
pub fn build(context: &Context, packages: &Packages, parts: &Parts) -> Result<Root> {
    let layers = build_layers(context, packages, parts)?;
    let tree = assemble(context, &layers, parts)?;
    let files = (tree.len(), tree.size()?);
    let squashfs = pack(context, "root", &tree)?;
    let image_id = hash::of_file(&squashfs)?[..32].to_owned();
    Ok(Root {
        squashfs,
        image_id,
        layers,
        tree,
        files,
    })
}

fn build_layers(
    context: &Context,
    packages: &Packages,
    parts: &Parts,
) -> Result<Vec<(Layer, Digest)>> {
    let sources = Sources {
        context,
        pool: &packages.pool,
        built: &parts.built,
    };
    let mut below = Tree::default();
    let mut done = Vec::new();
    for spec in &packages.specs {
        let mut layer = layers::build(spec, &below, &sources)?;
        if layer.name == "base" {
            for path in MOUNT_POINTS {
                layer.tree.put_new(path, Node::dir());
            }
            layer.tree.put(
                "usr/share/ros/os-release",
                Node::text(osconfig::os_release(&parts.version)),
            );
            below = layer.tree.clone();
        }
        let digest = digest::of_layer(context, &layer.name, &layer.tree)?;
        done.push((layer, digest));
    }
    Ok(done)
}

fn assemble(context: &Context, layers: &[(Layer, Digest)], parts: &Parts) -> Result<Tree> {
    let mut root = Tree::default();
    for (layer, _) in layers {
        root.merge(&format!("{}/{}", images::LAYERS, layer.name), &layer.tree);
        if layer.name == "base" || layer.name == "engine" {
            root.merge("", &layer.tree);
        }
        if layer.name == "console" {
            for path in HOST_FROM_CONSOLE {
                if let Some(node) = layer.tree.get(path) {
                    root.put(path, node.clone());
                }
            }
        }
    }
    root.merge(
        images::SEED,
        &images::records(
            &images_of(layers),
            &parts.version,
            &created(context.settings.epoch),
        )?,
    );
    let config = osconfig::assemble(&context.repo.join("system-services"), &parts.version)?;
    root.put("usr/share/ros/os-config.yml", Node::text(config));
    root.add_folder("usr/lib/modules", &parts.modules.join("lib/modules"))?;
    Ok(root)
}

fn images_of(layers: &[(Layer, Digest)]) -> Vec<Image<'_>> {
    let digest = |name: &str| {
        layers
            .iter()
            .find(|(layer, _)| layer.name == name)
            .map(|(_, digest)| digest)
    };
    let mut images = Vec::new();
    for (layer, own) in layers {
        let Some(base) = digest("base") else { continue };
        let mut stack = vec![("base", base)];
        if layer.name != "base" {
            stack.push((layer.name.as_str(), own));
        }
        let name = if layer.name == "engine" {
            "docker"
        } else {
            layer.name.as_str()
        };
        images.push(Image {
            repository: format!("rancher/os-{name}"),
            layers: stack,
        });
    }
    images
}

/// The squashfs of a tree, cached under `step`.
pub fn pack(context: &Context, step: &str, tree: &Tree) -> Result<PathBuf> {
    let settings = &context.settings;
    let mut inputs = Inputs::default();
    inputs
        .value("format", 3)
        .value("tree", tree.key(&context.cache)?)
        .value("epoch", settings.epoch)
        .value("block", &settings.squashfs_block)
        .value("level", settings.squashfs_level);
    let dir = context.cached(step, &inputs, |dir| {
        make_squashfs(context, tree, &dir.join("root.squashfs"))
    })?;
    Ok(dir.join("root.squashfs"))
}

fn make_squashfs(context: &Context, tree: &Tree, path: &Path) -> Result<()> {
    let epoch = context.settings.epoch;
    let options = format!(
        "-tar -comp zstd -Xcompression-level {} -b {} -no-xattrs -exit-on-error -no-progress -mkfs-time {epoch} \
         -root-mode 755 -all-time {epoch}",
        context.settings.squashfs_level, context.settings.squashfs_block
    );
    // `mksquashfs -tar`, not sqfstar: squashfs-tools 4.5 does not take a compression level there.
    // squashfs-tools 4.5 gives the root directory to whoever runs it, -root-uid or not.
    let run = if rustix::process::getuid().is_root() {
        context.run("root", "mksquashfs")
    } else {
        let as_root = ["--map-root-user", "mksquashfs"];
        context.run("root", "unshare").args(as_root)
    };
    let run = run.arg("-").arg(path).args(options.split(' '));
    // -all-time is for the root directory, whose time squashfs-tools 4.5 sets no other way with -tar.
    // The machine's own setting would be taken for all file times.
    let run = run.env_remove("SOURCE_DATE_EPOCH");
    run.feed(|pipe: &mut dyn Write| {
        tarball::write(tree, epoch, Links::Hard, &mut Plain(pipe))?;
        pipe.flush().map_err(file("write to", path))
    })
}

/// The epoch as RFC 3339, for Docker's records.
pub fn created(epoch: u64) -> String {
    let (days, second) = ((epoch / 86_400) as i64, epoch % 86_400);
    // Days since 1970 to a date: Howard Hinnant's civil_from_days.
    let z = days + 719_468;
    let era = z / 146_097;
    let doe = z - era * 146_097;
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (
        doy - (153 * mp + 2) / 5 + 1,
        if mp < 10 { mp + 3 } else { mp - 9 },
    );
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Copies a finished file to `build/`.
pub fn publish(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).map(drop).map_err(file("copy to", to))
}

/// A tree holding one file of the disk.
pub fn single(name: &str, path: &Path, mode: u32) -> Tree {
    let mut tree = Tree::default();
    tree.put(name, Node::file(Content::Disk(path.to_path_buf()), mode));
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(created(0), "1970-01-01T00:00:00Z");
        assert_eq!(created(1_767_225_600), "2026-01-01T00:00:00Z");
        assert_eq!(created(1_709_210_096), "2024-02-29T12:34:56Z");
    }
}
