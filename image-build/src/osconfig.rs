//! Assembles `/usr/share/ros/os-config.yml`: the shipped defaults, the version, and every `system-services/<name>/service.yml`
//! under `rancher.services`. Whether the result means something is os-config's business.

use std::fs;
use std::path::Path;

use serde_yaml::{Mapping, Value};

use crate::error::{Result, data, file};

const HEADER: &str = "# Shipped defaults of RancherOS, made from system-services/. The lowest layer of the configuration.\n";

/// The text of os-config.yml for `version`.
pub fn assemble(services: &Path, version: &str) -> Result<String> {
    let path = services.join("os-config.yml");
    let mut config = read(&path)?;
    let rancher = mapping(&mut config, "rancher");
    mapping(rancher, "environment")["VERSION"] = version.into();
    let all = mapping(rancher, "services");
    for folder in folders(services)? {
        let path = services.join(&folder).join("service.yml");
        if path.is_file() {
            all[folder.as_str()] = read(&path)?;
        }
    }
    let text = serde_yaml::to_string(&config).map_err(|e| data(&path, e))?;
    Ok(format!("{HEADER}{text}"))
}

/// The `/etc/os-release` of `version` (os-release(5)); names as RancherOS 1.x has them.
pub fn os_release(version: &str) -> String {
    let fields = [
        ("NAME", "RancherOS".to_owned()),
        ("VERSION", version.to_owned()),
        ("ID", "rancheros".to_owned()),
        ("ID_LIKE", String::new()),
        ("VERSION_ID", version.to_owned()),
        ("PRETTY_NAME", format!("RancherOS {version}")),
    ];
    fields
        .iter()
        .map(|(key, value)| format!("{key}=\"{value}\"\n"))
        .collect()
}

fn read(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(file("read", path))?;
    let value: Value = serde_yaml::from_str(&text).map_err(|e| data(path, e))?;
    if value.is_mapping() {
        Ok(value)
    } else {
        Err(data(path, "is not a mapping"))
    }
}

/// The mapping under `key`, made if absent.
fn mapping<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    if !value[key].is_mapping() {
        value[key] = Value::Mapping(Mapping::new());
    }
    &mut value[key]
}

fn folders(services: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(services).map_err(file("read", services))? {
        let entry = entry.map_err(file("read", services))?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_version_are_filled_in() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("os-config.yml"),
            "rancher:\n  environment: {SUFFIX: ''}\n",
        )
        .unwrap();
        fs::create_dir(dir.path().join("ntp")).unwrap();
        fs::create_dir(dir.path().join("src")).unwrap();
        fs::write(
            dir.path().join("ntp/service.yml"),
            "image: x\nlabels: {a: 'true'}\n",
        )
        .unwrap();
        let value: Value = serde_yaml::from_str(&assemble(dir.path(), "v2").unwrap()).unwrap();
        assert_eq!(
            value["rancher"]["environment"]["VERSION"],
            Value::from("v2")
        );
        assert_eq!(
            value["rancher"]["services"]["ntp"]["labels"]["a"],
            Value::from("true")
        );
        assert_eq!(value["rancher"]["services"].as_mapping().unwrap().len(), 1);
    }

    #[test]
    fn a_broken_service_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("os-config.yml"), "rancher: {}\n").unwrap();
        fs::create_dir(dir.path().join("ntp")).unwrap();
        fs::write(dir.path().join("ntp/service.yml"), "image: [\n").unwrap();
        assert!(
            assemble(dir.path(), "v2")
                .unwrap_err()
                .to_string()
                .contains("ntp/service.yml")
        );
    }
}
