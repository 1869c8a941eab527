//! `ros service enable`, `disable` and `delete`: write `rancher.services_include` in cloud-config.yml.

use std::path::{Component, Path};
use std::process::ExitCode;

use os_config::node::Node;
use os_config::store::{self, Place};
use os_config::{Config, path};
use serde_json::json;
use system_services::manager::catalog::{SERVICE_FILES, entries};
use system_services::manager::control::wake_manager;

use crate::outcome::Outcome;

/// What cannot be enabled or disabled.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// Not a service of the configuration.
    #[error("{name} is not a valid service; there are: {}; a file is given by its path below {SERVICE_FILES}", .known.join(", "))]
    Unknown { name: String, known: Vec<String> },
    /// A file that is elsewhere would be gone at the next boot.
    #[error("ERROR: Service should be in path {SERVICE_FILES}")]
    Elsewhere,
    /// There is no entry to take out.
    #[error(
        "{0} is not in rancher.services_include of cloud-config.yml: it is neither enabled nor disabled there; `ros service disable {0}` switches it off"
    )]
    NotIncluded(String),
    /// Another file than ours has it too.
    #[error(
        "{0} is taken out of cloud-config.yml, but {1} still has it: take it out there as well"
    )]
    Remains(String, String),
    /// A file that is not there.
    #[error("cannot read {0}: write the services, as a map by name, into it first")]
    NoFile(String, #[source] std::io::Error),
}

/// Enables services.
pub fn enable(names: &[String]) -> Outcome {
    let known = known();
    names.iter().try_for_each(|name| check(name, &known))?;
    for name in names.iter().filter(|name| name.starts_with('/')) {
        std::fs::metadata(name).map_err(|source| Error::NoFile(name.clone(), source))?;
    }
    write(names, true)
}

/// Disables services.
pub fn disable(names: &[String]) -> Outcome {
    let known = known();
    // What is listed may always be disabled, even a file that has gone.
    names
        .iter()
        .filter(|name| !known.contains(name))
        .try_for_each(|name| check(name, &known))?;
    write(names, false)
}

/// Takes services out of the list: those of the configuration are as they were shipped or configured, files are included no more.
pub fn delete(names: &[String]) -> Outcome {
    let before = store::load_running().config;
    let known = names_of(&before);
    let included =
        |config: &Config, name: &String| config.rancher.services_include.contains_key(name);
    if let Some(name) = names.iter().find(|name| !included(&before, name)) {
        if !known.contains(name) {
            check(name, &known)?;
        }
        return Err(Error::NotIncluded(name.clone()).into());
    }
    for name in names {
        let key = format!("rancher.services_include.\"{name}\"");
        store::set(&Place::default(), &key, "null")?;
    }
    tell_manager();
    let after = store::load_running();
    if let Some(name) = names.iter().find(|name| included(&after.config, name)) {
        return Err(Error::Remains(name.clone(), place_of(&after.tree, name)).into());
    }
    for name in names.iter().filter(|name| name.starts_with('/')) {
        println!(
            "{name} is included no more; containers of its services stay until `ros service rm -f NAME`"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// File and line that a service is included in.
fn place_of(tree: &Node, name: &str) -> String {
    let key = ["rancher", "services_include", name].map(str::to_owned);
    let place = path::find(tree, &key).map(|node| &node.position);
    place.map_or_else(
        || "another file".to_owned(),
        |place| format!("{}:{}", place.file, place.line),
    )
}

fn known() -> Vec<String> {
    names_of(&store::load_running().config)
}

fn names_of(config: &Config) -> Vec<String> {
    entries(config)
        .into_iter()
        .map(|entry| entry.name)
        .collect()
}

fn check(name: &str, known: &[String]) -> Result<(), Error> {
    if !name.starts_with('/') {
        let found = known.iter().any(|other| other == name);
        return if found {
            Ok(())
        } else {
            Err(Error::Unknown {
                name: name.to_owned(),
                known: known.to_vec(),
            })
        };
    }
    let path = Path::new(name);
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if path.starts_with(SERVICE_FILES) && !climbs {
        Ok(())
    } else {
        Err(Error::Elsewhere)
    }
}

fn write(names: &[String], enabled: bool) -> Outcome {
    let include: serde_json::Map<_, _> = names
        .iter()
        .map(|name| (name.clone(), json!(enabled)))
        .collect();
    // JSON is YAML.
    let text = json!({"rancher": {"services_include": include}}).to_string();
    store::merge(&Place::new(Path::new("/")), text.as_bytes())?;
    if enabled {
        tell_manager();
    }
    Ok(ExitCode::SUCCESS)
}

fn tell_manager() {
    if wake_manager().is_err() {
        eprintln!("The service manager does not run: this takes effect at the next boot.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names_and_files_that_stay() {
        let known = ["ntp".to_owned()];
        assert!(check("ntp", &known).is_ok());
        assert!(check("/var/lib/rancher/conf/web.yml", &known).is_ok());
        let unknown = check("zfs", &known).unwrap_err().to_string();
        assert_eq!(
            unknown,
            "zfs is not a valid service; there are: ntp; a file is given by its path below /var/lib/rancher/conf"
        );
        for path in ["/tmp/web.yml", "/var/lib/rancher/conf/../web.yml"] {
            assert_eq!(
                check(path, &known).unwrap_err().to_string(),
                "ERROR: Service should be in path /var/lib/rancher/conf"
            );
        }
    }
}
