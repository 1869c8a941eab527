//! The store in memory, for tests that turn tokio's clock: it keeps the same promises as the others (`store_cases`), and may be cut off from
//! one of the servers that share it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{
    Batch, Change, Entry, Error, LeaseId, Revision, Snapshot, Store, Transaction, Watch, Write,
    check,
};

/// How a server reaches the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It answers.
    Well = 0,
    /// No answer, until the one who asks gives up; nothing is done.
    Cut = 1,
    /// It answers, but watches tell nothing.
    Deaf = 2,
}

/// How long a store in a network that is cut is waited for, as with etcd.
const PATIENCE: Duration = Duration::from_secs(10);

/// One server's way to the store.
#[derive(Clone)]
pub struct Memory {
    inner: Arc<Inner>,
    link: Arc<AtomicU8>,
}

struct Inner {
    state: Mutex<State>,
    revision: watch::Sender<Revision>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<String, (Entry, Option<LeaseId>)>,
    past: Vec<Batch>,
    forgotten: Revision,
    revision: Revision,
    leases: BTreeMap<LeaseId, (Duration, Instant)>,
    last_lease: i64,
}

impl Memory {
    /// An empty store.
    pub fn begin() -> Self {
        let inner = Arc::new(Inner {
            state: Mutex::default(),
            revision: watch::Sender::new(0),
        });
        let ticking = Arc::downgrade(&inner);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(250)).await;
                let Some(inner) = ticking.upgrade() else {
                    return;
                };
                inner.end_leases();
            }
        });
        Self {
            inner,
            link: Arc::default(),
        }
    }

    /// The same store for another server.
    pub fn another(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            link: Arc::default(),
        }
    }

    /// From now on it is reached so.
    pub fn set(&self, link: Link) {
        self.link.store(link as u8, Ordering::Release);
    }

    fn is(&self, link: Link) -> bool {
        self.link.load(Ordering::Acquire) == link as u8
    }

    async fn reach(&self) -> Result<(), Error> {
        if self.is(Link::Cut) {
            tokio::time::sleep(PATIENCE).await;
            return Err(Error::Unavailable("cut".into()));
        }
        Ok(())
    }
}

impl Inner {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut state);
        self.revision.send_if_modified(|told| {
            let is_new = *told != state.revision;
            *told = state.revision;
            is_new
        });
        result
    }

    fn end_leases(&self) {
        let now = Instant::now();
        self.with(|state| {
            let ended = state.leases.iter().filter(|(_, (_, until))| *until <= now);
            let ended: Vec<LeaseId> = ended.map(|(lease, _)| *lease).collect();
            ended.into_iter().for_each(|lease| state.end(lease));
        });
    }
}

impl State {
    fn write(&mut self, writes: Vec<Write>) {
        let revision = self.revision + 1;
        let mut changes = Vec::new();
        for write in writes {
            match write {
                Write::Put { key, value, lease } => {
                    let entry = Entry {
                        key: key.clone(),
                        value,
                        revision,
                    };
                    changes.push(Change::Put(entry.clone()));
                    self.entries.insert(key, (entry, lease));
                }
                Write::Delete { key } => {
                    if self.entries.remove(&key).is_some() {
                        changes.push(Change::Delete { key, revision });
                    }
                }
            }
        }
        if !changes.is_empty() {
            self.revision = revision;
            self.past.push(Batch { revision, changes });
        }
    }

    fn end(&mut self, lease: LeaseId) {
        self.leases.remove(&lease);
        let of = self
            .entries
            .iter()
            .filter(|(_, (_, of))| *of == Some(lease));
        let writes = of.map(|(key, _)| Write::delete(key.clone())).collect();
        self.write(writes);
    }
}

#[async_trait]
impl Store for Memory {
    async fn id(&self) -> Result<String, Error> {
        Ok("memory".into())
    }

    async fn snapshot(&self, prefix: &str) -> Result<Snapshot, Error> {
        self.reach().await?;
        Ok(self.inner.with(|state| Snapshot {
            revision: state.revision,
            entries: state
                .entries
                .values()
                .filter(|(entry, _)| entry.key.starts_with(prefix))
                .map(|(entry, _)| entry.clone())
                .collect(),
        }))
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, Error> {
        check(&transaction)?;
        self.reach().await?;
        self.inner.with(|state| {
            for (key, expected) in transaction.expect {
                let found = state.entries.get(&key).map_or(0, |(entry, _)| entry.revision);
                if found != expected {
                    return Err(Error::Conflict { key });
                }
            }
            let is_dead = |write: &Write| matches!(write, Write::Put { lease: Some(lease), .. } if !state.leases.contains_key(lease));
            if transaction.writes.iter().any(is_dead) {
                return Err(Error::NoLease);
            }
            state.write(transaction.writes);
            Ok(state.revision)
        })
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        self.reach().await?;
        let (forgotten, last) = self.inner.with(|state| (state.forgotten, state.revision));
        if after < forgotten {
            return Err(Error::Compacted { from: after });
        }
        if after > last {
            return Err(Error::Ahead { from: after, last });
        }
        let (sender, watch) = mpsc::channel(64);
        let (store, prefix) = (self.clone(), prefix.to_owned());
        tokio::spawn(async move {
            let mut revision = store.inner.revision.subscribe();
            let mut seen = after;
            while !sender.is_closed() {
                if store.is(Link::Cut) {
                    sender
                        .send(Err(Error::Unavailable("cut".into())))
                        .await
                        .ok();
                    return;
                }
                let new: Vec<Batch> = store.inner.with(|state| {
                    let new = state.past.iter().filter(|batch| batch.revision > seen);
                    new.cloned().collect()
                });
                for mut batch in new.into_iter().filter(|_| !store.is(Link::Deaf)) {
                    seen = batch.revision;
                    batch
                        .changes
                        .retain(|change| change.key().starts_with(&prefix));
                    if !batch.changes.is_empty() && sender.send(Ok(batch)).await.is_err() {
                        return;
                    }
                }
                // So that a cut is noticed.
                let changed = revision.changed();
                tokio::time::timeout(Duration::from_millis(500), changed)
                    .await
                    .ok();
            }
        });
        Ok(watch)
    }

    async fn grant(&self, ttl: u32) -> Result<LeaseId, Error> {
        self.reach().await?;
        let ttl = Duration::from_secs(ttl.into());
        Ok(self.inner.with(|state| {
            state.last_lease += 1;
            let lease = LeaseId(state.last_lease);
            state.leases.insert(lease, (ttl, Instant::now() + ttl));
            lease
        }))
    }

    async fn keep(&self, lease: LeaseId) -> Result<(), Error> {
        self.reach().await?;
        self.inner.with(|state| {
            let (ttl, until) = state.leases.get_mut(&lease).ok_or(Error::NoLease)?;
            *until = Instant::now() + *ttl;
            Ok(())
        })
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.reach().await?;
        self.inner.with(|state| state.end(lease));
        Ok(())
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.reach().await?;
        self.inner.with(|state| {
            state.forgotten = state.forgotten.max(revision.saturating_sub(1));
        });
        Ok(())
    }
}

#[cfg(test)]
#[path = "../../tests/store_cases/mod.rs"]
mod store_cases;

#[tokio::test]
async fn it_keeps_the_promises_of_a_store() {
    store_cases::all(&Memory::begin()).await;
}
