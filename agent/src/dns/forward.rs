//! What is not ours: asked of the host's resolvers, one after the other, each question once however many ask it at the same time.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use super::cache::{Cache, Kept, Key};
use super::message::Message;
use super::query::Query;
use super::resolvers::Resolvers;
use super::stats::Stats;
use super::upstream::{self, Fault};
use super::wire::Rcode;
use crate::gate::{Gate, Place};

/// Queries that wait for other resolvers at the same time, in all and of each address.
const AT_ONCE: (usize, usize) = (1024, 256);
/// For how long a silent resolver is asked last.
const AVOIDED: Duration = Duration::from_secs(30);
/// Questions to resolvers for one query.
const TRIES: usize = 3;
/// For all of them: most clients are still there.
const DEADLINE: Duration = Duration::from_secs(5);

/// What came of a question; the time is when.
type Answer = Option<(Arc<Message>, Instant)>;

/// Asks other resolvers, and remembers what they said.
#[derive(Debug)]
pub struct Forwarder {
    stats: Arc<Stats>,
    cache: Mutex<Cache>,
    resolvers: Mutex<Resolvers>,
    silent: Mutex<HashMap<SocketAddr, Instant>>,
    asked: Mutex<HashMap<Box<[u8]>, watch::Receiver<Answer>>>,
    waiting: Arc<Gate>,
}

/// A lock's content. Whoever held it cannot have left it half changed: nothing in between may fail.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Forwarder {
    /// One that asks `resolvers`.
    #[must_use]
    pub fn new(resolvers: Resolvers, stats: Arc<Stats>) -> Self {
        Self {
            stats,
            cache: Mutex::default(),
            resolvers: Mutex::new(resolvers),
            silent: Mutex::default(),
            asked: Mutex::default(),
            waiting: Gate::new(AT_ONCE.0, AT_ONCE.1),
        }
    }

    /// Leave for `client` to wait. `None`: too many wait, in all or of its own.
    #[must_use]
    pub fn admit(&self, client: IpAddr) -> Option<Place> {
        self.waiting.enter(client)
    }

    /// What was said before and still holds.
    #[must_use]
    pub fn remembered(&self, query: &Query<'_>, now: Instant) -> Option<Kept> {
        let key = Key::new(query);
        let kept = lock(&self.cache).get(key.as_bytes(), now);
        kept.filter(|kept| kept.is_fresh(now))
    }

    /// What the resolvers say; what they said before when none of them answers now. `None`: nothing.
    pub async fn ask(&self, query: &Query<'_>) -> Answer {
        let key = Key::new(query);
        let flight = Flight::join(self, &key);
        match flight {
            Flight::Other(mut other) => match other.wait_for(Option::is_some).await {
                Ok(answer) => answer.clone(),
                Err(_) => None,
            },
            Flight::Own(own) => {
                let answer = self.ask_all(query, &key).await;
                if answer.is_some() {
                    own.said.send_replace(answer.clone());
                }
                answer
            }
        }
    }

    async fn ask_all(&self, query: &Query<'_>, key: &Key) -> Answer {
        let servers = self.servers();
        if servers.is_empty() {
            let what = "the host's resolv.conf names no other resolver: only the project's own names can be answered";
            self.stats.nobody_to_ask.tell(what);
            return None;
        }
        self.stats.nobody_to_ask.over();
        let mut tried = Tried::default();
        let asking = self.ask_each(&servers, query, &mut tried);
        if let Ok(Some((server, message))) = timeout(DEADLINE, asking).await {
            return Some(self.keep(server, key, message));
        }
        let stale = lock(&self.cache).get(key.as_bytes(), Instant::now());
        if let Some(stale) = stale {
            return Some((stale.message, stale.came));
        }
        if tried.failure.is_none() {
            self.tell(&servers, tried.fault);
        }
        let failure = tried.failure?;
        Some((Arc::new(failure), Instant::now()))
    }

    /// The first good answer, and whose it is.
    async fn ask_each(
        &self,
        servers: &[SocketAddr],
        query: &Query<'_>,
        tried: &mut Tried,
    ) -> Option<(SocketAddr, Message)> {
        let tries = if servers.len() == 1 { 2 } else { TRIES };
        for server in servers.iter().cycle().take(tries) {
            match upstream::ask(*server, query).await {
                Ok(message) if has_failed(&message) => tried.failure = Some(message),
                Ok(message) => return Some((*server, message)),
                Err(fault) => {
                    lock(&self.silent).insert(*server, Instant::now());
                    tried.fault = Some(fault);
                }
            }
        }
        None
    }

    fn tell(&self, servers: &[SocketAddr], fault: Option<Fault>) {
        let names: Vec<String> = servers.iter().map(ToString::to_string).collect();
        let names = names.join(", ");
        let fault = fault.map_or(String::new(), |fault| format!(" ({fault})"));
        let what = format!(
            "none of the host's resolvers answers: {names}{fault}; containers find each other, but no names of others: look at the host's network and resolv.conf"
        );
        self.stats.nobody_answers.tell(what);
    }

    fn keep(&self, server: SocketAddr, key: &Key, message: Message) -> (Arc<Message>, Instant) {
        self.stats.nobody_answers.over();
        lock(&self.silent).remove(&server);
        let (message, now) = (Arc::new(message), Instant::now());
        lock(&self.cache).keep(key, &message, now);
        (message, now)
    }

    /// Whom to ask, those last that were silent a moment ago.
    fn servers(&self) -> Vec<SocketAddr> {
        let now = Instant::now();
        let (mut servers, is_new) = {
            let mut resolvers = lock(&self.resolvers);
            let (servers, is_new) = resolvers.current(now);
            (servers.to_vec(), is_new)
        };
        let mut silent = lock(&self.silent);
        if is_new {
            silent.clear();
            lock(&self.cache).clear();
        }
        silent.retain(|_, since| now < *since + AVOIDED);
        servers.sort_by_key(|server| silent.contains_key(server));
        servers
    }
}

/// What came of those that gave nothing good.
#[derive(Debug, Default)]
struct Tried {
    /// The last word of one that cannot do better.
    failure: Option<Message>,
    /// Why the last one gave no answer.
    fault: Option<Fault>,
}

/// Another resolver may do better.
fn has_failed(message: &Message) -> bool {
    let failures = [
        Rcode::ServFail,
        Rcode::Refused,
        Rcode::NotImp,
        Rcode::FormErr,
    ];
    failures
        .iter()
        .any(|rcode| *rcode as u16 == message.rcode())
}

/// A question that is being asked.
enum Flight<'a> {
    /// By somebody else.
    Other(watch::Receiver<Answer>),
    /// By ourselves.
    Own(Own<'a>),
}

/// Ends the flight whatever becomes of its task: those who wait see the channel closed.
struct Own<'a> {
    forwarder: &'a Forwarder,
    key: Box<[u8]>,
    said: watch::Sender<Answer>,
}

impl<'a> Flight<'a> {
    fn join(forwarder: &'a Forwarder, key: &Key) -> Self {
        let mut asked = lock(&forwarder.asked);
        if let Some(other) = asked.get(key.as_bytes()) {
            return Self::Other(other.clone());
        }
        let (said, listen) = watch::channel(None);
        let key: Box<[u8]> = key.as_bytes().into();
        asked.insert(key.clone(), listen);
        Self::Own(Own {
            forwarder,
            key,
            said,
        })
    }
}

impl Drop for Own<'_> {
    fn drop(&mut self) {
        lock(&self.forwarder.asked).remove(&self.key);
    }
}
