//! `build/manifest.json`: every input with its version and hash, every artefact with its size and hash.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

use crate::context::{Context, write_if_changed};
use crate::control::Package;
use crate::error::{Result, data, file};
use crate::hash;
use crate::kernel::Kernel;
use crate::packages::Packages;
use crate::root::Root;

/// Files in `build/` that the manifest speaks of.
const ARTEFACTS: [&str; 4] = ["vmlinuz", "initrd", "initrd-small", "ros.iso"];

/// What the manifest and the SBOM are written from.
pub struct Facts<'a> {
    /// Unpacked packages.
    pub packages: &'a Packages,
    /// The kernel.
    pub kernel: &'a Kernel,
    /// Version of the iptables source package.
    pub iptables: &'a str,
    /// The root image.
    pub root: &'a Root,
    /// Version of the operating system.
    pub version: &'a str,
}

/// Layer and why it has the package.
pub type Reasons<'a> = BTreeMap<&'a str, &'a str>;

#[derive(Serialize)]
struct Manifest<'a> {
    version: &'a str,
    image_id: &'a str,
    suite: &'a str,
    epoch: u64,
    kernel: Source<'a>,
    iptables: &'a str,
    artefacts: BTreeMap<&'a str, Artefact>,
    root: RootImage<'a>,
    packages: Vec<Used<'a>>,
}

#[derive(Serialize)]
struct Source<'a> {
    release: &'a str,
    package: &'a str,
    version: &'a str,
    sha256: &'a str,
    modules_bytes: u64,
}

#[derive(Serialize)]
struct Artefact {
    bytes: u64,
    sha256: String,
}

#[derive(Serialize)]
struct RootImage<'a> {
    bytes: u64,
    files: usize,
    content_bytes: u64,
    layers: BTreeMap<&'a str, LayerFacts<'a>>,
}

#[derive(Serialize)]
struct LayerFacts<'a> {
    about: &'a str,
    diff_id: &'a str,
    bytes: u64,
}

#[derive(Serialize)]
struct Used<'a> {
    name: &'a str,
    version: &'a str,
    source: &'a str,
    sha256: &'a str,
    /// Layers that have files of it, each with the reason.
    layers: BTreeMap<&'a str, &'a str>,
}

/// Writes the manifest.
pub fn write(context: &Context, facts: &Facts) -> Result<()> {
    let squashfs = &facts.root.squashfs;
    let manifest = Manifest {
        version: facts.version,
        image_id: &facts.root.image_id,
        suite: &context.settings.suite,
        epoch: context.settings.epoch,
        kernel: kernel(facts.kernel)?,
        iptables: facts.iptables,
        artefacts: artefacts(context)?,
        root: RootImage {
            bytes: fs::metadata(squashfs)
                .map_err(file("read", squashfs))?
                .len(),
            files: facts.root.files.0,
            content_bytes: facts.root.files.1,
            layers: layers(facts.root),
        },
        packages: packages(facts),
    };
    let path = context.build.join("manifest.json");
    let text = serde_json::to_string_pretty(&manifest).map_err(|e| data(&path, e))?;
    write_if_changed(&path, format!("{text}\n").as_bytes())
}

/// The packages that gave files to some layer, by name.
pub fn used<'a>(facts: &'a Facts) -> BTreeMap<&'a str, (&'a Package, Reasons<'a>)> {
    let mut used: BTreeMap<&str, (&Package, Reasons)> = BTreeMap::new();
    for (layer, _) in &facts.root.layers {
        for (name, why) in &layer.packages {
            if let Some(unpacked) = facts.packages.pool.get(name) {
                used.entry(name)
                    .or_insert((&unpacked.package, Reasons::new()))
                    .1
                    .insert(&layer.name, why);
            }
        }
    }
    used
}

fn packages<'a>(facts: &'a Facts) -> Vec<Used<'a>> {
    let one = |(name, (package, layers)): (&'a str, (&'a Package, Reasons<'a>))| Used {
        name,
        version: &package.version,
        source: &package.source,
        sha256: &package.sha256,
        layers,
    };
    used(facts).into_iter().map(one).collect()
}

fn layers(root: &Root) -> BTreeMap<&str, LayerFacts<'_>> {
    root.layers
        .iter()
        .map(|(layer, digest)| {
            (
                layer.name.as_str(),
                LayerFacts {
                    about: &layer.about,
                    diff_id: &digest.diff_id,
                    bytes: digest.size,
                },
            )
        })
        .collect()
}

fn kernel(kernel: &Kernel) -> Result<Source<'_>> {
    let mut modules_bytes = 0;
    for entry in walkdir::WalkDir::new(kernel.dir.join("modules")) {
        let entry = entry.map_err(|e| data(&kernel.dir, e))?;
        if entry.file_type().is_file() {
            modules_bytes += entry.metadata().map_err(|e| data(entry.path(), e))?.len();
        }
    }
    let source = &kernel.source;
    Ok(Source {
        release: &kernel.release,
        package: &source.name,
        version: &source.version,
        sha256: &source.sha256,
        modules_bytes,
    })
}

fn artefacts(context: &Context) -> Result<BTreeMap<&'static str, Artefact>> {
    let mut artefacts = BTreeMap::new();
    for name in ARTEFACTS {
        let path = context.build.join(name);
        if path.is_file() {
            let bytes = fs::metadata(&path).map_err(file("read", &path))?.len();
            artefacts.insert(
                name,
                Artefact {
                    bytes,
                    sha256: hash::of_file(&path)?,
                },
            );
        }
    }
    Ok(artefacts)
}
