//! All agents' streams of this server: one feed a project, one session a host. A stream knows how far it has told its agent, and takes what
//! comes next from the feed when the agent has room for it: nothing waits for a slow agent but what all share.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::Id;
use api::problem::{Problem, Reason};
use bytes::Bytes;
use tokio::sync::{Notify, OwnedMutexGuard, broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::facts;
use super::feed::{Feed, Position};
use super::history::History;
use super::report::LastReport;
use super::servers::Servers;
use super::sessions::Sessions;
use crate::mirror::{Followed, Mirror};
use crate::store::{self, Batch, Change, Entry, Revision, Store};

/// Changes that come within this time after a frame share the next one: the more hosts, the longer, so that what is sent does not grow
/// with the square of the cluster. What comes alone is told at once.
const TOGETHER_PER_HOST: Duration = Duration::from_micros(50);
const TOGETHER: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));
/// Longest wait for what the mirror shows already.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is said of a host that a second machine uses its identity.
const CONFLICT: Duration = Duration::from_secs(600);

/// All streams.
#[derive(Debug, Clone)]
pub struct Hub {
    streams: Arc<Mutex<Streams>>,
    changed: Arc<Notify>,
    told: watch::Sender<Revision>,
    servers: watch::Sender<Bytes>,
}

#[derive(Debug, Default)]
struct Streams {
    /// Name of the store's history.
    store: String,
    /// Its earlier names, with the last revisions that they are good for.
    stores_before: HashMap<String, Revision>,
    revision: Revision,
    projects: HashMap<Id, ProjectStreams>,
    sessions: Sessions,
    is_cut_off: bool,
    servers: Servers,
    /// The last report of each host.
    reports: HashMap<Id, Arc<tokio::sync::Mutex<LastReport>>>,
    /// When it was last said of a host that a second machine uses its identity.
    conflicts: HashMap<Id, Instant>,
}

#[derive(Debug)]
struct ProjectStreams {
    feed: Feed,
    news: watch::Sender<()>,
    /// Held by whoever makes a frame of everything: one serves all.
    encoding: Arc<tokio::sync::Mutex<()>>,
}

/// A new stream: what wakes it, and what ends it.
#[derive(Debug)]
pub struct Attached {
    /// There is something to tell of the project.
    pub news: watch::Receiver<()>,
    /// Where the servers are, as a frame.
    pub servers: watch::Receiver<Bytes>,
    /// Ends the stream.
    pub stop: CancellationToken,
    /// Number of this session.
    pub session: u64,
}

impl Hub {
    /// Follows the mirror of `store` until `stop`.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn start(
        store: &dyn Store,
        mirror: &Mirror,
        stop: CancellationToken,
    ) -> Result<Self, store::Error> {
        let Followed {
            revision,
            entries,
            batches,
        } = mirror.follow_from_here("/");
        let mut streams = Streams::new(&store.id().await?, revision, &entries);
        streams.stores_before = store.ids_before().await?.into_iter().collect();
        streams.recall(&History::read(store, revision).await);
        let hub = Self {
            servers: watch::Sender::new(streams.servers.frame()),
            streams: Arc::new(Mutex::new(streams)),
            changed: Arc::default(),
            told: watch::Sender::new(revision),
        };
        let (follower, mirror) = (hub.clone(), mirror.clone());
        tokio::spawn(async move {
            let follow = follower.follow(&mirror, batches);
            stop.run_until_cancelled(follow).await;
        });
        Ok(hub)
    }

    async fn follow(&self, mirror: &Mirror, mut batches: broadcast::Receiver<Arc<Batch>>) {
        use broadcast::error::RecvError;
        let mut next = Instant::now();
        loop {
            match batches.recv().await {
                Ok(batch) => {
                    tokio::time::sleep_until(next.into()).await;
                    let (mut revision, mut changes) = (batch.revision, batch.changes.clone());
                    while let Ok(next) = batches.try_recv() {
                        revision = next.revision;
                        changes.extend(next.changes.iter().cloned());
                    }
                    self.take(revision, changes);
                    next = Instant::now() + self.pause();
                }
                Err(RecvError::Closed) => return,
                Err(RecvError::Lagged(_)) => {
                    let followed = mirror.follow_from_here("/");
                    batches = followed.batches;
                    self.catch_up(followed.revision, &followed.entries);
                }
            }
        }
    }

    fn pause(&self) -> Duration {
        let hosts = self.with(|streams| streams.sessions.count());
        let pause = TOGETHER_PER_HOST * u32::try_from(hosts).unwrap_or(u32::MAX);
        pause.clamp(TOGETHER.0, TOGETHER.1)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Streams) -> T) -> T {
        act(&mut self.streams.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(&self, revision: Revision, changes: Vec<Change>) {
        self.with(|streams| {
            streams.revision = revision;
            let is_news = changes
                .iter()
                .fold(false, |any, change| streams.servers.take(change) | any);
            if is_news {
                self.servers.send_replace(streams.servers.frame());
            }
            let mut by_project: HashMap<Id, Vec<Change>> = HashMap::new();
            for change in changes {
                if let Some(project) = facts::project_of(change.key()) {
                    by_project.entry(project).or_default().push(change);
                }
            }
            for (project, changes) in by_project {
                for host in streams.project(&project).take(revision, &changes) {
                    streams.reports.remove(&host);
                    streams.conflicts.remove(&host);
                    if streams.sessions.remove(&host) {
                        self.changed.notify_one();
                    }
                }
            }
        });
        self.told.send_replace(revision);
    }

    /// Changes were missed: finds out what they have led to.
    fn catch_up(&self, revision: Revision, entries: &[Arc<Entry>]) {
        let put = entries.iter().map(|entry| Change::Put((**entry).clone()));
        let mut changes: Vec<Change> = put.collect();
        let keys: BTreeSet<&str> = entries.iter().map(|entry| &*entry.key).collect();
        self.with(|streams| {
            for (id, project) in &streams.projects {
                changes.extend(project.feed.surplus(id, &keys, revision));
            }
        });
        self.take(revision, changes);
    }

    /// What an agent knows, by the name that the store's history has now, when it knows it by an earlier one. A revision of a history that was
    /// lost, by restoring a copy, has none: who knows it is told everything.
    #[must_use]
    pub fn rename(&self, known: &Position) -> Option<Position> {
        self.with(|streams| {
            let last = streams.stores_before.get(&known.store)?;
            (known.revision <= *last).then(|| Position {
                store: streams.store.clone(),
                revision: known.revision,
            })
        })
    }

    /// Whether this is the history that it tells of.
    #[must_use]
    pub fn is_of(&self, store: &str) -> bool {
        self.with(|streams| streams.store == store)
    }

    /// A new stream of a host.
    ///
    /// # Errors
    /// When another machine uses the same identity.
    pub fn attach(&self, project: &Id, host: &Id, instance: &str) -> Result<Attached, Problem> {
        self.with(|streams| {
            if streams.is_cut_off {
                let title = "this server does not reach its store";
                return Err(Problem::new(Reason::Unavailable, title).advise("try another server"));
            }
            let (session, stop) = streams.sessions.begin(project, host, instance)?;
            self.changed.notify_one();
            Ok(Attached {
                news: streams.project(project).news.subscribe(),
                servers: self.servers.subscribe(),
                stop,
                session,
            })
        })
    }

    /// The instance of the host's agent that is connected here.
    #[must_use]
    pub fn heard_as(&self, host: &Id) -> Option<String> {
        self.with(|streams| streams.sessions.heard_as(host))
    }

    /// Whether it is time to tell people that a second machine uses the identity of a host.
    #[must_use]
    pub fn is_to_be_told(&self, host: &Id) -> bool {
        let now = Instant::now();
        self.with(|streams| {
            let known = streams.conflicts.get(host);
            let is_due = known.is_none_or(|last| now.duration_since(*last) >= CONFLICT);
            if is_due {
                streams.conflicts.insert(host.clone(), now);
            }
            is_due
        })
    }

    /// Ends the session of a host's agent; it comes anew.
    pub fn send_away(&self, host: &Id, instance: &str) {
        self.with(|streams| streams.sessions.send_away(host, instance));
    }

    /// Ends a session, unless another has taken its place.
    pub fn detach(&self, host: &Id, number: u64) {
        if self.with(|streams| streams.sessions.end(host, number)) {
            self.changed.notify_one();
        }
    }

    /// The frames that an agent is to be told, which knows `known`; then it knows what they lead to. `None`: the server ends.
    pub async fn next(&self, project: &Id, known: &mut Position) -> Option<Vec<Bytes>> {
        loop {
            let (missed, encoding) = self.with(|streams| streams.missed(project, known));
            if missed.is_some() {
                return missed;
            }
            let _alone = encoding.lock().await;
            // Another may have made it meanwhile.
            let (missed, _) = self.with(|streams| streams.missed(project, known));
            if missed.is_some() {
                return missed;
            }
            let draft = self.with(|streams| streams.project(project).feed.draft());
            let whole = tokio::task::spawn_blocking(|| draft.encode()).await.ok()?;
            self.with(|streams| streams.project(project).feed.keep(whole));
        }
    }

    /// Waits until it has told what the mirror shows at `revision`, or for a moment.
    pub async fn reach(&self, revision: Revision) {
        let mut told = self.told.subscribe();
        let reached = told.wait_for(|told| *told >= revision);
        tokio::time::timeout(PATIENCE, reached).await.ok();
    }

    /// Waits until no other report of a host is being taken.
    pub async fn turn(&self, host: &Id) -> OwnedMutexGuard<LastReport> {
        let last =
            self.with(|streams| Arc::clone(streams.reports.entry(host.clone()).or_default()));
        last.lock_owned().await
    }

    /// Returns when sessions have begun or ended since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// While the store does not answer, hosts are sent away: another server may be in a better place.
    pub fn cut_off(&self, is_so: bool) {
        self.with(|streams| {
            streams.is_cut_off = is_so;
            if is_so {
                streams.sessions.cut_off();
            }
        });
    }

    /// Hosts with an open session: project, id, instance.
    #[must_use]
    pub fn heard(&self) -> Vec<(Id, Id, String)> {
        self.with(|streams| streams.sessions.heard())
    }

    /// Ids of a host's containers.
    #[must_use]
    pub fn containers_of(&self, project: &Id, host: &Id) -> Vec<Id> {
        self.with(|streams| {
            let known = streams.project(project).feed.by_host().get(host);
            known
                .map(|ids| ids.iter().cloned().collect())
                .unwrap_or_default()
        })
    }

    /// Containers, with their projects, of hosts that are not known.
    #[must_use]
    pub fn strays(&self, is_known: impl Fn(&Id, &Id) -> bool) -> Vec<(Id, Id)> {
        self.with(|streams| {
            let mut strays = Vec::new();
            for (project, of_project) in &streams.projects {
                let unknown = of_project
                    .feed
                    .by_host()
                    .iter()
                    .filter(|(host, _)| !is_known(project, host));
                let ids = unknown.flat_map(|(_, ids)| ids.iter());
                strays.extend(ids.map(|id| (project.clone(), id.clone())));
            }
            strays
        })
    }
}

impl Streams {
    fn new(store: &str, revision: Revision, entries: &[Arc<Entry>]) -> Self {
        let mut streams = Self {
            store: store.to_owned(),
            revision,
            ..Self::default()
        };
        let mut by_project: HashMap<Id, Vec<&Entry>> = HashMap::new();
        for entry in entries {
            if let Some(project) = facts::project_of(&entry.key) {
                by_project.entry(project).or_default().push(entry);
            }
            streams.servers.take(&Change::Put((**entry).clone()));
        }
        for (project, entries) in by_project {
            let feed = Feed::new(store, revision, entries);
            streams.projects.insert(project, ProjectStreams::of(feed));
        }
        streams
    }

    fn recall(&mut self, history: &History) {
        for (id, project) in &mut self.projects {
            project.feed.recall(history.from, history.of_project(id));
        }
    }

    fn project(&mut self, id: &Id) -> &mut ProjectStreams {
        let (store, revision) = (&self.store, self.revision);
        self.projects
            .entry(id.clone())
            .or_insert_with(|| ProjectStreams::of(Feed::new(store, revision, [])))
    }

    fn missed(
        &mut self,
        project: &Id,
        known: &mut Position,
    ) -> (Option<Vec<Bytes>>, Arc<tokio::sync::Mutex<()>>) {
        let shown = self.revision;
        let project = self.project(project);
        let missed = project.feed.missed(known, shown);
        (missed, Arc::clone(&project.encoding))
    }
}

impl ProjectStreams {
    fn of(feed: Feed) -> Self {
        Self {
            feed,
            news: watch::Sender::new(()),
            encoding: Arc::default(),
        }
    }

    /// Gives the hosts that are gone.
    fn take(&mut self, revision: Revision, changes: &[Change]) -> Vec<Id> {
        let Some(gone) = self.feed.take(revision, changes) else {
            return Vec::new();
        };
        self.news.send_replace(());
        gone
    }
}
