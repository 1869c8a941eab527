//! The server's side of the agents: joining, their stream, their reports.

mod check;
mod facts;
mod feed;
mod history;
pub mod http;
mod hub;
mod join;
mod pack;
pub mod report;
mod servers;
mod sessions;

use api::Id;
use api::host::HostKind;
use api::problem::{Problem, Reason};

use crate::access::Who;
use crate::pki::HostIdentity;
use crate::server::Server;
use crate::{objects, presence};

pub use hub::Hub;

/// Passes when no other agent than `instance` is connected with the host's identity, here or at another server.
///
/// # Errors
/// When another one is.
pub fn only(server: &Server, project: &Id, host: &Id, instance: &str) -> Result<(), Problem> {
    let here = server.hub.heard_as(host);
    let connected = here.or_else(|| presence::elsewhere(server, project, host));
    match connected {
        Some(other) if other != instance => Err(sessions::in_use()),
        _ => Ok(()),
    }
}

/// The host that shows a certificate. One that was removed is refused although its certificate is still good.
///
/// # Errors
/// When the host is not there any more, or the store does not say whether it is.
pub async fn host(server: &Server, shown: &HostIdentity) -> Result<Who, Problem> {
    let HostIdentity { host, project } = shown;
    let name = match objects::find::<HostKind>(&server.mirror, Some(project), host) {
        Some(known) => known.meta.name,
        // A host that hears that it was removed forgets who it is: what is known here may be behind, only the store itself may say so.
        None => match server.objects.get::<HostKind>(Some(project), host).await {
            Ok(known) => known.meta.name,
            Err(problem) if problem.reason == Reason::NotFound => return Err(removed()),
            Err(problem) => return Err(problem),
        },
    };
    Ok(Who::Host {
        id: host.clone(),
        name,
        project: project.clone(),
    })
}

/// What a host is told that is not in the cluster any more.
fn removed() -> Problem {
    Problem::new(
        Reason::Unauthenticated,
        "this host was removed from the cluster",
    )
    .advise("join again with a new token: `ros agent join`")
}
