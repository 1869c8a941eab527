//! Connections to the two Docker daemons, and what their API can do.

use std::path::Path;
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};

/// Socket of the system's Docker.
pub const SYSTEM_SOCKET: &str = "/var/run/system-docker.sock";
/// Socket of the user's Docker.
pub const USER_SOCKET: &str = "/var/run/docker.sock";

/// Seconds after which a request without an answer fails. Stopping a container may take as long as its grace period.
const TIMEOUT: u64 = 120;
/// First API version that takes annotations (Docker 25).
const ANNOTATIONS: (usize, usize) = (1, 43);

/// What Docker was asked and did not do.
#[derive(Debug, thiserror::Error)]
#[error("{daemon}: cannot {what}")]
pub struct Error {
    daemon: &'static str,
    what: String,
    #[source]
    source: bollard::errors::Error,
}

impl Error {
    /// HTTP status of Docker's answer, if it gave one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        status(&self.source)
    }
}

/// A daemon that answered.
#[derive(Debug, Clone)]
pub struct Engine {
    /// The client, at the daemon's API version.
    pub docker: Docker,
    daemon: &'static str,
    api: (usize, usize),
}

impl Engine {
    /// Connects, and agrees on a version.
    pub async fn connect(socket: &str) -> Result<Self, Error> {
        let daemon = if socket == SYSTEM_SOCKET {
            "system-docker"
        } else {
            "docker"
        };
        let failed = |source| Error {
            daemon,
            what: format!("connect to {socket}"),
            source,
        };
        let docker =
            Docker::connect_with_unix(socket, TIMEOUT, API_DEFAULT_VERSION).map_err(failed)?;
        let docker = docker.negotiate_version().await.map_err(failed)?;
        let version = docker.client_version();
        Ok(Self {
            docker,
            daemon,
            api: (version.major_version, version.minor_version),
        })
    }

    /// Connects as soon as the daemon answers.
    pub async fn wait(socket: &str, pause: Duration) -> Self {
        loop {
            if Path::new(socket).exists()
                && let Ok(engine) = Self::connect(socket).await
            {
                return engine;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// True when containers may carry OCI annotations.
    #[must_use]
    pub fn takes_annotations(&self) -> bool {
        self.api >= ANNOTATIONS
    }

    /// The error of an operation of this daemon.
    pub fn error(&self, what: impl Into<String>, source: bollard::errors::Error) -> Error {
        Error {
            daemon: self.daemon,
            what: what.into(),
            source,
        }
    }
}

fn status(error: &bollard::errors::Error) -> Option<u16> {
    match error {
        bollard::errors::Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Docker knows no such thing (404).
#[must_use]
pub fn is_missing(error: &bollard::errors::Error) -> bool {
    status(error) == Some(404)
}

/// It is so already (304), or is being made so (409 while a container is removed).
#[must_use]
pub fn is_done(error: &bollard::errors::Error) -> bool {
    status(error) == Some(304)
}

/// Whether the daemon at `socket` leaves its containers running when it ends; `None` when it does not answer.
pub async fn live_restore(socket: &str) -> Option<bool> {
    let engine = Engine::connect(socket).await.ok()?;
    engine.docker.info().await.ok()?.live_restore_enabled
}
