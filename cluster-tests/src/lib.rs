//! Several hosts on one machine: network, mount and process namespaces with a Docker of their own, a network between them that loses packets
//! when it is told to, and the real server and agents. Owns the harness; the scenarios are in `tests/`.

pub mod bench;
pub mod chance;
pub mod cluster;
pub mod container;
pub mod image;
pub mod load;
pub mod net;
pub mod node;
pub mod program;
pub mod remote;
pub mod root;
pub mod space;
pub mod stage;

pub use qemu_tests::{HarnessError, Result};
