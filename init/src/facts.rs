//! What PID 1 finds when it starts; read once, then only looked at.

use std::path::Path;

use kernel::cmdline::{self, Parameter};
use os_config::Cmdline;

/// Facts about this boot.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Words of the kernel line that are the kernel's or PID 1's.
    pub parameters: Vec<Parameter>,
    /// The kernel line as configuration.
    pub cmdline: Cmdline,
    /// Content of `/image-id`: which root image belongs to this initramfs.
    pub image_id: Option<String>,
    /// Whether the root image lies in the initramfs.
    pub has_root_image: bool,
}

/// The root image inside the initramfs.
pub const ROOT_IMAGE: &str = "/root.squashfs";

impl Facts {
    /// Reads them; `/proc` must be mounted and the initramfs be `/`.
    pub fn read() -> Self {
        let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
        let image_id = std::fs::read_to_string("/image-id")
            .ok()
            .map(|id| id.trim().to_owned());
        Self {
            parameters: cmdline::parse(&line),
            cmdline: os_config::cmdline::parse(&line),
            image_id: image_id.filter(|id| !id.is_empty()),
            has_root_image: Path::new(ROOT_IMAGE).exists(),
        }
    }

    /// Whether the kernel line itself asks for the recovery console; needed when the configuration cannot be read.
    pub fn asks_for_recovery(&self) -> bool {
        let word = self
            .parameters
            .iter()
            .rev()
            .find(|parameter| parameter.name == "rancher.recovery");
        word.is_some_and(|word| matches!(word.value.as_deref(), None | Some("true" | "1" | "yes")))
    }

    /// Seconds to show a failure before the machine starts again: `panic=`, or 60. The kernel's 0 (wait for ever) is kept.
    pub fn failure_pause(&self) -> Option<u64> {
        let value = cmdline::values(&self.parameters, "panic")
            .last()
            .and_then(|value| value.parse::<i64>().ok());
        match value {
            Some(0) => None,
            Some(seconds) => Some(u64::try_from(seconds).unwrap_or(1)),
            None => Some(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(line: &str) -> Facts {
        Facts {
            parameters: cmdline::parse(line),
            ..Facts::default()
        }
    }

    #[test]
    fn recovery_is_read_without_the_configuration() {
        assert!(facts("quiet rancher.recovery=true").asks_for_recovery());
        assert!(facts("rancher.recovery").asks_for_recovery());
        assert!(!facts("rancher.recovery=true rancher.recovery=false").asks_for_recovery());
        assert!(!facts("quiet").asks_for_recovery());
    }

    #[test]
    fn the_pause_follows_panic() {
        assert_eq!(facts("panic=10").failure_pause(), Some(10));
        assert_eq!(facts("panic=0").failure_pause(), None);
        assert_eq!(facts("panic=-1").failure_pause(), Some(1));
        assert_eq!(facts("").failure_pause(), Some(60));
    }
}
