//! The user's Docker: the main process of the `docker` service (`ros docker-init`), the probe that `wait-for-docker` is, and the
//! preparation of its stop.
//!
//! Owns `/run/ros/docker/`, `/run/docker-done` and the process of the user's dockerd. The containers are not ours: containerd, which
//! PID 1 runs, holds their shims, so that they outlive the daemon.

pub mod certificates;
mod ping;
mod promises;
mod settings;
mod stop;
mod supervise;
mod tls;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

pub use stop::prepare_stop;
pub use supervise::run;

use crate::log::Log;
use crate::manager::{SYSTEM_SOCKET, USER_SOCKET};

const LOG: Log = Log::of("docker-init");
/// Configuration of the user's daemon, as we give it.
const CONFIG_FILE: &str = "/run/ros/docker/daemon.json";
/// Process id of the user's daemon, in the host's numbering (the service shares the host's process namespace).
const PID_FILE: &str = "/run/ros/docker/dockerd.pid";

/// First pause between two probes; it doubles up to two seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long `wait-for-docker` waits.
const PATIENCE: Duration = Duration::from_secs(300);

/// Why a Docker program failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machinery of the process cannot be set up.
    #[error("docker-init cannot {what}")]
    Setup {
        /// What failed.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The daemon does not stay up.
    #[error(
        "dockerd ended {attempts} times before it answered, see /var/log/docker.log: {last_line}"
    )]
    DoesNotStart {
        /// How often it was started.
        attempts: u32,
        /// End of its log.
        last_line: String,
    },
    /// `wait-for-docker` gave up.
    #[error("Failed to connect to Docker")]
    NoAnswer,
    /// The docker command cannot be run.
    #[error("cannot run the docker command: is it in the PATH?")]
    NoCommand(#[source] std::io::Error),
}

fn setup(what: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Setup { what, source }
}

/// Waits until the user's Docker answers (`wait-for-docker`).
pub fn wait() -> Result<(), Error> {
    let (begun, mut pause) = (Instant::now(), FIRST_PAUSE);
    while !ping::answers(USER_SOCKET) {
        if begun.elapsed() >= PATIENCE {
            return Err(Error::NoAnswer);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Ok(())
}

/// Becomes the docker command line, for the system's Docker (`system-docker`). Returns only when that fails.
#[must_use]
pub fn system_docker(arguments: &[OsString]) -> Error {
    let host = format!("unix://{SYSTEM_SOCKET}");
    Error::NoCommand(
        std::process::Command::new("docker")
            .args(["-H", &host])
            .args(arguments)
            .exec(),
    )
}
