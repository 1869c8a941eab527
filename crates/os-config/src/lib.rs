//! The cloud-config of RancherOS: parse, merge, validate, resolve, typed.
//! Pure but for `store`, the only module that touches the disk.

pub mod cmdline;
pub mod docker;
pub mod metadata;
pub mod node;
pub mod problem;
pub mod store;
pub mod types;
pub mod userdata;

pub use cmdline::Cmdline;
pub use docker::docker_args;
pub use metadata::Metadata;
pub use problem::{Problem, Severity};
pub use store::{Loaded, Place, load};
pub use types::{Config, DockerBlock};
