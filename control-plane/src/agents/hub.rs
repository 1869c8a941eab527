//! All agents' streams of this server: one feed a project, one session a host.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::Id;
use api::agent::Frame;
use api::problem::{Problem, Reason};
use bytes::Bytes;
use tokio::sync::{Notify, OwnedMutexGuard, broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::feed::{self, Feed};
use super::report::LastReport;
use super::servers::Servers;
use crate::http::lines::line;
use crate::mirror::Mirror;
use crate::store::{Batch, Change, Revision};

/// Frames that a slow agent may be behind; then it connects anew.
const BEHIND: usize = 256;
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
}

#[derive(Debug, Default)]
struct Streams {
    store: String,
    revision: Revision,
    projects: HashMap<Id, ProjectStreams>,
    sessions: HashMap<Id, Session>,
    last_session: u64,
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
    frames: broadcast::Sender<Bytes>,
}

#[derive(Debug)]
struct Session {
    number: u64,
    project: Id,
    instance: String,
    is_open: bool,
    stop: CancellationToken,
}

/// What a new stream begins with, and where it goes on.
#[derive(Debug)]
pub struct Attached {
    /// Frames to send at once.
    pub first: Vec<Bytes>,
    /// Frames to come.
    pub frames: broadcast::Receiver<Bytes>,
    /// Ends the stream.
    pub stop: CancellationToken,
    /// Number of this session.
    pub session: u64,
}

impl Hub {
    /// Follows the mirror until `stop`.
    #[must_use]
    pub fn start(store: &str, mirror: &Mirror, stop: CancellationToken) -> Self {
        let followed = mirror.follow_from_here("/");
        let streams = Streams {
            store: store.to_owned(),
            revision: followed.revision,
            ..Streams::default()
        };
        let hub = Self {
            streams: Arc::new(Mutex::new(streams)),
            changed: Arc::default(),
            told: watch::Sender::new(0),
        };
        let known = followed
            .entries
            .iter()
            .map(|entry| Change::Put((**entry).clone()));
        hub.take(followed.revision, known.collect());
        let (follower, mirror) = (hub.clone(), mirror.clone());
        tokio::spawn(async move {
            let follow = follower.follow(&mirror, followed.batches);
            stop.run_until_cancelled(follow).await;
        });
        hub
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
                    let all: Vec<Change> = followed
                        .entries
                        .iter()
                        .map(|entry| Change::Put((**entry).clone()))
                        .collect();
                    self.replace(followed.revision, all);
                }
            }
        }
    }

    fn pause(&self) -> Duration {
        let hosts = self.with(|streams| streams.sessions.len());
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
                let frame = streams.servers.frame();
                for project in streams.projects.values() {
                    // Nobody may listen.
                    project.frames.send(frame.clone()).ok();
                }
            }
            let mut by_project: HashMap<Id, Vec<Change>> = HashMap::new();
            for change in changes {
                if let Some(project) = feed::project_of(change.key()) {
                    by_project.entry(project).or_default().push(change);
                }
            }
            for (project, changes) in by_project {
                for host in streams.project(&project).take(revision, &changes) {
                    // Its stream says farewell.
                    streams.reports.remove(&host);
                    streams.conflicts.remove(&host);
                    if let Some(session) = streams.sessions.remove(&host) {
                        session.stop.cancel();
                        self.changed.notify_one();
                    }
                }
            }
        });
        self.told.send_replace(revision);
    }

    /// Begins all feeds anew: changes were missed. Agents connect again.
    fn replace(&self, revision: Revision, all: Vec<Change>) {
        self.with(|streams| {
            streams.projects.clear();
            streams.servers = Servers::default();
        });
        self.take(revision, all);
    }

    /// Whether this is the store that it tells of.
    #[must_use]
    pub fn is_of(&self, store: &str) -> bool {
        self.with(|streams| streams.store == store)
    }

    /// A new stream of a host that knows the state `known` of the store `store`.
    ///
    /// # Errors
    /// When another machine uses the same identity.
    pub fn attach(
        &self,
        project: &Id,
        host: &Id,
        instance: &str,
        (store, known): (&str, Revision),
    ) -> Result<Attached, Problem> {
        self.with(|streams| {
            if streams.is_cut_off {
                let title = "this server does not reach its store";
                return Err(Problem::new(Reason::Unavailable, title).advise("try another server"));
            }
            let (session, stop) = streams.begin_session(project, host, instance)?;
            self.changed.notify_one();
            let mut first = vec![streams.servers.frame()];
            let project = streams.project(project);
            first.extend(project.feed.first(store, known));
            Ok(Attached {
                frames: project.frames.subscribe(),
                first,
                stop,
                session,
            })
        })
    }

    /// The instance of the host's agent that is connected here.
    #[must_use]
    pub fn heard_as(&self, host: &Id) -> Option<String> {
        self.with(|streams| {
            let session = streams.sessions.get(host)?;
            session.is_open.then(|| session.instance.clone())
        })
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
        self.with(|streams| {
            let session = streams.sessions.get(host);
            if let Some(session) = session.filter(|session| session.instance == instance) {
                session.stop.cancel();
            }
        });
    }

    /// Ends a session, unless another has taken its place.
    pub fn detach(&self, host: &Id, number: u64) {
        self.with(|streams| {
            let session = streams.sessions.get_mut(host);
            if let Some(session) = session.filter(|session| session.number == number) {
                session.is_open = false;
                self.changed.notify_one();
            }
        });
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
                let sessions = streams.sessions.values();
                sessions.for_each(|session| session.stop.cancel());
            }
        });
    }

    /// Hosts with an open session: project, id, instance.
    #[must_use]
    pub fn heard(&self) -> Vec<(Id, Id, String)> {
        self.with(|streams| {
            let open = streams
                .sessions
                .iter()
                .filter(|(_, session)| session.is_open);
            open.map(|(host, session)| {
                (
                    session.project.clone(),
                    host.clone(),
                    session.instance.clone(),
                )
            })
            .collect()
        })
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

    /// The frame that says that nothing has happened.
    #[must_use]
    pub fn alive(&self, project: &Id) -> Bytes {
        self.with(|streams| {
            let revision = streams.project(project).feed.revision();
            line(&Frame::Alive { revision })
        })
    }
}

impl Streams {
    fn project(&mut self, id: &Id) -> &mut ProjectStreams {
        let (store, revision) = (&self.store, self.revision);
        self.projects
            .entry(id.clone())
            .or_insert_with(|| ProjectStreams {
                feed: Feed::new(store, revision),
                frames: broadcast::channel(BEHIND).0,
            })
    }

    /// The same agent may come anew. Another one may not while the first is heard: it is a second machine with the same identity, or the
    /// host after a sudden end, whose old connection is found to be dead within seconds.
    fn begin_session(
        &mut self,
        project: &Id,
        host: &Id,
        instance: &str,
    ) -> Result<(u64, CancellationToken), Problem> {
        if let Some(old) = self.sessions.get(host) {
            if old.is_open && old.instance != instance {
                return Err(in_use());
            }
            old.stop.cancel();
        }
        self.last_session += 1;
        let (number, stop) = (self.last_session, CancellationToken::new());
        let session = Session {
            number,
            project: project.clone(),
            instance: instance.to_owned(),
            is_open: true,
            stop: stop.clone(),
        };
        self.sessions.insert(host.clone(), session);
        Ok((number, stop))
    }
}

/// A second machine uses the identity of a host.
#[must_use]
pub fn in_use() -> Problem {
    Problem::new(
        Reason::Exists,
        "another machine is connected with the identity of this host",
    )
    .advise("was its disk cloned? On the copy: `ros agent leave --local`, then join it with a token; after a sudden restart of the host it is let in within seconds")
}

impl ProjectStreams {
    /// Gives the hosts that are gone.
    fn take(&mut self, revision: Revision, changes: &[Change]) -> Vec<Id> {
        let Some(news) = self.feed.take(revision, changes) else {
            return Vec::new();
        };
        // Nobody may listen.
        self.frames.send(news.frame).ok();
        news.gone
    }
}
