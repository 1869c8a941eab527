//! Rules of the repository that no compiler checks: what the map names exists, modules say what they are, nothing depends the
//! wrong way.

use std::path::{Path, PathBuf};

use qemu_tests::Result;
use qemu_tests::artefacts::repository;
use qemu_tests::error::HarnessError;
use qemu_tests::judge::ensure;

/// (crate folder, crates of ours that it may use). Everything else of ours is forbidden to it.
const MAY_USE: [(&str, &[&str]); 13] = [
    ("crates/kernel", &[]),
    ("crates/os-config", &["kernel"]),
    ("init", &["kernel", "os-config"]),
    ("system-services", &["kernel", "os-config"]),
    (
        "ros",
        &[
            "agent",
            "api",
            "client",
            "control-plane",
            "files",
            "kernel",
            "os-config",
            "system-services",
        ],
    ),
    ("image-build", &["kernel", "os-config"]),
    ("qemu-tests", &["os-config"]),
    ("cluster-tests", &["api", "client", "qemu-tests"]),
    ("crates/api", &[]),
    ("crates/client", &["api"]),
    ("crates/files", &[]),
    ("agent", &["api", "client", "control-plane", "files"]),
    ("control-plane", &["api", "client"]),
];
const OURS: [&str; 13] = [
    "files",
    "kernel",
    "os-config",
    "init",
    "system-services",
    "ros",
    "image-build",
    "qemu-tests",
    "cluster-tests",
    "api",
    "client",
    "agent",
    "control-plane",
];

fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(HarnessError::file("read file of the repository", file))
}

fn sources() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for (folder, _) in MAY_USE {
        collect(&repository().join(folder), &mut files)?;
    }
    ensure(files.len() > 20, || {
        format!("only {} source files found", files.len())
    })?;
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(HarnessError::file("list folder", folder))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[test]
fn every_source_file_says_what_it_is() -> Result<()> {
    for file in sources()? {
        let text = read(&file)?;
        ensure(text.starts_with("//!"), || {
            format!("{} does not open with //!", file.display())
        })?;
        let stem = file
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        let nameless = ["utils", "util", "helpers", "common", "misc"].contains(&stem.as_str());
        ensure(!nameless, || {
            format!("{}: a name that says nothing", file.display())
        })?;
    }
    Ok(())
}

#[test]
fn every_folder_that_the_map_names_exists() -> Result<()> {
    let map = read(&repository().join("ARCHITECTURE.md"))?;
    let section = map
        .split("## Where do I find")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next());
    let rows = section
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.strip_prefix("| `"));
    let mut count = 0;
    for row in rows {
        let named = row.split('`').next().unwrap_or_default();
        // Placeholders and alternatives stand for several paths; what comes before them must exist.
        let fixed = named.split(['<', '{']).next().unwrap_or_default();
        ensure(repository().join(fixed).exists(), || {
            format!("ARCHITECTURE.md names {named}")
        })?;
        count += 1;
    }
    ensure(count > 5, || {
        format!("only {count} paths found in ARCHITECTURE.md")
    })
}

#[test]
fn dependencies_run_one_way() -> Result<()> {
    for (folder, allowed) in MAY_USE {
        let file = repository().join(folder).join("Cargo.toml");
        let manifest: toml::Value =
            toml::from_str(&read(&file)?).map_err(|error| HarnessError::Form {
                what: "Cargo.toml",
                detail: error.to_string(),
            })?;
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(table) = manifest.get(kind).and_then(toml::Value::as_table) else {
                continue;
            };
            for name in table.keys().filter(|name| OURS.contains(&name.as_str())) {
                ensure(allowed.contains(&name.as_str()), || {
                    format!("{folder} must not use {name}")
                })?;
            }
        }
    }
    Ok(())
}

#[test]
fn every_service_has_a_definition_and_a_readme() -> Result<()> {
    let folder = repository().join("system-services");
    let entries = std::fs::read_dir(&folder).map_err(HarnessError::file("list folder", &folder))?;
    let mut count = 0;
    for service in entries.flatten().map(|entry| entry.path()) {
        if service.join("service.yml").is_file() {
            ensure(service.join("README.md").is_file(), || {
                format!("{} has no README.md", service.display())
            })?;
            count += 1;
        }
    }
    ensure(count >= 8, || format!("only {count} services"))
}
