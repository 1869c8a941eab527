//! Images for `docker load`, written without a registry: one layer with one static program, in the form of `docker save`
//! (Docker image specification v1.2: `manifest.json`, a configuration, a layer tar). Owns no files.

use sha2::{Digest, Sha256};

use serde_json::{Value, json};

use crate::error::{HarnessError, Result};

/// Where the program lies inside every image made here.
pub const PROGRAM: &str = "/guest";

/// Makes an archive with the image `name` (with tag) whose entry point is `program`; `extra` is a file that makes layers differ.
///
/// # Errors
/// When the archive cannot be written in memory, which only an over-long name can cause.
pub fn image(name: &str, program: &[u8], extra: &str) -> Result<Vec<u8>> {
    let layer = tar_of(&[
        (&PROGRAM[1..], program, 0o755),
        ("marker", extra.as_bytes(), 0o644),
    ])?;
    // A program that runs as PID 1 without handlers ignores SIGTERM: stop it at once.
    let settings = json!({"Entrypoint": [PROGRAM], "Env": ["PATH=/"], "StopSignal": "SIGKILL"});
    archive(name, &layer, &settings)
}

/// Makes an archive with the image `name` (with tag) of one `layer`, a tar; `settings` is what its containers start with, the `config`
/// of the specification.
///
/// # Errors
/// As [`image`].
pub fn archive(name: &str, layer: &[u8], settings: &Value) -> Result<Vec<u8>> {
    let config = json!({
        "architecture": "amd64", "os": "linux", "created": "2025-01-01T00:00:00Z", "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(layer))]},
        "history": [{"created": "2025-01-01T00:00:00Z", "created_by": "tests"}],
    })
    .to_string();
    let config_name = format!("{}.json", hex(config.as_bytes()));
    let layer_name = format!("{}/layer.tar", hex(layer));
    let manifest =
        json!([{"Config": config_name, "RepoTags": [name], "Layers": [layer_name]}]).to_string();
    tar_of(&[
        (&config_name, config.as_bytes(), 0o644),
        (&layer_name, layer, 0o644),
        ("manifest.json", manifest.as_bytes(), 0o644),
    ])
}

fn tar_of(files: &[(&str, &[u8], u32)]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(1_735_689_600);
        archive
            .append_data(&mut header, name, *content)
            .map_err(HarnessError::file("write image archive", *name))?;
    }
    archive
        .into_inner()
        .map_err(HarnessError::file("end image archive", "memory"))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_manifest_names_files_that_are_there_and_match_their_digests() {
        let bytes = image("test:1", b"program", "a").unwrap();
        let mut files = std::collections::HashMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(
                entry.path().unwrap().to_string_lossy().into_owned(),
                content,
            );
        }
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let config_name = manifest[0]["Config"].as_str().unwrap();
        assert_eq!(config_name, format!("{}.json", hex(&files[config_name])));
        let config: serde_json::Value = serde_json::from_slice(&files[config_name]).unwrap();
        let layer = &files[manifest[0]["Layers"][0].as_str().unwrap()];
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            format!("sha256:{}", hex(layer))
        );
    }

    #[test]
    fn a_different_marker_makes_a_different_layer() {
        assert_ne!(
            image("t:1", b"p", "a").unwrap(),
            image("t:1", b"p", "b").unwrap()
        );
    }
}
