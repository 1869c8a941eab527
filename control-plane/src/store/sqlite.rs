//! The store in one SQLite file, for one server. A thread of its own owns the file; what waits is committed together, so that many
//! small changes share one write to the disk.

mod epochs;
mod file;
mod leases;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{Batch, Error, LeaseId, Revision, Snapshot, Store, Transaction, Watch, check};
use file::File;
use leases::Leases;

/// Commands that wait until the caller has to.
const QUEUE: usize = 1024;
/// Commands that share one write to the disk.
const TOGETHER: usize = 256;
/// Batches that a slow watcher may be behind before it reads the file instead.
const BEHIND: usize = 4096;
/// How exactly leases end.
const TICK: Duration = Duration::from_millis(250);

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{0} is used by another server")]
    InUse(PathBuf),
    /// It was made by a later release.
    #[error("{0} was written by a later release of ros; use that one")]
    Newer(PathBuf),
    /// It is damaged, or no such file.
    #[error("{0} is damaged: {1}; restore a copy of it")]
    Damaged(PathBuf, String),
    /// It cannot be read or written.
    #[error("cannot open {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The store in one file.
#[derive(Debug, Clone)]
pub struct Sqlite {
    id: Arc<str>,
    before: Arc<[(String, Revision)]>,
    commands: mpsc::Sender<Command>,
}

type Answer<T> = oneshot::Sender<Result<T, Error>>;

#[derive(Debug)]
enum Command {
    Snapshot(String, Answer<Snapshot>),
    Commit(Transaction, Answer<Revision>),
    Follow(Revision, Answer<Followed>),
    Grant(u32, Answer<LeaseId>),
    Keep(LeaseId, Answer<()>),
    Revoke(LeaseId, Answer<()>),
    Compact(Revision, Answer<()>),
    Tick,
}

/// What there was, and what is to come: nothing lies between.
#[derive(Debug)]
struct Followed {
    past: Vec<Batch>,
    future: broadcast::Receiver<Arc<Batch>>,
}

impl Sqlite {
    /// Opens the file, or makes it, readable for its owner only.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let file = File::open(path)?;
        let (sender, commands) = mpsc::channel(QUEUE);
        let epochs = file.epochs();
        let (id, before) = (epochs.name.as_str().into(), epochs.before.as_slice().into());
        let keeper = Keeper {
            leases: Leases::of(
                file.leases().map_err(|error| error.at(path))?,
                Instant::now(),
            ),
            file,
            changes: broadcast::channel(BEHIND).0,
        };
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || keeper.run(commands))
            .map_err(|error| OpenError::Open {
                path: path.to_owned(),
                source: error.into(),
            })?;
        let ticks = sender.downgrade();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                let Some(commands) = ticks.upgrade() else {
                    return;
                };
                if commands.send(Command::Tick).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            id,
            before,
            commands: sender,
        })
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let ended = || Error::Unavailable("its thread has ended".into());
        self.commands
            .send(command(answer))
            .await
            .map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn id(&self) -> Result<String, Error> {
        Ok(self.id.to_string())
    }

    async fn ids_before(&self) -> Result<Vec<(String, Revision)>, Error> {
        Ok(self.before.to_vec())
    }

    async fn snapshot(&self, prefix: &str) -> Result<Snapshot, Error> {
        let prefix = prefix.to_owned();
        self.ask(|answer| Command::Snapshot(prefix, answer)).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, Error> {
        check(&transaction)?;
        self.ask(|answer| Command::Commit(transaction, answer))
            .await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        let first = self.ask(|answer| Command::Follow(after, answer)).await?;
        let (sender, watch) = mpsc::channel(64);
        let (store, prefix) = (self.clone(), prefix.to_owned());
        tokio::spawn(async move {
            tokio::select! {
                () = sender.closed() => {}
                () = store.follow(first, after, &prefix, &sender) => {}
            }
        });
        Ok(watch)
    }

    async fn grant(&self, ttl: u32) -> Result<LeaseId, Error> {
        self.ask(|answer| Command::Grant(ttl, answer)).await
    }

    async fn keep(&self, lease: LeaseId) -> Result<(), Error> {
        self.ask(|answer| Command::Keep(lease, answer)).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.ask(|answer| Command::Revoke(lease, answer)).await
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.ask(|answer| Command::Compact(revision, answer)).await
    }
}

impl Sqlite {
    /// Passes on what concerns `prefix`. Who cannot keep up with memory reads the file again, from where it was.
    async fn follow(
        &self,
        first: Followed,
        mut seen: Revision,
        prefix: &str,
        watch: &mpsc::Sender<Result<Batch, Error>>,
    ) {
        let mut followed = first;
        loop {
            for batch in std::mem::take(&mut followed.past) {
                seen = batch.revision;
                if !pass_on(&batch, prefix, watch).await {
                    return;
                }
            }
            match followed.future.recv().await {
                Ok(batch) => {
                    seen = batch.revision;
                    if !pass_on(&batch, prefix, watch).await {
                        return;
                    }
                }
                Err(broadcast::error::RecvError::Closed) => return,
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    match self.ask(|answer| Command::Follow(seen, answer)).await {
                        Ok(again) => followed = again,
                        Err(error) => {
                            watch.send(Err(error)).await.ok();
                            return;
                        }
                    }
                }
            }
        }
    }
}

async fn pass_on(batch: &Batch, prefix: &str, watch: &mpsc::Sender<Result<Batch, Error>>) -> bool {
    let changes: Vec<_> = batch
        .changes
        .iter()
        .filter(|change| change.key().starts_with(prefix))
        .cloned()
        .collect();
    if changes.is_empty() {
        return true;
    }
    let batch = Batch {
        revision: batch.revision,
        changes,
    };
    watch.send(Ok(batch)).await.is_ok()
}

/// Owns the file; runs on its thread.
struct Keeper {
    file: File,
    leases: Leases,
    changes: broadcast::Sender<Arc<Batch>>,
}

/// An answer that is held back until what it says is on the disk.
type Held = Box<dyn FnOnce(Result<(), Error>) + Send>;

impl Keeper {
    fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(first) = commands.blocking_recv() {
            let mut together = vec![first];
            while together.len() < TOGETHER
                && let Ok(next) = commands.try_recv()
            {
                together.push(next);
            }
            self.round(together);
        }
    }

    /// Does the commands in one transaction of the file; answers when it has reached the disk.
    fn round(&mut self, commands: Vec<Command>) {
        let mut held: Vec<Held> = Vec::new();
        let mut batches = Vec::new();
        let begun = self.file.begin();
        if let Err(error) = begun {
            let text = error.to_string();
            commands
                .into_iter()
                .for_each(|command| refuse(command, &text));
            return;
        }
        // There are few.
        let leases = self.leases.clone();
        let mut follows = Vec::new();
        for command in commands {
            match command {
                Command::Follow(after, answer) => follows.push((after, answer)),
                command => self.step(command, &mut held, &mut batches),
            }
        }
        let outcome = self.file.commit();
        let failure = outcome.as_ref().err().map(ToString::to_string);
        if failure.is_none() {
            for batch in batches {
                // Nobody may be listening.
                self.changes.send(Arc::new(batch)).ok();
            }
        } else {
            // Those of the file are there still: they end at a later tick.
            self.leases = leases;
        }
        for answer in held {
            answer(match &failure {
                None => Ok(()),
                Some(text) => Err(Error::Unavailable(text.clone().into())),
            });
        }
        // After the round, so that nothing lies between what the file says and what is to come.
        for (after, answer) in follows {
            let followed = self.file.since(after).map(|past| Followed {
                past,
                future: self.changes.subscribe(),
            });
            answer.send(followed).ok();
        }
    }

    fn step(&mut self, command: Command, held: &mut Vec<Held>, batches: &mut Vec<Batch>) {
        match command {
            Command::Snapshot(prefix, answer) => hold(held, answer, self.file.snapshot(&prefix)),
            Command::Commit(transaction, answer) => {
                let done = self.transact(&transaction, batches);
                hold(held, answer, done);
            }
            // Answered by `round`.
            Command::Follow(..) => {}
            Command::Grant(ttl, answer) => {
                let granted = self.file.grant(ttl);
                if let Ok(lease) = &granted {
                    self.leases.add(*lease, ttl, Instant::now());
                }
                hold(held, answer, granted);
            }
            Command::Keep(lease, answer) => {
                let kept = self.leases.keep(lease, Instant::now());
                hold(held, answer, kept.then_some(()).ok_or(Error::NoLease));
            }
            Command::Revoke(lease, answer) => {
                let ended = self.end(lease, batches);
                hold(held, answer, ended);
            }
            Command::Compact(revision, answer) => hold(held, answer, self.file.compact(revision)),
            Command::Tick => {
                for lease in self.leases.ended(Instant::now()) {
                    // Tried again at the next tick when the file refuses.
                    self.end(lease, batches).ok();
                }
            }
        }
    }

    fn transact(
        &mut self,
        transaction: &Transaction,
        batches: &mut Vec<Batch>,
    ) -> Result<Revision, Error> {
        let leases = &self.leases;
        let batch = self.file.apply(transaction, |lease| leases.lives(lease))?;
        let revision = self.file.revision();
        batches.extend(batch);
        Ok(revision)
    }

    fn end(&mut self, lease: LeaseId, batches: &mut Vec<Batch>) -> Result<(), Error> {
        batches.extend(self.file.end_lease(lease)?);
        self.leases.remove(lease);
        Ok(())
    }
}

fn hold<T: Send + 'static>(held: &mut Vec<Held>, answer: Answer<T>, result: Result<T, Error>) {
    held.push(Box::new(move |outcome| {
        // Who asked may have left.
        answer.send(outcome.and(result)).ok();
    }));
}

fn refuse(command: Command, why: &str) {
    fn no<T>(answer: Answer<T>, why: &str) {
        answer
            .send(Err(Error::Unavailable(why.to_owned().into())))
            .ok();
    }
    match command {
        Command::Snapshot(_, answer) => no(answer, why),
        Command::Commit(_, answer) => no(answer, why),
        Command::Follow(_, answer) => no(answer, why),
        Command::Grant(_, answer) => no(answer, why),
        Command::Keep(_, answer) | Command::Revoke(_, answer) | Command::Compact(_, answer) => {
            no(answer, why);
        }
        Command::Tick => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Write;

    fn put(key: &str, lease: Option<LeaseId>) -> Transaction {
        let (key, value) = (key.to_owned(), Vec::new());
        let writes = vec![Write::Put { key, value, lease }];
        Transaction {
            writes,
            ..Transaction::default()
        }
    }

    fn answered<T>(answer: oneshot::Receiver<Result<T, Error>>) -> Result<T, Error> {
        answer.blocking_recv().unwrap()
    }

    /// Does one round, in which the last command fails half-way when `is_torn`.
    fn round(keeper: &mut Keeper, mut commands: Vec<Command>, is_torn: bool) {
        if is_torn {
            keeper.file.refuse("/torn");
            commands.push(Command::Commit(put("/torn", None), oneshot::channel().0));
        }
        keeper.round(commands);
    }

    #[test]
    fn a_lease_ends_although_the_disk_refused_it_at_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = Keeper {
            file: File::open(&folder.path().join("store")).unwrap(),
            leases: Leases::default(),
            changes: broadcast::channel(BEHIND).0,
        };
        let (answer, granted) = oneshot::channel();
        // It ends at once.
        round(&mut keeper, vec![Command::Grant(0, answer)], false);
        let lease = answered(granted).unwrap();
        let (answer, done) = oneshot::channel();
        let leased = Command::Commit(put("/leader", Some(lease)), answer);
        round(&mut keeper, vec![leased], false);
        answered(done).unwrap();
        round(&mut keeper, vec![Command::Tick], true);
        assert_eq!(keeper.file.snapshot("/").unwrap().entries.len(), 1);
        round(&mut keeper, vec![Command::Tick], false);
        assert_eq!(keeper.file.snapshot("/").unwrap().entries, []);
        // One that was granted in a round that failed is none.
        let (answer, granted) = oneshot::channel();
        round(&mut keeper, vec![Command::Grant(9, answer)], true);
        assert!(matches!(answered(granted), Err(Error::Unavailable(_))));
        assert_eq!(keeper.file.leases().unwrap(), []);
        assert!(keeper.leases.is_empty());
    }
}
