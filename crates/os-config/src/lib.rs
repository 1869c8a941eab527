//! The cloud-config of RancherOS: parse, merge, validate, resolve, typed.
//! Pure but for `store`, the only module that touches the disk.

pub mod cmdline;
pub mod convert;
pub mod docker;
pub mod effects;
pub mod emit;
pub mod layers;
pub mod merge;
pub mod metadata;
pub mod node;
pub mod path;
pub mod problem;
pub mod schema;
pub mod store;
pub mod types;
pub mod userdata;
pub mod yaml;

pub use cmdline::Cmdline;
pub use docker::docker_args;
pub use metadata::Metadata;
pub use problem::{Problem, Severity};
pub use store::{Loaded, Place, load};
pub use types::{Config, DockerBlock};
