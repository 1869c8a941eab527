//! `ros service enable` and `disable`: write `rancher.services_include` in cloud-config.yml.

use std::path::{Component, Path};
use std::process::ExitCode;

use os_config::store::{self, Place};
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

fn known() -> Vec<String> {
    entries(&store::load_running().config)
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
    if enabled && wake_manager().is_err() {
        eprintln!("The service manager does not run: this takes effect at the next boot.");
    }
    Ok(ExitCode::SUCCESS)
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
