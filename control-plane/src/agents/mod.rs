//! The server's side of the agents: joining, their stream, their reports.

mod check;
pub mod feed;
pub mod http;
mod hub;
mod join;
mod report;
mod servers;

use api::host::HostKind;
use api::problem::{Problem, Reason};

use crate::access::Who;
use crate::objects;
use crate::pki::HostIdentity;
use crate::server::Server;

pub use hub::Hub;

/// The host that shows a certificate. One that was removed is refused although its certificate is still good.
///
/// # Errors
/// When the host is not there any more.
pub fn host(server: &Server, shown: &HostIdentity) -> Result<Who, Problem> {
    let HostIdentity { host, project } = shown;
    let known = objects::find::<HostKind>(&server.mirror, Some(project), host);
    let known = known.ok_or_else(|| {
        Problem::new(
            Reason::Unauthenticated,
            "this host was removed from the cluster",
        )
        .advise("join again with a new token: `ros agent join`")
    })?;
    Ok(Who::Host {
        id: known.meta.id,
        name: known.meta.name,
        project: project.clone(),
    })
}
