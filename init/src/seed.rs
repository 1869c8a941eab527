//! Phase `system-images`: makes system Docker know the images of the root image without loading them.
//!
//! Their layers are directories of the read-only root; `/usr/share/ros/system-docker` holds Docker's own metadata for them (the
//! overlay2 storage driver's layout), in which `overlay2/<id>/diff` is a link to the layer. It is merged into the data root: what
//! is missing or torn (a power cut) is written, what Docker has added stays. Doing it again changes nothing.

mod merge;
mod repositories;

use std::path::Path;

use crate::log;
use crate::machine::Machine;
use crate::outcome::Halted;
use crate::system_docker;

const SEED: &str = "/usr/share/ros/system-docker";

/// Why the images could not be made known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the seed could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: String,
        /// What the kernel said.
        #[source]
        cause: std::io::Error,
    },
    /// A file of the data root could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: String,
        /// What the kernel said.
        #[source]
        cause: std::io::Error,
    },
    /// The seed's list of tags is not what Docker writes.
    #[error("{0} is not a list of image tags")]
    Tags(String, #[source] serde_json::Error),
}

/// Merges the seed of the root image into the data root.
pub fn run(machine: &mut Machine) -> Result<(), Halted> {
    let data_root = system_docker::data_root(&machine.loaded.config.rancher.system_docker);
    let written = merge::merge(Path::new(SEED), Path::new(data_root))?;
    log::debug(&format!("system images: {written} entries written"));
    Ok(())
}
