//! Safe wrappers over the kernel interfaces that PID 1 and the system services use.
//!
//! Owns every `unsafe` block of the project; each module is one kernel interface and says which document it follows.
//! Must not know what RancherOS is: no path under `/var/lib/rancher`, no configuration, no policy.
#![allow(unsafe_code)]

pub mod block;
pub mod cgroup;
pub mod clock;
pub mod cmdline;
pub mod disk;
pub mod loopdev;
pub mod modules;
pub mod mount;
pub mod power;
pub mod process;
pub mod signals;
pub mod sysctl;
pub mod tty;
pub mod uevent;
