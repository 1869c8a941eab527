//! What wakes the manager: readiness files and Docker's events. Decides nothing: everything is looked at anew.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::Notify;

use crate::compose::SERVICE_LABEL;
use crate::manager::desired::Desired;
use crate::manager::engine::Engine;
use crate::manager::observe::ready_files;

/// How often readiness files are looked for.
const GLANCE: Duration = Duration::from_millis(50);

/// Ends when a readiness file appears or goes away.
pub(super) async fn readiness_changed(desired: &Desired, before: &BTreeSet<PathBuf>) {
    while ready_files(&desired.project) == *before {
        tokio::time::sleep(GLANCE).await;
    }
}

/// Wakes the manager at every event of a container of ours, for as long as the daemon exists, across its restarts.
pub(super) async fn watch(engine: Engine, wake: Arc<Notify>) {
    let filters = [("type", "container"), ("label", SERVICE_LABEL)];
    let filters = filters
        .map(|(name, value)| (name.to_owned(), vec![value.to_owned()]))
        .into();
    let options = bollard::query_parameters::EventsOptions {
        filters: Some(filters),
        ..Default::default()
    };
    loop {
        let mut stream = Box::pin(engine.docker.events(Some(options.clone())));
        while let Some(Ok(event)) = stream.next().await {
            // What we do ourselves is told by the step; `exec_…` and the like change nothing that is planned.
            if matches!(event.action.as_deref(), Some("die" | "destroy")) {
                wake.notify_one();
            }
        }
        wake.notify_one();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
