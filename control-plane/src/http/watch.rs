//! `?watch=true`: each change of a list, one line of JSON each, from a revision on. A line is sent each few seconds when nothing happens.

use std::sync::Arc;
use std::time::Duration;

use api::Id;
use api::list::Change;
use api::problem::Problem;
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::lines::{self, line};
use crate::access::Who;
use crate::objects::{self, Of};
use crate::rules::Rules;
use crate::server::Server;
use crate::store;

/// How often a line says that nothing has happened.
const ALIVE: Duration = Duration::from_secs(10);

/// The answer, which goes on until who asked has enough.
///
/// # Errors
/// When the revision is forgotten.
pub fn stream<K: Rules>(
    server: &Arc<Server>,
    who: &Who,
    project: Option<&Id>,
    from: Option<u64>,
) -> Result<Response, Problem> {
    let (sender, receiver) = mpsc::channel::<Bytes>(64);
    let folder = objects::folder::<K>(project);
    let (server, who) = (Arc::clone(server), who.clone());
    tokio::spawn(async move {
        let from = from.unwrap_or_else(|| server.mirror.revision());
        tokio::select! {
            () = sender.closed() => {}
            () = follow::<K>(&server, &who, &folder, from, &sender) => {}
        }
    });
    Ok(lines::response(receiver))
}

async fn follow<K: Rules>(
    server: &Server,
    who: &Who,
    folder: &str,
    from: u64,
    watcher: &mpsc::Sender<Bytes>,
) {
    let mut watch = match server.objects.store().watch(folder, from).await {
        Ok(watch) => watch,
        Err(error) => return refuse(&error, watcher).await,
    };
    let mut revision = from;
    loop {
        let next = tokio::time::timeout(ALIVE, watch.recv()).await;
        let told: Vec<Change<Of<K>>> = match next {
            Err(_) => vec![Change::Alive { revision }],
            Ok(None) => return,
            Ok(Some(Err(error))) => return refuse(&error, watcher).await,
            Ok(Some(Ok(batch))) => {
                revision = batch.revision;
                batch
                    .changes
                    .iter()
                    .filter_map(|change| told::<K>(who, change))
                    .collect()
            }
        };
        for change in told {
            if watcher.send(line(&change)).await.is_err() {
                return;
            }
        }
    }
}

fn told<K: Rules>(who: &Who, change: &store::Change) -> Option<Change<Of<K>>> {
    match change {
        store::Change::Put(entry) => {
            let mut object = objects::decode::<K>(entry).ok()?;
            let is_visible = K::is_visible(who, &object);
            K::show(&mut object, None);
            is_visible.then_some(Change::Put { object })
        }
        store::Change::Delete { key, revision } => Some(Change::Delete {
            id: key.rsplit('/').next()?.parse().ok()?,
            revision: *revision,
        }),
    }
}

async fn refuse(error: &store::Error, watcher: &mpsc::Sender<Bytes>) {
    // The status has been sent; the last line tells.
    watcher.send(line(&objects::refusal(error))).await.ok();
}
