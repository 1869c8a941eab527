//! The `packages` step: resolves, downloads, checks and unpacks every package that a layer names.

use std::collections::BTreeMap;
use std::fs;

use crate::apt::Apt;
use crate::context::Context;
use crate::control::Package;
use crate::error::{Result, data, file};
use crate::hash::Inputs;
use crate::resolve;
use crate::spec::{self, Spec};
use crate::unpack::{self, Unpacked};

/// Layers in the order in which they are built; all but the first stand on `base`.
pub const LAYERS: [&str; 6] = ["base", "syslog", "ntp", "acpid", "console", "engine"];

/// The layer lists and what their packages hold.
pub struct Packages {
    /// The lists.
    pub specs: Vec<Spec>,
    /// Unpacked packages by name.
    pub pool: BTreeMap<String, Unpacked>,
}

/// Runs the step.
pub fn prepare(context: &Context, apt: &Apt) -> Result<Packages> {
    let folder = context.repo.join("image-build/layers");
    let specs = LAYERS
        .iter()
        .map(|name| spec::read(&folder, name))
        .collect::<Result<Vec<_>>>()?;
    let mut seeds: Vec<String> = specs
        .iter()
        .flat_map(|s| &s.package)
        .map(|p| p.name.clone())
        .collect();
    seeds.sort();
    seeds.dedup();
    let mut pool = BTreeMap::new();
    for (name, package) in resolved(context, apt, &seeds)? {
        let deb = apt.fetch(&package)?;
        pool.insert(name, unpack::unpack(context, &package, &deb)?);
    }
    context.say(
        "packages",
        &format!("{} packages of {}", pool.len(), context.settings.suite),
    );
    Ok(Packages { specs, pool })
}

/// The closure for these seeds; asked of apt again only when the lists or the seeds changed.
fn resolved(context: &Context, apt: &Apt, seeds: &[String]) -> Result<BTreeMap<String, Package>> {
    let mut inputs = Inputs::default();
    inputs
        .value("format", 1)
        .value("lists", apt.stamp()?)
        .value("seeds", seeds.join(" "));
    let dir = context.cached("resolved", &inputs, |dir| {
        let path = dir.join("packages.json");
        let found = resolve::closure(apt, seeds)?;
        let text = serde_json::to_vec_pretty(&found).map_err(|e| data(&path, e))?;
        fs::write(&path, text).map_err(file("write", &path))
    })?;
    let path = dir.join("packages.json");
    let text = fs::read(&path).map_err(file("read", &path))?;
    serde_json::from_slice(&text).map_err(|e| data(&path, e))
}
