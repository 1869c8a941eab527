//! Which services there are: those of the configuration, and files that `rancher.services_include` names. Owns where definitions come
//! from and which are switched off; what they mean is the business of `compose`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use os_config::Config;
use os_config::node::{Data, Node};
use os_config::types::Ordered;
use serde_json::Value;

/// Folder of service files that may be included.
pub const SERVICE_FILES: &str = "/var/lib/rancher/conf";
const SHIPPED: &str = "/usr/share/ros/os-config.yml";

/// Where a service comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Shipped with this release.
    Shipped,
    /// The user's configuration.
    Configured,
    /// A file or name in `rancher.services_include`.
    Included,
}

/// One line of `ros service list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name of the service, or what is included.
    pub name: String,
    /// False when it is switched off.
    pub enabled: bool,
    /// Where it comes from.
    pub origin: Origin,
}

/// An entry of `rancher.services_include` that brings nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadInclude {
    /// The entry.
    pub name: String,
    /// Why.
    pub what: String,
}

impl fmt::Display for BadInclude {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rancher.services_include.{}: {}", self.name, self.what)
    }
}

/// Definitions that take part.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    /// By name, in the order of the configuration.
    pub definitions: Ordered<Value>,
    /// Services that are switched off. They keep their definitions: what runs of them may still be looked at and stopped.
    pub disabled: BTreeSet<String>,
    /// The included ones with their places.
    pub included: Ordered<Node>,
    /// Includes that could not be read.
    pub problems: Vec<BadInclude>,
}

impl Catalog {
    /// From the configuration; `read` reads included files.
    #[must_use]
    pub fn new(config: &Config, read: impl Fn(&Path) -> std::io::Result<Vec<u8>>) -> Self {
        let rancher = &config.rancher;
        let mut catalog = Self {
            definitions: rancher.services.clone(),
            ..Self::default()
        };
        for (name, enabled) in &rancher.services_include {
            if !enabled {
                catalog.disabled.insert(name.clone());
            } else if name.starts_with('/') {
                catalog.include(name, &read);
            } else if !rancher.services.contains_key(name) {
                catalog.refuse(name, format!(
                    "there is no such service; give a file below {SERVICE_FILES}, or define it under rancher.services"
                ));
            }
        }
        catalog
    }

    /// A service of the configuration wins over one of the same name in a file.
    fn include(&mut self, file: &str, read: &impl Fn(&Path) -> std::io::Result<Vec<u8>>) {
        let services = match services_of(file, read) {
            Ok(services) => services,
            Err(what) => return self.refuse(file, what),
        };
        for (name, node) in services {
            if !self.definitions.contains_key(&name) {
                self.definitions.insert(name.clone(), node.to_value());
                self.included.insert(name, node);
            }
        }
    }

    fn refuse(&mut self, name: &str, what: String) {
        self.problems.push(BadInclude {
            name: name.to_owned(),
            what,
        });
    }
}

fn services_of(
    file: &str,
    read: &impl Fn(&Path) -> std::io::Result<Vec<u8>>,
) -> Result<Vec<(String, Node)>, String> {
    let bytes = read(Path::new(file)).map_err(|error| format!("cannot be read: {error}"))?;
    let parsed = os_config::yaml::parse(&bytes, file).map_err(|problem| problem.to_string())?;
    match parsed.root.data {
        Data::Map(map) => Ok(map
            .into_iter()
            .map(|(name, entry)| (name, entry.node))
            .collect()),
        _ => Err("expected a map of services".to_owned()),
    }
}

/// Everything that `ros service list --all` shows, sorted by name.
#[must_use]
pub fn entries(config: &Config) -> Vec<Entry> {
    entries_beside(config, &shipped())
}

/// Names of the services that are shipped with this release.
#[must_use]
pub fn shipped() -> Vec<String> {
    shipped_names(&std::fs::read(SHIPPED).unwrap_or_default())
}

fn shipped_names(defaults: &[u8]) -> Vec<String> {
    let parsed = os_config::yaml::parse(defaults, SHIPPED).unwrap_or_default();
    let value = parsed.root.to_value();
    let services = value
        .pointer("/rancher/services")
        .and_then(Value::as_object);
    services
        .map(|map| map.keys().cloned().collect())
        .unwrap_or_default()
}

fn entries_beside(config: &Config, shipped: &[String]) -> Vec<Entry> {
    let include = &config.rancher.services_include;
    let origin = |name: &String| {
        if shipped.contains(name) {
            Origin::Shipped
        } else {
            Origin::Configured
        }
    };
    let own = config.rancher.services.keys().map(|name| Entry {
        name: name.clone(),
        enabled: include.get(name).copied().unwrap_or(true),
        origin: origin(name),
    });
    let others = include
        .iter()
        .filter(|(name, _)| !config.rancher.services.contains_key(*name));
    let included = others.map(|(name, enabled)| Entry {
        name: name.clone(),
        enabled: *enabled,
        origin: Origin::Included,
    });
    let mut all: Vec<Entry> = own.chain(included).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(services: Value, include: Value) -> Config {
        serde_json::from_value(
            json!({"rancher": {"services": services, "services_include": include}}),
        )
        .unwrap()
    }

    fn read(path: &Path) -> std::io::Result<Vec<u8>> {
        match path.to_str() {
            Some("/conf/a.yml") => Ok(b"web: {image: i}\nntp: {image: other}\n".to_vec()),
            Some("/conf/list.yml") => Ok(b"- a\n".to_vec()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }
    }

    #[test]
    fn includes_add_and_switch_off() {
        let config = config(
            json!({"ntp": {"image": "n"}, "acpid": {"image": "a"}}),
            json!({"acpid": false, "/conf/a.yml": true, "/conf/none.yml": true, "/conf/list.yml": true, "zfs": true, "old": false}),
        );
        let catalog = Catalog::new(&config, read);
        assert_eq!(
            catalog.definitions.keys().collect::<Vec<_>>(),
            ["ntp", "acpid", "web"]
        );
        assert!(catalog.disabled.contains("acpid"));
        assert_eq!(catalog.definitions["ntp"], json!({"image": "n"}));
        assert_eq!(catalog.included.keys().collect::<Vec<_>>(), ["web"]);
        let said: Vec<String> = catalog.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "rancher.services_include./conf/none.yml: cannot be read: entity not found",
                "rancher.services_include./conf/list.yml: expected a map of services",
                "rancher.services_include.zfs: there is no such service; give a file below /var/lib/rancher/conf, or define it under rancher.services",
            ]
        );
    }

    #[test]
    fn the_list_tells_origin_and_state() {
        let config = config(
            json!({"ntp": {}, "mine": {}}),
            json!({"ntp": false, "/conf/a.yml": true}),
        );
        let shipped = shipped_names(b"rancher:\n  services:\n    ntp: {image: i}\n");
        let entry = |name: &str, enabled, origin| Entry {
            name: name.into(),
            enabled,
            origin,
        };
        assert_eq!(
            entries_beside(&config, &shipped),
            [
                entry("/conf/a.yml", true, Origin::Included),
                entry("mine", true, Origin::Configured),
                entry("ntp", false, Origin::Shipped),
            ]
        );
    }
}
