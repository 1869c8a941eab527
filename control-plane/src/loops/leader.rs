//! Who leads: the server whose lease holds the key `/leader`. Without it nothing is decided; nobody decides for longer than its lease.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::server::Server;
use crate::store::{Error, LeaseId, Store, Transaction, Write};

const KEY: &str = "/leader";
/// Seconds that a lost leader is waited for.
const TTL: u32 = 8;
/// How often the lease is kept.
const KEEP: Duration = Duration::from_secs(2);
/// How long before its lease may end a leader stops: what it has just begun is done by then.
const MARGIN: Duration = Duration::from_secs(2);
/// How often others try to become the leader.
const TRY: Duration = Duration::from_millis(500);

/// Does `work` while this server leads, for ever.
pub async fn lead<W: Future<Output = ()>>(server: &Server, work: impl Fn() -> W) {
    loop {
        // The lease may count from when it was asked for.
        let asked = Instant::now();
        if let Ok(lease) = campaign(server).await {
            let reign = keep(&**server.objects.store(), lease, asked);
            tokio::select! {
                // First, so that no work is done when both could go on.
                biased;
                () = reign => {}
                () = work() => {}
            }
            server.objects.store().revoke(lease).await.ok();
        }
        tokio::time::sleep(TRY).await;
    }
}

async fn campaign(server: &Server) -> Result<LeaseId, Error> {
    let store = server.objects.store();
    if server.mirror.get(KEY).is_some() {
        return Err(Error::Conflict { key: KEY.into() });
    }
    let lease = store.grant(TTL).await?;
    let claim = Transaction {
        expect: vec![(KEY.into(), 0)],
        writes: vec![Write::Put {
            key: KEY.into(),
            value: server.name.clone().into_bytes(),
            lease: Some(lease),
        }],
    };
    match store.commit(claim).await {
        Ok(_) => Ok(lease),
        Err(error) => {
            store.revoke(lease).await.ok();
            Err(error)
        }
    }
}

/// Ends when the lease is lost, or could not be kept for so long that it may be soon: a store that does not answer at all is not waited
/// for, because the others do not wait either.
async fn keep(store: &dyn Store, lease: LeaseId, mut kept: Instant) {
    let reign = Duration::from_secs(TTL.into()).saturating_sub(MARGIN);
    loop {
        tokio::time::sleep_until((kept + reign).min(Instant::now() + KEEP)).await;
        let asked = Instant::now();
        match timeout_at(kept + reign, store.keep(lease)).await {
            Ok(Ok(())) => kept = asked,
            Ok(Err(Error::NoLease)) | Err(_) => return,
            Ok(Err(_)) if asked >= kept + reign => return,
            Ok(Err(_)) => {}
        }
    }
}
