//! Compose v1 service definitions: from the configuration's `rancher.services` to the containers that Docker is asked for.
//!
//! Owns the syntax (keys, short forms, variables, labels) and the templates. Pure: no Docker, no clock; files only through [`Sources`].

mod container;
mod host;
mod labels;
mod problem;
mod project;
mod resources;
mod schedule;
mod service;
mod values;
mod variables;
mod volumes;

pub use labels::{Condition, OsLabels, Rebuild, Scope};
pub use problem::{Problem, Severity};
pub use project::{Project, Sources};
pub use schedule::Schedule;
pub use service::{Restart, Service};
pub use variables::Variables;

/// Label of every container that the service manager owns: the name of the service.
pub const SERVICE_LABEL: &str = "io.rancher.os.service";
/// Label that holds the hash of the definition the container was made from.
pub const HASH_LABEL: &str = "io.docker.compose.config-hash";
/// Label that holds the boot in which the container was made.
pub const BOOT_LABEL: &str = "io.rancher.os.boot";
