//! The state of the cluster: keys with values, every change with a revision that grows by the order of changes.
//!
//! The trait is as narrow as the loops and the API need it, so that both backends can keep its promises: [`Sqlite`] in one file, for one
//! server, and [`Etcd`], for several. One suite of tests runs on both (`tests/store.rs`).

mod etcd;
#[cfg(test)]
pub mod memory;
mod sqlite;

use async_trait::async_trait;
use tokio::sync::mpsc;

pub use etcd::{Certificates, Etcd};
pub use sqlite::{OpenError, Sqlite};

/// Number of a state of the store; 0 is before the first change.
pub type Revision = u64;

/// Largest value, bytes.
pub const MAX_VALUE: usize = 512 << 10;
/// Most bytes that a transaction writes, keys and values. etcd takes requests up to 1.5 MiB.
pub const MAX_BYTES: usize = 1 << 20;
/// Most changes of one transaction (etcd's default for `--max-txn-ops`).
pub const MAX_CHANGES: usize = 128;

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `/`-separated.
    pub key: String,
    /// What it holds.
    pub value: Vec<u8>,
    /// When it was last changed.
    pub revision: Revision,
}

/// A consistent look at some keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The state that it shows.
    pub revision: Revision,
    /// By key.
    pub entries: Vec<Entry>,
}

/// What a key is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Set it.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: Vec<u8>,
        /// Removed together with this lease.
        lease: Option<LeaseId>,
    },
    /// Remove it; it need not be there.
    Delete {
        /// The key.
        key: String,
    },
}

impl Write {
    /// Sets a key for good.
    pub fn put(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
            lease: None,
        }
    }

    /// Removes a key.
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete { key: key.into() }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Put { key, value, .. } => key.len() + value.len(),
            Self::Delete { key } => key.len(),
        }
    }
}

/// Changes that happen together, or not at all when an expectation fails. A key is named once among the writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// Keys and the revisions of their last change; 0: the key is not there.
    pub expect: Vec<(String, Revision)>,
    /// The changes.
    pub writes: Vec<Write>,
}

/// What has happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was set.
    Put(Entry),
    /// It was removed.
    Delete {
        /// The key.
        key: String,
        /// When.
        revision: Revision,
    },
}

impl Change {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key, .. } => key,
        }
    }
}

/// All changes of one revision, below the watched prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The revision.
    pub revision: Revision,
    /// The changes.
    pub changes: Vec<Change>,
}

/// Names a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub i64);

/// Batches in order, none left out. An error ends it; so does the end of the store.
pub type Watch = mpsc::Receiver<Result<Batch, Error>>;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An expectation failed; nothing was changed.
    #[error("{key} has changed meanwhile")]
    Conflict {
        /// The key, one of them.
        key: String,
    },
    /// What a watch asks for is forgotten: take a snapshot.
    #[error("changes from revision {from} on are forgotten")]
    Compacted {
        /// What was asked for.
        from: Revision,
    },
    /// What a watch asks for has not happened: the revision is another store's, or an older copy of this one was put back.
    #[error("the store has not come to revision {from} yet, only to {last}")]
    Ahead {
        /// What was asked for.
        from: Revision,
        /// The last revision.
        last: Revision,
    },
    /// A value or a transaction is too large.
    #[error("{what} is too large for the store")]
    TooLarge {
        /// What.
        what: String,
    },
    /// The lease has ended.
    #[error("the lease has ended")]
    NoLease,
    /// The store does not answer; whether a transaction happened is not known.
    #[error("the store does not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The store.
#[async_trait]
pub trait Store: Send + Sync {
    /// Name of this store's history, from its last start or from its beginning on: a revision that was told with another name means nothing here,
    /// but for [`Store::ids_before`].
    async fn id(&self) -> Result<String, Error>;

    /// Names that its history had before, each with the last revision that it is good for.
    async fn ids_before(&self) -> Result<Vec<(String, Revision)>, Error> {
        Ok(Vec::new())
    }

    /// All keys that begin with `prefix`.
    async fn snapshot(&self, prefix: &str) -> Result<Snapshot, Error>;

    /// Does all of it or nothing; gives the revision that holds it. A transaction that is done has reached the disk.
    async fn commit(&self, transaction: Transaction) -> Result<Revision, Error>;

    /// Does the writes in their order, in as many transactions as it takes. When one fails, those before it are done.
    async fn write_all(&self, writes: Vec<Write>) -> Result<Option<Revision>, Error> {
        let mut revision = None;
        for part in parts(writes) {
            let transaction = Transaction {
                writes: part,
                ..Transaction::default()
            };
            revision = Some(self.commit(transaction).await?);
        }
        Ok(revision)
    }

    /// Every change of keys that begin with `prefix`, after revision `after`, which has happened.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error>;

    /// A lease that ends after `ttl` seconds, unless kept.
    async fn grant(&self, ttl: u32) -> Result<LeaseId, Error>;

    /// Lets it last for another `ttl`.
    async fn keep(&self, lease: LeaseId) -> Result<(), Error>;

    /// Ends it now, with its keys.
    async fn revoke(&self, lease: LeaseId) -> Result<(), Error>;

    /// Forgets changes before `revision`.
    async fn compact(&self, revision: Revision) -> Result<(), Error>;
}

/// Refuses what one of the backends could not take.
fn check(transaction: &Transaction) -> Result<(), Error> {
    if transaction.writes.len() > MAX_CHANGES || transaction.expect.len() > MAX_CHANGES {
        let what = format!("a transaction of {} changes", transaction.writes.len());
        return Err(Error::TooLarge { what });
    }
    let bytes: usize = transaction.writes.iter().map(Write::bytes).sum();
    if bytes > MAX_BYTES {
        let what = format!("a transaction of {bytes} bytes");
        return Err(Error::TooLarge { what });
    }
    for write in &transaction.writes {
        if let Write::Put { key, value, .. } = write
            && value.len() > MAX_VALUE
        {
            let what = format!("{key}, with {} bytes,", value.len());
            return Err(Error::TooLarge { what });
        }
    }
    Ok(())
}

/// Cuts writes into transactions that both backends take.
fn parts(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let mut parts: Vec<Vec<Write>> = Vec::new();
    let mut bytes = 0;
    for write in writes {
        bytes += write.bytes();
        match parts.last_mut() {
            Some(part) if part.len() < MAX_CHANGES && bytes <= MAX_BYTES => part.push(write),
            _ => {
                bytes = write.bytes();
                parts.push(vec![write]);
            }
        }
    }
    parts
}

/// Adds a change, which comes in the order of revisions, to the batch of its revision.
pub(crate) fn append(batches: &mut Vec<Batch>, revision: Revision, change: Change) {
    match batches.last_mut().filter(|last| last.revision == revision) {
        Some(last) => last.changes.push(change),
        None => batches.push(Batch {
            revision,
            changes: vec![change],
        }),
    }
}

/// A revision as both backends write it: their integers have a sign.
fn stored(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// A revision as both backends write it.
fn number(stored: i64) -> Revision {
    Revision::try_from(stored).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_neither_too_many_nor_too_large() {
        let small: Vec<Write> = (0..300).map(|n| Write::delete(format!("/{n}"))).collect();
        let sizes =
            |writes: Vec<Write>| -> Vec<usize> { parts(writes).iter().map(Vec::len).collect() };
        assert_eq!(sizes(small.clone()), [128, 128, 44]);
        assert_eq!(parts(small.clone()).concat(), small);
        let large = |n| Write::put(format!("/{n}"), vec![0; MAX_VALUE - 100]);
        assert_eq!(sizes((0..5).map(large).collect()), [2, 2, 1]);
        assert_eq!(sizes(Vec::new()), [0; 0]);
    }
}
