//! The store in memory: reads cost nothing, and whoever waits for a change is told. Follows the store's watch; after a break it begins
//! anew with a snapshot, and what differs is told as if it had just happened.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::store::{Batch, Change, Entry, Error, Revision, Store};

/// Batches that a slow follower may be behind; then it reads everything.
const BEHIND: usize = 1024;
/// Longest wait for a change that the store has taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a failure of the store.
const PAUSE: Duration = Duration::from_secs(1);

type Entries = BTreeMap<String, Arc<Entry>>;

#[derive(Debug, Default)]
struct State {
    revision: Revision,
    entries: Entries,
}

/// The store in memory.
#[derive(Debug, Clone)]
pub struct Mirror {
    state: Arc<RwLock<State>>,
    revision: watch::Sender<Revision>,
    batches: broadcast::Sender<Arc<Batch>>,
}

/// Everything below a prefix, and the batches that come after it.
#[derive(Debug)]
pub struct Followed {
    /// The state that `entries` shows.
    pub revision: Revision,
    /// By key.
    pub entries: Vec<Arc<Entry>>,
    /// What comes then, of all keys.
    pub batches: broadcast::Receiver<Arc<Batch>>,
}

impl Mirror {
    /// Reads the store, and goes on following it until `stop`.
    ///
    /// # Errors
    /// When the store cannot be read at the start.
    pub async fn start(store: Arc<dyn Store>, stop: CancellationToken) -> Result<Self, Error> {
        let mirror = Self {
            state: Arc::default(),
            revision: watch::Sender::new(0),
            batches: broadcast::channel(BEHIND).0,
        };
        mirror.reread(&*store).await?;
        let follower = mirror.clone();
        tokio::spawn(async move {
            stop.run_until_cancelled(follower.follow(&*store)).await;
        });
        Ok(mirror)
    }

    async fn follow(&self, store: &dyn Store) {
        loop {
            let after = self.revision();
            // Whatever ended it: what was missed is read anew.
            if let Ok(mut watch) = store.watch("/", after).await {
                while let Some(Ok(batch)) = watch.recv().await {
                    self.take(batch);
                }
            }
            tokio::time::sleep(PAUSE).await;
            while self.reread(store).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Takes a snapshot and tells what differs.
    async fn reread(&self, store: &dyn Store) -> Result<(), Error> {
        let snapshot = store.snapshot("/").await?;
        let fresh: Entries = snapshot
            .entries
            .into_iter()
            .map(|entry| (entry.key.clone(), Arc::new(entry)))
            .collect();
        let changes = self.read(|state| differences(&state.entries, &fresh, snapshot.revision));
        self.take(Batch {
            revision: snapshot.revision,
            changes,
        });
        Ok(())
    }

    fn take(&self, batch: Batch) {
        let mut state = self
            .state
            .write()
            .unwrap_or_else(|broken| broken.into_inner());
        for change in &batch.changes {
            match change {
                Change::Put(entry) => {
                    let entry = Arc::new(entry.clone());
                    state.entries.insert(entry.key.clone(), entry);
                }
                Change::Delete { key, .. } => drop(state.entries.remove(key)),
            }
        }
        state.revision = state.revision.max(batch.revision);
        // Under the lock, so that `follow_from_here` misses nothing.
        self.revision.send_replace(state.revision);
        self.batches.send(Arc::new(batch)).ok();
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(
            &self
                .state
                .read()
                .unwrap_or_else(|broken| broken.into_inner()),
        )
    }

    /// The state that it shows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.read(|state| state.revision)
    }

    /// Waits until it shows `revision`, so that who has written reads what was written; or for a moment, while the store does not tell.
    pub async fn reach(&self, revision: Revision) {
        // The sender lives as long as `self`.
        let mut shown = self.revision.subscribe();
        let reached = shown.wait_for(|shown| *shown >= revision);
        tokio::time::timeout(PATIENCE, reached).await.ok();
    }

    /// One entry.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.read(|state| state.entries.get(key).cloned())
    }

    /// Entries whose keys begin with `prefix`, from after the key `after`, at most `limit`.
    #[must_use]
    pub fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Arc<Entry>> {
        self.read(|state| {
            below(&state.entries, prefix, after)
                .take(limit)
                .cloned()
                .collect()
        })
    }

    /// Everything below `prefix`, and what comes then.
    #[must_use]
    pub fn follow_from_here(&self, prefix: &str) -> Followed {
        self.read(|state| Followed {
            revision: state.revision,
            entries: below(&state.entries, prefix, None).cloned().collect(),
            batches: self.batches.subscribe(),
        })
    }
}

fn below<'a>(
    entries: &'a Entries,
    prefix: &'a str,
    after: Option<&'a str>,
) -> impl Iterator<Item = &'a Arc<Entry>> {
    let start = match after {
        Some(key) if key >= prefix => Bound::Excluded(key),
        _ => Bound::Included(prefix),
    };
    entries
        .range::<str, _>((start, Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix))
        .map(|(_, entry)| entry)
}

fn differences(old: &Entries, new: &Entries, revision: Revision) -> Vec<Change> {
    let gone = old
        .keys()
        .filter(|key| !new.contains_key(*key))
        .map(|key| Change::Delete {
            key: key.clone(),
            revision,
        });
    let put = new
        .values()
        .filter(|entry| {
            old.get(&entry.key)
                .is_none_or(|known| known.revision != entry.revision)
        })
        .map(|entry| Change::Put(Entry::clone(entry)));
    gone.chain(put).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Sqlite, Transaction, Write};

    async fn put(store: &dyn Store, key: &str, value: &str) -> Revision {
        let writes = vec![Write::put(key, value)];
        let transaction = Transaction {
            writes,
            ..Transaction::default()
        };
        store.commit(transaction).await.unwrap()
    }

    #[tokio::test]
    async fn who_has_written_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&folder.path().join("s")).unwrap());
        put(&*store, "/a/1", "x").await;
        let mirror = Mirror::start(Arc::clone(&store), CancellationToken::new())
            .await
            .unwrap();
        assert_eq!(mirror.list("/a/", None, 9).len(), 1);
        let mut followed = mirror.follow_from_here("/a/");
        let revision = put(&*store, "/a/2", "y").await;
        mirror.reach(revision).await;
        assert_eq!(mirror.get("/a/2").unwrap().value, b"y");
        assert_eq!(mirror.list("/a/", Some("/a/1"), 9)[0].key, "/a/2");
        assert_eq!(followed.batches.recv().await.unwrap().revision, revision);
    }

    #[test]
    fn what_was_missed_is_told() {
        let entry = |key: &str, revision| {
            let key = key.to_owned();
            (
                key.clone(),
                Arc::new(Entry {
                    key,
                    value: vec![],
                    revision,
                }),
            )
        };
        let old = Entries::from([entry("/a", 1), entry("/b", 2), entry("/c", 3)]);
        let new = Entries::from([entry("/a", 1), entry("/b", 5), entry("/d", 6)]);
        let told: Vec<String> = differences(&old, &new, 7)
            .iter()
            .map(|change| match change {
                Change::Put(entry) => entry.key.clone(),
                Change::Delete { key, .. } => format!("-{key}"),
            })
            .collect();
        assert_eq!(told, ["-/c", "/b", "/d"]);
    }
}
