//! The SQLite file itself: its tables, and one transaction on it. Owns the layout; what is asked for when is the keeper's business.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::OpenError;
use super::epochs::Epochs;
use crate::store::{
    Batch, Change, Entry, Error, LeaseId, Revision, Snapshot, Transaction, Write, append, number,
    stored,
};

/// Layout of the tables; a later release may read an earlier one.
const LAYOUT: i64 = 1;
/// `PRAGMA application_id`: "ros1".
const APPLICATION: i64 = 0x726f_7331;
/// Changes that watches may go back, at least.
const REMEMBERED: Revision = 20_000;
/// How often forgotten ones are removed, in revisions.
const SWEEP: Revision = 1_000;

const TABLES: &str = "
    CREATE TABLE entry (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL, lease INTEGER) WITHOUT ROWID;
    CREATE INDEX entry_lease ON entry (lease) WHERE lease IS NOT NULL;
    CREATE TABLE change (revision INTEGER NOT NULL, key TEXT NOT NULL, value BLOB, PRIMARY KEY (revision, key)) WITHOUT ROWID;
    CREATE TABLE lease (id INTEGER PRIMARY KEY AUTOINCREMENT, ttl INTEGER NOT NULL);
    CREATE TABLE state (id TEXT NOT NULL, revision INTEGER NOT NULL, forgotten INTEGER NOT NULL);
";

/// A failure of SQLite.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Failure(#[from] rusqlite::Error);

impl Failure {
    /// What it means for opening `path`.
    pub fn at(self, path: &Path) -> OpenError {
        let path = path.to_owned();
        match self.0.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::InUse(path),
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                OpenError::Damaged(path, self.0.to_string())
            }
            _ => OpenError::Open {
                path,
                source: self.0.into(),
            },
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

/// The open file.
#[derive(Debug)]
pub struct File {
    connection: Connection,
    epochs: Epochs,
    revision: Revision,
    /// Changes up to this one are forgotten.
    forgotten: Revision,
    /// Both as they were before the open transaction.
    before: (Revision, Revision),
    /// A write of the open transaction failed half-way.
    is_torn: bool,
}

impl File {
    /// Opens it, or makes it.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |source: std::io::Error| OpenError::Open {
            path: path.to_owned(),
            source: source.into(),
        };
        // SQLite gives its side files the mode of the file.
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(io)?;
        let mut connection = Connection::open(path).map_err(|e| Failure(e).at(path))?;
        Self::set_up(&connection, path)?;
        let (revision, forgotten) = connection
            .query_row("SELECT revision, forgotten FROM state", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
            })
            .map_err(|e| Failure(e).at(path))?;
        let (revision, forgotten) = (number(revision), number(forgotten));
        Ok(Self {
            epochs: Epochs::begin(&mut connection, revision),
            connection,
            revision,
            forgotten,
            before: (revision, forgotten),
            is_torn: false,
        })
    }

    fn set_up(connection: &Connection, path: &Path) -> Result<(), OpenError> {
        let layout = Self::configure(connection).map_err(|e| Failure(e).at(path))?;
        match layout {
            0 => Self::make(connection).map_err(|e| Failure(e).at(path)),
            LAYOUT => match Self::findings(connection).map_err(|e| Failure(e).at(path))? {
                None => Ok(()),
                Some(finding) => Err(OpenError::Damaged(path.to_owned(), finding)),
            },
            _ => Err(OpenError::Newer(path.to_owned())),
        }
    }

    /// One process at a time, and a commit is one only when it is on the disk. Gives the layout, 0 in a new file.
    fn configure(connection: &Connection) -> rusqlite::Result<i64> {
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")?;
        connection.query_row("PRAGMA user_version", [], |row| row.get(0))
    }

    fn make(connection: &Connection) -> rusqlite::Result<()> {
        connection.execute_batch(&format!(
            "BEGIN; {TABLES} INSERT INTO state VALUES (lower(hex(randomblob(16))), 0, 0);
             PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {LAYOUT}; COMMIT"
        ))
    }

    fn findings(connection: &Connection) -> rusqlite::Result<Option<String>> {
        let finding: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok((finding != "ok").then_some(finding))
    }

    /// Names of its history.
    pub fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// The last revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// All leases, with their times in seconds.
    pub fn leases(&self) -> Result<Vec<(LeaseId, u32)>, Failure> {
        let mut select = self.connection.prepare("SELECT id, ttl FROM lease")?;
        let rows = select.query_map([], |row| Ok((LeaseId(row.get(0)?), row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Begins a transaction.
    pub fn begin(&mut self) -> rusqlite::Result<()> {
        self.before = (self.revision, self.forgotten);
        self.is_torn = false;
        self.connection.execute_batch("BEGIN IMMEDIATE")
    }

    /// Ends it on the disk; when that fails nothing has happened.
    pub fn commit(&mut self) -> rusqlite::Result<()> {
        let done = self.finish();
        if done.is_err() {
            (self.revision, self.forgotten) = self.before;
            if !self.connection.is_autocommit() {
                self.connection.execute_batch("ROLLBACK")?;
            }
        }
        done
    }

    fn finish(&mut self) -> rusqlite::Result<()> {
        if self.is_torn {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT);
            let text = Some("an earlier change failed half-way".to_owned());
            return Err(rusqlite::Error::SqliteFailure(code, text));
        }
        self.forget()?;
        self.connection.execute_batch("COMMIT")
    }

    fn forget(&mut self) -> rusqlite::Result<()> {
        if self.revision / SWEEP != self.before.0 / SWEEP {
            self.forgotten = self.forgotten.max(self.revision.saturating_sub(REMEMBERED));
        }
        if (self.revision, self.forgotten) == self.before {
            return Ok(());
        }
        if self.forgotten != self.before.1 {
            self.connection.execute(
                "DELETE FROM change WHERE revision <= ?1",
                [stored(self.forgotten)],
            )?;
        }
        self.connection
            .prepare_cached("UPDATE state SET revision = ?1, forgotten = ?2")?
            .execute([stored(self.revision), stored(self.forgotten)])?;
        Ok(())
    }

    /// All keys that begin with `prefix`.
    pub fn snapshot(&self, prefix: &str) -> Result<Snapshot, Error> {
        let mut select = self.connection.prepare_cached(
            "SELECT key, value, revision FROM entry WHERE key >= ?1 AND key < ?2 ORDER BY key",
        )?;
        let rows = select.query_map([prefix, &end_of(prefix)], |row| {
            Ok(Entry {
                key: row.get(0)?,
                value: row.get(1)?,
                revision: number(row.get(2)?),
            })
        })?;
        Ok(Snapshot {
            revision: self.revision,
            entries: rows.collect::<Result<_, _>>()?,
        })
    }

    /// Every change after `after`.
    pub fn since(&self, after: Revision) -> Result<Vec<Batch>, Error> {
        if after < self.forgotten {
            return Err(Error::Compacted { from: after });
        }
        if after > self.revision {
            let last = self.revision;
            return Err(Error::Ahead { from: after, last });
        }
        let mut select = self.connection.prepare_cached(
            "SELECT revision, key, value FROM change WHERE revision > ?1 ORDER BY revision, key",
        )?;
        let mut rows = select.query([stored(after)])?;
        let mut batches: Vec<Batch> = Vec::new();
        while let Some(row) = rows.next()? {
            let (revision, key, value) = (number(row.get(0)?), row.get(1)?, row.get(2)?);
            let change = changed(key, value, revision);
            append(&mut batches, revision, change);
        }
        Ok(batches)
    }

    /// Does a transaction; gives what has changed, if anything.
    pub fn apply(
        &mut self,
        transaction: &Transaction,
        lives: impl Fn(LeaseId) -> bool,
    ) -> Result<Option<Batch>, Error> {
        for (key, expected) in &transaction.expect {
            if self.revision_of(key)? != *expected {
                return Err(Error::Conflict { key: key.clone() });
            }
        }
        let dead = |write: &Write| matches!(write, Write::Put { lease: Some(lease), .. } if !lives(*lease));
        if transaction.writes.iter().any(dead) {
            return Err(Error::NoLease);
        }
        self.write_all(&transaction.writes)
    }

    fn write_all(&mut self, writes: &[Write]) -> Result<Option<Batch>, Error> {
        let revision = self.revision + 1;
        let changes: Result<Vec<Option<Change>>, Error> = writes
            .iter()
            .map(|write| self.write(write, revision))
            .collect();
        self.is_torn |= changes.is_err();
        Ok(self.done(revision, changes?.into_iter().flatten().collect()))
    }

    fn done(&mut self, revision: Revision, mut changes: Vec<Change>) -> Option<Batch> {
        if changes.is_empty() {
            return None;
        }
        self.revision = revision;
        changes.sort_by(|one, other| one.key().cmp(other.key()));
        Some(Batch { revision, changes })
    }

    fn write(&self, write: &Write, revision: Revision) -> Result<Option<Change>, Error> {
        let value = match write {
            Write::Put { key, value, lease } => {
                self.connection
                    .prepare_cached("INSERT INTO entry VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO UPDATE SET value = ?2, revision = ?3, lease = ?4")?
                    .execute(params![key, value, stored(revision), lease.map(|lease| lease.0)])?;
                Some(value.clone())
            }
            Write::Delete { key } => {
                let removed = self
                    .connection
                    .prepare_cached("DELETE FROM entry WHERE key = ?1")?
                    .execute([key])?;
                if removed == 0 {
                    return Ok(None);
                }
                None
            }
        };
        let key = write.key();
        self.connection
            .prepare_cached("INSERT OR REPLACE INTO change VALUES (?1, ?2, ?3)")?
            .execute(params![stored(revision), key, value])?;
        Ok(Some(changed(key.to_owned(), value, revision)))
    }

    fn revision_of(&self, key: &str) -> Result<Revision, Error> {
        let found: Option<i64> = self
            .connection
            .prepare_cached("SELECT revision FROM entry WHERE key = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()?;
        Ok(found.map_or(0, number))
    }

    /// Makes a lease.
    pub fn grant(&self, ttl: u32) -> Result<LeaseId, Error> {
        self.connection
            .prepare_cached("INSERT INTO lease (ttl) VALUES (?1)")?
            .execute([ttl])?;
        Ok(LeaseId(self.connection.last_insert_rowid()))
    }

    /// Removes a lease and its keys.
    pub fn end_lease(&mut self, lease: LeaseId) -> Result<Option<Batch>, Error> {
        let keys: Vec<String> = {
            let mut select = self
                .connection
                .prepare_cached("SELECT key FROM entry WHERE lease = ?1")?;
            let rows = select.query_map([lease.0], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        self.connection
            .prepare_cached("DELETE FROM lease WHERE id = ?1")?
            .execute([lease.0])?;
        let writes: Vec<Write> = keys.into_iter().map(Write::delete).collect();
        self.write_all(&writes)
    }

    /// From now on this key cannot be written, as if the disk failed just then.
    #[cfg(test)]
    pub fn refuse(&self, key: &str) {
        let trigger = format!(
            "CREATE TEMP TRIGGER IF NOT EXISTS refuse BEFORE INSERT ON main.entry WHEN NEW.key = '{key}' BEGIN SELECT RAISE(FAIL, 'refused'); END"
        );
        self.connection.execute_batch(&trigger).unwrap_or_default();
    }

    /// Forgets changes before `revision`.
    pub fn compact(&mut self, revision: Revision) -> Result<(), Error> {
        let last = revision.saturating_sub(1).min(self.revision);
        self.forgotten = self.forgotten.max(last);
        Ok(())
    }
}

fn changed(key: String, value: Option<Vec<u8>>, revision: Revision) -> Change {
    match value {
        Some(value) => Change::Put(Entry {
            key,
            value,
            revision,
        }),
        None => Change::Delete { key, revision },
    }
}

/// The first text after all that begin with `prefix`. Keys are ASCII; after a key's characters comes nothing greater than U+10FFFF.
fn end_of(prefix: &str) -> String {
    format!("{prefix}\u{10ffff}")
}
