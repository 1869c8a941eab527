//! Names of the project's containers, for the containers of this host, and everything else by the host's own resolvers.
//!
//! A packet goes `udp`/`tcp` -> `desk` -> `answer` (with `zone`, made from `claims`) or `forward` (with `cache`, `resolvers`, `upstream`). It has no say in who
//! may ask: the firewall leads only the host's own containers here.

mod answer;
mod cache;
mod changes;
mod claims;
mod desk;
mod forward;
mod message;
#[cfg(test)]
mod properties;
mod query;
mod reply;
mod resolvers;
mod stats;
mod tcp;
mod udp;
mod upstream;
mod wire;
mod zone;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Catalog;
use forward::Forwarder;
use resolvers::Resolvers;
pub use resolvers::{Files, asked_by_docker};
pub use stats::{Count, Stats, Trouble};
use zone::Zone;

/// Changes that come faster than this are shown together. A single one is shown at once.
const CALM: Duration = Duration::from_millis(20);

/// Where it listens; bound by the caller.
#[derive(Debug)]
pub struct Sockets {
    /// For UDP.
    pub udp: UdpSocket,
    /// For TCP.
    pub tcp: TcpListener,
}

/// What may be different elsewhere, and what can be watched.
#[derive(Debug, Default)]
pub struct Settings {
    /// Where the host's resolvers are named.
    pub files: Files,
    /// Counts what is done.
    pub stats: Arc<Stats>,
}

/// What all tasks use.
struct Shared {
    stats: Arc<Stats>,
    zones: watch::Receiver<Arc<Zone>>,
    forwarder: Forwarder,
}

/// Answers from `catalog` until `stop`.
pub async fn serve(
    sockets: Sockets,
    catalog: watch::Receiver<Arc<Catalog>>,
    stop: CancellationToken,
) {
    serve_with(sockets, catalog, Settings::default(), stop).await;
}

/// The same with settings.
pub async fn serve_with(
    sockets: Sockets,
    catalog: watch::Receiver<Arc<Catalog>>,
    settings: Settings,
    stop: CancellationToken,
) {
    let own = sockets.udp.local_addr();
    let own = own.unwrap_or(SocketAddr::from((zone::SERVICE_ADDRESS, 53)));
    let mut catalog = catalog;
    let first = Arc::clone(&catalog.borrow_and_update());
    let (publish, zones) = watch::channel(Arc::new(Zone::build(&first)));
    let resolvers = Resolvers::new(settings.files, own);
    let shared = Arc::new(Shared {
        forwarder: Forwarder::new(resolvers, Arc::clone(&settings.stats)),
        stats: settings.stats,
        zones,
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(follow(catalog, first, publish));
    udp::widen(&sockets.udp);
    let udp = Arc::new(sockets.udp);
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get().min(4));
    for _ in 0..workers {
        tasks.spawn(udp::run(Arc::clone(&udp), Arc::clone(&shared)));
    }
    tasks.spawn(tcp::run(sockets.tcp, shared));
    stop.cancelled().await;
    tasks.shutdown().await;
}

/// Shows each new catalog; `shown` is the one that `publish` has now.
async fn follow(
    mut catalog: watch::Receiver<Arc<Catalog>>,
    mut shown: Arc<Catalog>,
    publish: watch::Sender<Arc<Zone>>,
) {
    while catalog.changed().await.is_ok() {
        let newest = Arc::clone(&catalog.borrow_and_update());
        let zone = publish.borrow().next(&shown, &newest);
        publish.send_replace(Arc::new(zone));
        shown = newest;
        tokio::time::sleep(CALM).await;
    }
    // Nobody will say anything new, but what is known still holds.
    std::future::pending::<()>().await;
}
