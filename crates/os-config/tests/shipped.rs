//! What is shipped must pass our own check: the defaults and every service definition, merged as image-build merges them.

// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used)]

use os_config::layers::{Layers, Owner};
use os_config::{schema, yaml};
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../system-services")
}

#[test]
fn the_shipped_defaults_have_no_problems() {
    let bytes = fs::read(folder().join("os-config.yml")).unwrap();
    assert_eq!(schema::check_text(&bytes, "os-config.yml"), []);
    let mut layers = Layers::default();
    layers.add_file(Owner::System, &bytes, "os-config.yml");
    let loaded = layers.resolve();
    assert_eq!(loaded.problems, []);
    assert_eq!(loaded.config.host_name(), "rancher");
    assert_eq!(
        loaded.config.rancher.docker.group.as_deref(),
        Some("docker")
    );
}

#[test]
fn every_service_definition_is_a_map_with_an_image() {
    let mut seen = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path().join("service.yml");
        let Ok(bytes) = fs::read(&path) else { continue };
        let name = path.display().to_string();
        let parsed = yaml::parse(&bytes, &name).unwrap();
        assert_eq!(parsed.problems, [], "{name}");
        let value = parsed.root.to_value();
        let image = value["image"].as_str().unwrap_or_default();
        assert!(image.contains('/'), "{name} has no image: {value}");
        seen += 1;
    }
    assert!(seen > 5, "{seen} service definitions found");
}
