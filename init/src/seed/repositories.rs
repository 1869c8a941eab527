//! `repositories.json`: which name means which image.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::{Map, Value};

use super::Error;
use crate::log;

/// Adds the tags of the file `seed` to the file `target`, which keeps its others; true when that changed it.
pub fn merge(seed: &Path, target: &Path) -> Result<bool, Error> {
    let path = seed.display().to_string();
    let text = fs::read(seed).map_err(|cause| Error::Read {
        path: path.clone(),
        cause,
    })?;
    let new = parse(&text).map_err(|cause| Error::Tags(path, cause))?;
    let present = fs::read(target).unwrap_or_default();
    let old = if present.is_empty() {
        Map::new()
    } else {
        parse(&present).unwrap_or_else(|error| forget(target, &error))
    };
    let merged = merged(old.clone(), new);
    if merged == old && !present.is_empty() {
        return Ok(false);
    }
    let mut whole = Map::new();
    whole.insert("Repositories".to_owned(), Value::Object(merged));
    write(target, &Value::Object(whole)).map_err(|cause| Error::Write {
        path: target.display().to_string(),
        cause,
    })?;
    Ok(true)
}

/// Docker does not start with a broken list; without it the images of the user lose their names, not their layers.
fn forget(target: &Path, error: &serde_json::Error) -> Map<String, Value> {
    log::warn(&format!(
        "{} is broken ({error}); images other than the system's have lost their names",
        target.display()
    ));
    Map::new()
}

fn parse(text: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct File {
        #[serde(rename = "Repositories", default)]
        repositories: Map<String, Value>,
    }
    serde_json::from_slice::<File>(text).map(|file| file.repositories)
}

fn merged(mut old: Map<String, Value>, new: Map<String, Value>) -> Map<String, Value> {
    for (name, tags) in new {
        match (old.get_mut(&name), tags) {
            (Some(Value::Object(present)), Value::Object(tags)) => present.extend(tags),
            (_, tags) => _ = old.insert(name, tags),
        }
    }
    old
}

/// On the disk before it takes the old one's place: Docker would not start with an empty file.
fn write(target: &Path, value: &Value) -> std::io::Result<()> {
    if let Some(directory) = target.parent() {
        fs::create_dir_all(directory)?;
    }
    let new = target.with_extension("ros");
    let mut file = fs::File::create(&new)?;
    file.write_all(serde_json::to_string(value)?.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, target)
}
