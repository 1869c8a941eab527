//! This machine's iperf3 with its libraries as an image for `docker load`: throughput between containers of machines that have no network
//! to install it from. Owns no files.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::docker_archive;
use crate::error::{HarnessError, Result};
use crate::tool::{Tool, find};

/// Name of the image.
pub const NAME: &str = "iperf:1";

/// The archive.
///
/// # Errors
/// When iperf3 is not installed.
pub fn image() -> Result<Vec<u8>> {
    let program = find("iperf3").ok_or_else(|| HarnessError::Missing {
        what: "iperf3".into(),
        remedy: "`make setup-tests`".into(),
    })?;
    let linked = Tool::new("ldd").arg(&program).run()?;
    let mut layer = tar::Builder::new(Vec::new());
    let libraries = linked
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    let all = libraries.map(PathBuf::from).chain([program.clone()]);
    for file in all {
        // Links are followed: each library under the name by which it is looked for.
        let inside = file.strip_prefix("/").unwrap_or(&file);
        layer
            .append_path_with_name(&file, inside)
            .map_err(HarnessError::file("pack", &file))?;
    }
    let mut folder = tar::Header::new_gnu();
    folder.set_entry_type(tar::EntryType::Directory);
    folder.set_mode(0o1777);
    folder.set_size(0);
    let packed = layer.append_data(&mut folder, "tmp", std::io::empty());
    let bytes = packed.and_then(|()| layer.into_inner());
    let bytes = bytes.map_err(HarnessError::file("pack", Path::new(NAME)))?;
    let settings = json!({"Entrypoint": [program], "Env": ["PATH=/"], "StopSignal": "SIGKILL"});
    docker_archive::archive(NAME, &bytes, &settings)
}

/// Bits a second that the receiver has had, of what `iperf3 -J` prints (iperf3(1)).
///
/// # Errors
/// When it is not that.
pub fn received(answer: &str) -> Result<f64> {
    let parsed: Value = serde_json::from_str(answer).unwrap_or_default();
    let bits = parsed["end"]["sum_received"]["bits_per_second"].as_f64();
    bits.ok_or_else(|| HarnessError::Form {
        what: "iperf3's answer",
        detail: answer.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_received_is_read() {
        let answer = r#"{"end": {"sum_sent": {"bits_per_second": 2.0}, "sum_received": {"bits_per_second": 1.5}}}"#;
        assert_eq!(received(answer).unwrap(), 1.5);
        assert!(received("iperf3: error").is_err());
    }
}
