//! Block devices: what the kernel lists, what is on them, and finding one by label or UUID.
//!
//! Disks may be hostile or broken: nothing read from one is trusted, and a read error means "nothing there".

mod devices;
mod probe;
mod spec;

pub use devices::{Device, list, starts_with_zeroes};
pub use probe::{Content, Kind, probe, probe_reader};
pub use spec::{Resolve, Spec, resolve};
