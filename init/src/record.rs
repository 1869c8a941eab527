//! What happened at boot, as `/run/ros/boot.json`: image, root, state device, and how long each phase took.

use std::io;
use std::path::Path;

use serde::Serialize;

/// Where runtime files of the host programs lie.
pub const RUN: &str = "/run/ros";

/// Milliseconds since the kernel started.
pub fn now_ms() -> u64 {
    u64::try_from(kernel::clock::since_boot().as_millis()).unwrap_or(u64::MAX)
}

/// The whole record. Times are milliseconds since the kernel started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Which build this is.
    pub image_id: Option<String>,
    /// Where the root image came from: `initramfs` or a device.
    pub root: Option<String>,
    /// The state file system; `null` in RAM.
    pub state: Option<State>,
    /// In the order in which they ran.
    pub phases: Vec<Phase>,
}

/// The mounted state file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct State {
    /// Device node.
    pub device: String,
    /// Kernel name of the file system.
    pub fstype: String,
    /// Whether this boot made it.
    pub formatted: bool,
}

/// One phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// Its name in the sequence.
    pub name: &'static str,
    /// When it began.
    pub start_ms: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// What went wrong, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Record {
    /// Writes the record where programs of the host find it.
    pub fn save(&self) -> io::Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        write_whole(&Path::new(RUN).join("boot.json"), &format!("{text}\n"))
    }
}

/// Replaces a file in one step, so that no reader sees half of it.
pub fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_stable() {
        let phase = Phase {
            name: "early-mounts",
            start_ms: 900,
            duration_ms: 4,
            error: None,
        };
        let record = Record {
            image_id: Some("abc".into()),
            root: Some("initramfs".into()),
            state: None,
            phases: vec![phase],
        };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(
            text,
            r#"{"image_id":"abc","root":"initramfs","state":null,"phases":[{"name":"early-mounts","start_ms":900,"duration_ms":4}]}"#
        );
    }
}
