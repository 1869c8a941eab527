//! How a host leaves: its network, its keys and its identity go; its containers stay.

use std::path::Path;
use std::time::{Duration, Instant};

use api::agent::LeaveRequest;
use api::problem::Reason;
use bollard::Docker;

use crate::catalog::Catalog;
use crate::identity::Identity;
use crate::status;
use crate::{join, overlay};

/// How long a server may take to find the old connection of an agent that has ended to be dead.
const PATIENCE: Duration = Duration::from_secs(11);
const PAUSE: Duration = Duration::from_millis(500);

/// Takes everything down that the agent has made on this host. Gives what could not be done; it may be run again.
pub async fn take_down(folder: &Path, docker: Option<&Docker>) -> Vec<String> {
    let mut problems = Vec::new();
    if let Err(error) = overlay::take_down(docker, folder).await {
        problems.push(error.to_string());
    }
    for done in [
        Catalog::forget(folder),
        Identity::forget(folder),
        join::forget(folder),
    ] {
        if let Err(error) = done {
            problems.push(error.to_string());
        }
    }
    problems
}

/// Tells the cluster that this host leaves it. An agent that runs here says in the file `status` which one it is.
///
/// # Errors
/// When no server has taken it: the host stays in the cluster's list.
pub async fn say(folder: &Path, status: &Path) -> Result<(), Error> {
    let begun = Instant::now();
    loop {
        match ask(folder, status).await {
            // An agent that has just started or ended is not known as such yet, here or at the server.
            Err(Error::Server(client::Error::Refused(problem)))
                if problem.reason == Reason::Exists && begun.elapsed() < PATIENCE =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            other => return other,
        }
    }
}

async fn ask(folder: &Path, status: &Path) -> Result<(), Error> {
    let identity = Identity::load(folder)?.ok_or(Error::NotJoined)?;
    let running = status::read(status).map(|status| status.instance);
    let request = LeaveRequest {
        instance: running.unwrap_or_default(),
    };
    let mut last = None;
    for server in &identity.servers {
        let left: Result<serde::de::IgnoredAny, _> = match identity.client(server) {
            Ok(client) => client.post("/v1/agent/leave", &request).await,
            Err(error) => Err(error),
        };
        match left {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or(Error::NotJoined, Error::Server))
}

/// Why the cluster does not know that the host leaves.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is in none.
    #[error("this host is in no cluster")]
    NotJoined,
    /// Its identity cannot be read.
    #[error(transparent)]
    Disk(#[from] crate::disk::Error),
    /// No server has taken it.
    #[error(transparent)]
    Server(#[from] client::Error),
}
