//! How far watches may go back: etcd keeps every change until it is told to forget, and stops when its disk space is used up.

use std::sync::Arc;
use std::time::Duration;

use crate::server::Server;
use crate::store::Revision;

/// How often it forgets: what is younger than this is kept …
const PERIOD: Duration = Duration::from_secs(600);
/// … and so many changes at least. A store in a file forgets by itself, and keeps as many.
const REMEMBERED: Revision = 20_000;

/// Runs while this server leads.
pub async fn run(server: Arc<Server>) {
    loop {
        let then = server.mirror.revision();
        tokio::time::sleep(PERIOD).await;
        let last = then.min(server.mirror.revision().saturating_sub(REMEMBERED));
        if last > 0 {
            // What fails is tried again the next time; it may have been forgotten already.
            server.objects.store().compact(last).await.ok();
        }
    }
}
