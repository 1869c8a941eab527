//! The service manager and the system services that are ours.
//!
//! One module a service; each owns what its doc comment says and nothing else. The programs are chosen by the `ros` binary.

pub mod applied;
pub mod cloud_init;
pub mod compose;
pub mod console;
pub mod docker;
pub mod entrypoint;
pub mod files;
pub mod log;
pub mod manager;
pub mod network;
pub mod ntp;
pub mod power;
pub mod respawn;
pub mod udev;
