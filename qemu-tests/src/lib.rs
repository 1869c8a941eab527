//! Boots the image in QEMU and judges it from outside, as its user would: over ssh, the serial console, published ports and the
//! disks it leaves behind. Owns the harness; the tests are in `tests/`, the bench and the interactive boot in `src/bin/`.

pub mod artefacts;
pub mod bench;
pub mod cluster;
pub mod config_drive;
pub mod console;
pub mod debian;
pub mod debian_vm;
pub mod disk;
pub mod docker_archive;
pub mod error;
pub mod guest;
pub mod http;
pub mod iperf;
pub mod judge;
pub mod machine;
pub mod monitor;
pub mod program;
pub mod ssh;
pub mod stage;
pub mod tool;
pub mod vm;
pub mod wait;

pub use error::{HarnessError, Result};
