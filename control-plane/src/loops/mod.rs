//! What one server of all does: the leader, by a lease. Each loop plans from what the store holds, and does what differs; a change or a timer
//! only wakes it.

mod events;
mod history;
mod hosts;
pub mod leader;
mod left;
mod watched;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::server::Server;

/// Runs the loops whenever this server leads, until `stop`.
pub async fn run(server: Arc<Server>, stop: CancellationToken) {
    let loops = leader::lead(&server, || async {
        tokio::join!(
            hosts::run(Arc::clone(&server)),
            events::run(Arc::clone(&server)),
            left::run(Arc::clone(&server)),
            history::run(Arc::clone(&server)),
        );
    });
    stop.run_until_cancelled(loops).await;
}
