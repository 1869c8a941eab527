//! Builds the layers: picks files out of unpacked packages, adds the libraries they ask for, our own programs and configuration.
//! Knows nothing of Docker or squashfs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::context::Context;
use crate::elf;
use crate::error::{Result, data, file, missing};
use crate::fixed;
use crate::spec::{Pick, Spec};
use crate::stub;
use crate::tree::{Content, Kind, Node, Tree, normal};
use crate::unpack::Unpacked;

const CERTIFICATES: &str = "usr/share/ca-certificates";
/// Where the dynamic loader looks first.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// What layers are made of.
pub struct Sources<'a> {
    /// Repository and cache.
    pub context: &'a Context,
    /// Unpacked packages by name.
    pub pool: &'a BTreeMap<String, Unpacked>,
    /// Programs that the build made, by the name the layer lists use.
    pub built: &'a BTreeMap<String, PathBuf>,
}

/// A finished layer.
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Its files.
    pub tree: Tree,
    /// What it is for.
    pub about: String,
    /// Packages that gave it files, and why.
    pub packages: BTreeMap<String, String>,
}

/// Builds one layer on top of `below`.
pub fn build(spec: &Spec, below: &Tree, sources: &Sources) -> Result<Layer> {
    let mut layer = Layer {
        name: spec.name.clone(),
        about: spec.about.clone(),
        tree: Tree::default(),
        packages: BTreeMap::new(),
    };
    for pick in &spec.package {
        take(&mut layer, pick, sources)?;
    }
    for built in &spec.built {
        let program = sources.built.get(&built.what).ok_or_else(|| {
            missing(
                format!(
                    "layer {}: nothing is built under the name {}",
                    spec.name, built.what
                ),
                "Correct the layer's list.",
            )
        })?;
        layer.tree.put(
            &built.path,
            Node::file(Content::Disk(program.clone()), 0o755),
        );
    }
    for stub in &spec.stub {
        let node = Node::file(Content::Disk(stub::library(sources.context, stub)?), 0o644);
        layer
            .tree
            .put(&format!("{LIBRARIES}/{}", stub.soname), node);
    }
    if spec.ca_bundle {
        layer.tree.put(
            "etc/ssl/certs/ca-certificates.crt",
            Node::text(ca_bundle(&layer.tree)?),
        );
        layer.tree.remove(CERTIFICATES);
    }
    add_libraries(&mut layer, below, sources)?;
    let programs = layer.tree.iter().filter_map(|(_, node)| disk_file(node));
    for program in programs {
        spec.stub
            .iter()
            .try_for_each(|stub| stub::check(&program, stub))?;
    }
    for link in &spec.link {
        for path in &link.paths {
            // A link at the top is meant as written; below it Debian's merged directories apply.
            layer.tree.put(path, Node::link(&link.to));
        }
    }
    for folder in &spec.overlay {
        let folder = sources.context.repo.join(folder);
        if folder.is_dir() {
            layer.tree.add_folder("", &folder)?;
        }
    }
    if let Some(without) = &spec.busybox_without {
        add_busybox_links(&mut layer.tree, without)?;
    }
    set_attributes(&mut layer.tree, spec)?;
    Ok(layer)
}

fn take(layer: &mut Layer, pick: &Pick, sources: &Sources) -> Result<()> {
    let package = sources.pool.get(&pick.name).ok_or_else(|| {
        missing(
            format!("package {} is not unpacked", pick.name),
            "This is a defect of image-build.",
        )
    })?;
    let at_fixed = globs(&pick.fixed)?;
    for pattern in &pick.files {
        let (wanted, without) = (globs(std::slice::from_ref(pattern))?, globs(&pick.without)?);
        let mut hits = 0;
        for (path, node) in &package.entries {
            if node.kind != Kind::Dir && wanted.is_match(path) && !without.is_match(path) {
                let mut node = node.clone();
                if let (true, Some(program)) = (at_fixed.is_match(path), disk_file(&node)) {
                    node.kind =
                        Kind::File(Content::Disk(fixed::program(sources.context, &program)?));
                }
                layer.tree.put(path, node);
                hits += 1;
            }
        }
        // Where a program sits differs from suite to suite, so a list may name more than one place; the package must give something.
        if hits == 0 && pick.files.len() == 1 {
            return Err(missing(
                format!(
                    "layer {}: package {} has nothing like {pattern}",
                    layer.name, pick.name
                ),
                "The package changed: correct image-build/layers.",
            ));
        }
    }
    layer.packages.insert(pick.name.clone(), pick.why.clone());
    Ok(())
}

fn globs(patterns: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        set.add(glob.map_err(|e| data(Path::new("image-build/layers"), e))?);
    }
    set.build()
        .map_err(|e| data(Path::new("image-build/layers"), e))
}

/// Follows what every program asks for until nothing is missing.
fn add_libraries(layer: &mut Layer, below: &Tree, sources: &Sources) -> Result<()> {
    let mut known = library_names(below);
    known.extend(library_names(&layer.tree));
    let mut queue: Vec<PathBuf> = layer
        .tree
        .iter()
        .filter_map(|(_, node)| disk_file(node))
        .collect();
    let mut absent = BTreeSet::new();
    while let Some(program) = queue.pop() {
        for soname in elf::needs(&program)?.libraries {
            if !known.insert(soname.clone()) {
                continue;
            }
            match find_library(&soname, sources.pool) {
                Some((path, node, package)) => {
                    queue.extend(disk_file(&node));
                    layer.tree.put(&path, node);
                    let asker = program.file_name().unwrap_or_default().to_string_lossy();
                    layer
                        .packages
                        .entry(package)
                        .or_insert_with(|| format!("library that {asker} asks for"));
                }
                None => {
                    absent.insert(format!("{soname}, asked for by {}", program.display()));
                }
            }
        }
    }
    if absent.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = absent.into_iter().collect();
    Err(missing(
        format!(
            "layer {}: libraries that no unpacked package has:\n  {}",
            layer.name,
            list.join("\n  ")
        ),
        "Name their package in the layer's list.",
    ))
}

fn disk_file(node: &Node) -> Option<PathBuf> {
    match &node.kind {
        Kind::File(Content::Disk(path)) => Some(path.clone()),
        _ => None,
    }
}

fn library_names(tree: &Tree) -> BTreeSet<String> {
    let is_library = |path: &&str| path.starts_with("usr/lib") && path.contains(".so");
    tree.iter()
        .map(|(path, _)| path)
        .filter(is_library)
        .filter_map(base_name)
        .collect()
}

fn base_name(path: &str) -> Option<String> {
    path.rsplit('/').next().map(str::to_owned)
}

/// The library in the loader's default folder before all others; a link is followed within its package.
fn find_library(soname: &str, pool: &BTreeMap<String, Unpacked>) -> Option<(String, Node, String)> {
    let preferred = format!("{LIBRARIES}/{soname}");
    let mut found: Option<(String, Node, String)> = None;
    for (name, package) in pool {
        for (path, _) in &package.entries {
            if base_name(path).as_deref() != Some(soname) || !path.starts_with("usr/lib") {
                continue;
            }
            if let Some(node) = follow(package, path)
                && (found.is_none() || *path == preferred)
            {
                found = Some((path.clone(), node, name.clone()));
            }
        }
    }
    found
}

fn follow(package: &Unpacked, path: &str) -> Option<Node> {
    let mut path = path.to_owned();
    for _ in 0..4 {
        let (_, node) = package.entries.iter().find(|(p, _)| *p == path)?;
        match &node.kind {
            Kind::File(_) => return Some(node.clone()),
            Kind::Link(target) => {
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                path = if target.starts_with('/') {
                    normal(target)
                } else {
                    format!("{folder}/{target}")
                };
            }
            Kind::Dir | Kind::Device(..) => return None,
        }
    }
    None
}

/// All certificates in one file, in the order of their names, as update-ca-certificates does it; the single files go.
fn ca_bundle(tree: &Tree) -> Result<Vec<u8>> {
    let mut bundle = Vec::new();
    for (path, node) in tree.iter() {
        if let (true, Kind::File(content)) = (path.starts_with(CERTIFICATES), &node.kind) {
            let mut reader = content.open()?;
            std::io::copy(&mut reader, &mut bundle).map_err(file("read", Path::new(path)))?;
            if bundle.last() != Some(&b'\n') {
                bundle.push(b'\n');
            }
        }
    }
    Ok(bundle)
}

/// One link for each applet that no real program of the layer stands for.
fn add_busybox_links(tree: &mut Tree, without: &[String]) -> Result<()> {
    let Some(busybox) = tree.get("usr/bin/busybox").and_then(disk_file) else {
        return Err(missing(
            "the layer has no usr/bin/busybox to link to",
            "Add package busybox-static to it.",
        ));
    };
    let list = Command::new(&busybox)
        .arg("--list")
        .output()
        .map_err(file("run", &busybox))?;
    let real: BTreeSet<String> = tree
        .iter()
        .filter(|(path, _)| path.starts_with("usr/bin/") || path.starts_with("usr/sbin/"))
        .filter_map(|(path, _)| base_name(path))
        .collect();
    for applet in String::from_utf8_lossy(&list.stdout).lines() {
        if !real.contains(applet) && !without.iter().any(|w| w == applet) {
            tree.put_new(&format!("usr/bin/{applet}"), Node::link("busybox"));
        }
    }
    Ok(())
}

fn set_attributes(tree: &mut Tree, spec: &Spec) -> Result<()> {
    for attributes in &spec.directory {
        let node = Node {
            mode: attributes.bits()?,
            uid: attributes.uid,
            gid: attributes.gid,
            ..Node::dir()
        };
        tree.put(&attributes.path, node);
    }
    for attributes in &spec.own {
        if let Some(node) = tree.get_mut(&attributes.path) {
            node.mode = attributes.bits()?;
            node.uid = attributes.uid;
            node.gid = attributes.gid;
        }
    }
    Ok(())
}
