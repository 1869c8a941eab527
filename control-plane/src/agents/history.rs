//! What has happened to hosts, networks and containers lately, as the store remembers it: a server that has just started can tell agents that
//! come back what they missed, instead of everything.

use std::collections::HashMap;
use std::time::Duration;

use api::Id;

use super::facts::project_of;
use crate::store::{Batch, Revision, Store, Watch};

/// Revisions that it goes back.
const RECENT: Revision = 5_000;
/// Longest wait for the next change that the store remembers.
const PATIENCE: Duration = Duration::from_secs(1);

/// Changes of projects.
#[derive(Debug, Default)]
pub struct History {
    /// All of them after this revision.
    pub from: Revision,
    by_project: HashMap<Id, Vec<Batch>>,
}

impl History {
    /// What has led to the revision `until`; nothing when the store does not tell.
    pub async fn read(store: &dyn Store, until: Revision) -> Self {
        let from = until.saturating_sub(RECENT);
        let told = match store.watch("/", from).await {
            Ok(watch) => Self::of(watch, from, until).await,
            Err(_) => None,
        };
        told.unwrap_or_else(|| Self {
            from: until,
            ..Self::default()
        })
    }

    /// `None`: there is a gap.
    async fn of(mut watch: Watch, from: Revision, until: Revision) -> Option<Self> {
        let mut history = Self {
            from,
            ..Self::default()
        };
        let mut at = from;
        while at < until {
            let next = tokio::time::timeout(PATIENCE, watch.recv()).await;
            let batch = next.ok()??.ok()?;
            at = batch.revision;
            if at <= until {
                history.add(batch);
            }
        }
        Some(history)
    }

    fn add(&mut self, batch: Batch) {
        let revision = batch.revision;
        for change in batch.changes {
            let Some(project) = project_of(change.key()) else {
                continue;
            };
            let batches = self.by_project.entry(project).or_default();
            crate::store::append(batches, revision, change);
        }
    }

    /// Those of a project, in order.
    #[must_use]
    pub fn of_project(&self, project: &Id) -> &[Batch] {
        self.by_project.get(project).map_or(&[], |all| all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Sqlite, Transaction, Write};

    #[tokio::test]
    async fn it_is_what_the_store_remembers() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("s")).unwrap();
        let project = Id::from_bits("p", 1);
        let key = |bits| format!("/objects/hosts/{project}/{}", Id::from_bits("h", bits));
        let mut last = 0;
        for key in [key(1), "/alive/x".into(), key(2), "/alive/y".into()] {
            let writes = vec![Write::put(key, "x")];
            let transaction = Transaction {
                writes,
                ..Transaction::default()
            };
            last = store.commit(transaction).await.unwrap();
        }
        let history = History::read(&store, last).await;
        assert_eq!(history.from, 0);
        let all = history.of_project(&project);
        let revisions: Vec<Revision> = all.iter().map(|batch| batch.revision).collect();
        assert_eq!(revisions, [last - 3, last - 1]);
        assert!(history.of_project(&Id::from_bits("p", 2)).is_empty());
        // Not beyond what was asked for.
        let history = History::read(&store, last - 2).await;
        assert_eq!(history.of_project(&project).len(), 1);
        // What is forgotten cannot be told.
        store.compact(last).await.unwrap();
        let history = History::read(&store, last).await;
        assert_eq!(history.from, last);
        assert!(history.of_project(&project).is_empty());
    }
}
