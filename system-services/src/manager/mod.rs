//! The service manager, `ros-sysinit`: makes the system's Docker (and, for services of the user, the user's) run what
//! `rancher.services` says, and keeps it so.
//!
//! Owns the containers that carry the label `io.rancher.os.service`, and no others. Every activation reads everything anew: Docker
//! events, timers and signals only wake it, so it may be killed at any moment.

mod apply;
pub mod catalog;
pub mod control;
mod credentials;
mod cron;
mod desired;
mod engine;
pub mod findings;
mod graph;
mod history;
mod images;
mod keeper;
pub mod logs;
mod marks;
mod observe;
mod plan;
mod preload;
mod processes;
mod shutdown;
#[cfg(test)]
mod testing;

use std::io;
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

pub use engine::{SYSTEM_SOCKET, USER_SOCKET, live_restore};
pub use shutdown::stop_all;

use crate::log::Log;
use keeper::Keeper;

const LOG: Log = Log::of("ros-sysinit");
/// The process to wake with SIGHUP when the configuration or a mark has changed.
const PID_FILE: &str = "/run/ros/service-manager.pid";

/// Why the manager ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machinery of the process cannot be set up.
    #[error("the service manager cannot {what}")]
    Setup {
        /// What failed.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn setup(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Setup { what, source }
}

/// Runs until SIGTERM.
pub fn run() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(setup("start"))?;
    runtime.block_on(manage())
}

async fn manage() -> Result<(), Error> {
    let mut hangup = signal(SignalKind::hangup()).map_err(setup("listen to SIGHUP"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(setup("listen to SIGTERM"))?;
    write_pid_file().map_err(setup("write /run/ros/service-manager.pid"))?;
    let mut keeper = tokio::select! {
        keeper = Keeper::new() => keeper,
        _ = terminate.recv() => return Ok(()),
    };
    loop {
        let pause = keeper.activate().await;
        tokio::select! {
            () = keeper.something_happened(pause) => {}
            _ = hangup.recv() => keeper.reload(),
            _ = terminate.recv() => return Ok(()),
        }
    }
}

/// Whether the service manager runs on this machine: it is a RancherOS.
#[must_use]
pub fn is_here() -> bool {
    Path::new(PID_FILE).exists()
}

fn write_pid_file() -> io::Result<()> {
    if let Some(folder) = Path::new(PID_FILE).parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(PID_FILE, std::process::id().to_string())
}

/// The release of the running kernel's boot: changes with every boot.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}
