//! Servers, and members of etcd, are killed at random while hosts join and report and everybody listens: what was acknowledged is there,
//! nothing is given out twice, and who comes back misses nothing and hears nothing twice.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster;
mod etcd_cluster;
mod processes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::agent::{Fact, Frame, Report, Seen};
use api::list::{Change, List};
use api::{Container, Host, Id};
use cluster::{Desk, Member, container};
use control_plane::store::{Etcd, Sqlite, Store};
use processes::Process;
use serde_json::json;
use tokio::task::JoinSet;

/// Hosts that join, one after the other in so many rows.
const ROWS: usize = 4;
const HOSTS: usize = 6;
/// How long harm is done.
const HARM: Duration = Duration::from_secs(20);
/// Longest wait for an answer; then the question is asked again, perhaps elsewhere.
const ANSWER: Duration = Duration::from_secs(4);
/// Longest wait for anything to be well when no harm is done any more.
const REST: Duration = Duration::from_secs(40);

/// Not a test of its own: the process of a server.
#[tokio::test]
async fn server_process() {
    processes::serve_if_asked().await;
}

/// What everybody shares.
#[derive(Clone)]
struct Field {
    desk: Desk,
    urls: Arc<Vec<String>>,
    /// Harm is over: what is asked now must be answered.
    is_calm: Arc<AtomicBool>,
    /// What each host was told was taken: its containers, by Docker's id.
    taken: Arc<Mutex<BTreeMap<Id, BTreeSet<String>>>>,
}

impl Field {
    fn any(&self) -> String {
        self.urls[rand::random_range(0..self.urls.len())].clone()
    }

    fn is_calm(&self) -> bool {
        self.is_calm.load(Ordering::Acquire)
    }

    /// Asks until there is an answer, of any server.
    async fn until_answered<T, F: Future<Output = Result<T, client::Error>>>(
        &self,
        what: &str,
        ask: impl Fn(String) -> F,
    ) -> T {
        let begun = Instant::now();
        loop {
            let why = match tokio::time::timeout(ANSWER, ask(self.any())).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(error)) => api::problem::chain(&error),
                Err(_) => "no answer".into(),
            };
            assert!(begun.elapsed() < HARM + REST, "{what}: {why}");
            tokio::time::sleep(Duration::from_millis(rand::random_range(20..150))).await;
        }
    }

    /// Hosts join, each with a key of its own, and tell of containers that come and go.
    async fn row(self, row: usize, token: String) {
        let mut reporting = JoinSet::new();
        for host in 0..HOSTS {
            let key = rcgen::KeyPair::generate().unwrap();
            let name = format!("h{row}-{host}");
            let joining =
                async |url: String| self.desk.at(&url).join_with(&key, &token, &name).await;
            let member = self.until_answered(&name, joining).await;
            reporting.spawn(self.clone().report(member));
            tokio::time::sleep(HARM / 2 / u32::try_from(HOSTS).unwrap()).await;
        }
        while let Some(done) = reporting.join_next().await {
            done.unwrap();
        }
    }

    async fn report(self, member: Member) {
        let mut present: BTreeMap<String, Seen> = BTreeMap::new();
        let instance = format!("{:x}", rand::random::<u64>());
        let mut sequence = 0;
        loop {
            let is_last = self.is_calm();
            sequence += 1;
            let mut report = Report {
                instance: instance.clone(),
                sequence,
                ..Report::default()
            };
            // One comes, another one goes; sometimes all are named.
            let seen = container(&format!("c{sequence}"), 9);
            present.insert(seen.status.docker_id.clone(), seen.clone());
            report.containers.push(seen);
            if present.len() > 3 {
                let gone = present
                    .keys()
                    .nth(rand::random_range(0..3))
                    .unwrap()
                    .clone();
                present.remove(&gone);
                report.containers.retain(|one| one.status.docker_id != gone);
                report.gone.push(gone);
            }
            if sequence % 5 == 0 {
                report.whole = true;
                report.gone.clear();
                report.containers = present.values().cloned().collect();
            }
            let telling = async |url: String| {
                let path = "/v1/agent/report";
                let taken: serde_json::Value = member.at(&url).client.post(path, &report).await?;
                Ok(taken)
            };
            self.until_answered("a report", telling).await;
            let known = present.keys().cloned().collect();
            let host = member.answer.host.clone();
            self.taken.lock().unwrap().insert(host, known);
            if is_last {
                return;
            }
            tokio::time::sleep(Duration::from_millis(rand::random_range(50..300))).await;
        }
    }

    /// An agent that goes from server to server with what it knows. Gives what it knows in the end.
    async fn agent(self, member: Member) -> BTreeMap<Id, String> {
        let mut known: BTreeMap<Id, String> = BTreeMap::new();
        let (mut store, mut at) = (String::new(), 0);
        let instance = format!("{:x}", rand::random::<u64>());
        let mut wholes = 0;
        let mut calm_since = None;
        loop {
            let streaming = member.at(&self.any());
            let stream = streaming.stream(&instance, Some((&store, at)));
            let Ok(Ok(mut stream)) = tokio::time::timeout(ANSWER, stream).await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            while let Ok(Ok(Some(frame))) =
                tokio::time::timeout(Duration::from_secs(8), stream.next::<Frame>()).await
            {
                let facts = match frame {
                    Frame::Whole {
                        store: of,
                        revision,
                        facts,
                    } => {
                        assert!(revision >= at, "back from {at} to {revision}");
                        (store, at) = (of, revision);
                        wholes += 1;
                        known.clear();
                        facts
                    }
                    Frame::Changes { from, to, facts } => {
                        assert!(from <= at, "a gap: from {from}, and {at} is known");
                        assert!(to >= at, "back to {to}, and {at} is known");
                        at = to;
                        facts
                    }
                    Frame::Alive {
                        revision,
                        store: of,
                    } => {
                        assert!(revision <= at, "{revision} is told, and {at} is known");
                        store = of.unwrap_or(store);
                        Vec::new()
                    }
                    Frame::Removed => panic!("told that it was removed"),
                    Frame::Servers { .. } => Vec::new(),
                };
                for fact in facts {
                    match fact {
                        Fact::Container(one) => drop(known.insert(one.id, one.docker_id)),
                        Fact::NoContainer(id) => drop(known.remove(&id)),
                        _ => {}
                    }
                }
                let since = *calm_since.get_or_insert_with(Instant::now);
                if !self.is_calm() {
                    calm_since = None;
                } else if since.elapsed() > Duration::from_secs(6) {
                    // Servers that come back go on where agents are.
                    assert_eq!(wholes, 1, "how often an agent was told everything");
                    return known;
                }
            }
        }
    }

    /// A program that watches containers, and goes on where it was. Gives what it knows in the end.
    async fn watcher(self) -> BTreeSet<Id> {
        let list = async |url: String| {
            let path = "/v1/projects/default/containers";
            self.desk
                .at(&url)
                .admin()
                .get::<List<Container>>(path)
                .await
        };
        let first = self.until_answered("a list", list).await;
        let mut at = first.revision;
        let mut known: BTreeSet<Id> = first.items.into_iter().map(|one| one.meta.id).collect();
        let mut calm_since = None;
        loop {
            let path = format!("/v1/projects/default/containers?watch=true&revision={at}");
            let admin = self.desk.at(&self.any()).admin();
            let lines = tokio::time::timeout(ANSWER, admin.lines(&path)).await;
            let Ok(Ok(mut lines)) = lines else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            // All changes of a revision are there when it is said so.
            let mut waiting = Vec::new();
            while let Ok(Ok(Some(change))) =
                tokio::time::timeout(Duration::from_secs(12), lines.next::<Change<Container>>())
                    .await
            {
                match change {
                    Change::Put { object } => {
                        let revision = object.meta.revision;
                        waiting.push((revision, object.meta.id, true));
                    }
                    Change::Delete { id, revision } => waiting.push((revision, id, false)),
                    Change::Alive { revision } => {
                        for (of, id, is_there) in waiting.drain(..) {
                            assert!(of > at && of <= revision, "{of} after {at}");
                            if is_there {
                                known.insert(id);
                            } else {
                                assert!(known.remove(&id), "gone twice, or its coming was missed");
                            }
                        }
                        at = revision;
                    }
                }
                let since = *calm_since.get_or_insert_with(Instant::now);
                if !self.is_calm() {
                    calm_since = None;
                } else if since.elapsed() > Duration::from_secs(6) {
                    return known;
                }
            }
        }
    }
}

/// What must be true when all is over.
async fn all_is_well(field: &Field, agents: Vec<BTreeMap<Id, String>>, watched: BTreeSet<Id>) {
    let admin = field.desk.at(&field.any()).admin();
    let hosts: List<Host> = admin
        .get("/v1/projects/default/hosts?limit=1000")
        .await
        .unwrap();
    let taken = field.taken.lock().unwrap().clone();
    // The agents' hosts report nothing.
    assert_eq!(
        hosts.items.len(),
        ROWS * HOSTS + agents.len(),
        "a host twice, or none"
    );
    let names: BTreeSet<&str> = hosts
        .items
        .iter()
        .map(|host| host.meta.name.as_str())
        .collect();
    assert_eq!(names.len(), hosts.items.len());
    assert!(
        names.iter().all(|name| name.matches('-').count() <= 1),
        "{names:?}"
    );
    let blocks: BTreeSet<String> = hosts
        .items
        .iter()
        .map(|host| host.status.block.unwrap().to_string())
        .collect();
    assert_eq!(blocks.len(), hosts.items.len(), "a block was given twice");
    let ids: BTreeSet<&Id> = hosts.items.iter().map(|host| &host.meta.id).collect();
    assert!(
        taken.keys().all(|id| ids.contains(id)),
        "an acknowledged host is not there"
    );
    let list: List<Container> = admin
        .get("/v1/projects/default/containers?limit=1000")
        .await
        .unwrap();
    let mut by_host: BTreeMap<Id, BTreeSet<String>> = BTreeMap::new();
    for one in &list.items {
        let of = by_host.entry(one.status.host.clone().unwrap()).or_default();
        assert!(of.insert(one.status.docker_id.clone()));
    }
    assert_eq!(by_host, taken, "what was acknowledged is not what is there");
    let now: BTreeMap<Id, String> = list
        .items
        .iter()
        .map(|one| (one.meta.id.clone(), one.status.docker_id.clone()))
        .collect();
    for known in agents {
        assert_eq!(known, now, "an agent missed something");
    }
    assert_eq!(
        watched,
        now.into_keys().collect(),
        "a watch missed something"
    );
}

/// What a harmful hand does, again and again.
async fn harmed(field: Field, harm: impl AsyncFnOnce() -> u32) -> u32 {
    let token = field.desk.token(json!({})).await;
    let mut agents = JoinSet::new();
    for n in 0..2 {
        let member = field
            .desk
            .join(&token, &format!("agent-{n}"))
            .await
            .unwrap();
        agents.spawn(field.clone().agent(member));
    }
    let watching = tokio::spawn(field.clone().watcher());
    let mut rows = JoinSet::new();
    for row in 0..ROWS {
        rows.spawn(field.clone().row(row, token.clone()));
    }
    let done = harm().await;
    field.is_calm.store(true, Ordering::Release);
    let ended = async {
        while let Some(row) = rows.join_next().await {
            row.unwrap();
        }
        let mut known = Vec::new();
        while let Some(agent) = agents.join_next().await {
            known.push(agent.unwrap());
        }
        (known, watching.await.unwrap())
    };
    let (known, watched) = tokio::time::timeout(REST, ended)
        .await
        .unwrap_or_else(|_| panic!("it does not become calm"));
    all_is_well(&field, known, watched).await;
    done
}

fn field(desk: Desk, urls: Vec<String>) -> Field {
    Field {
        desk,
        urls: Arc::new(urls),
        is_calm: Arc::default(),
        taken: Arc::default(),
    }
}

/// Until nothing is said under leases any more.
async fn leases_end(store: &dyn Store) {
    let begun = Instant::now();
    loop {
        let mut left = Vec::new();
        for prefix in ["/alive/", "/servers/", "/leader"] {
            let snapshot = store.snapshot(prefix).await.unwrap();
            left.extend(snapshot.entries.into_iter().map(|entry| entry.key));
        }
        if left.is_empty() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(25), "{left:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn pause(from: u64, to: u64) -> tokio::time::Sleep {
    tokio::time::sleep(Duration::from_millis(rand::random_range(from..to)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_is_killed_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let place = path.to_str().unwrap();
    let server = Process::start("127.0.0.1:0", place).await;
    let address = server.up.address.clone();
    let desk = Desk {
        url: server.url(),
        ca: server.up.ca.clone(),
        key: server.up.admin_key.clone().unwrap(),
    };
    let field = field(desk, vec![server.url()]);
    let mut server = Some(server);
    let kills = harmed(field, async || {
        let begun = Instant::now();
        let mut kills = 0;
        while begun.elapsed() < HARM {
            pause(200, 1500).await;
            server.take().unwrap().kill().await;
            kills += 1;
            server = Some(Process::start(&address, place).await);
        }
        kills
    })
    .await;
    println!("{kills} kills");
    assert!(kills > 8, "{kills}");
    server.unwrap().kill().await;
    leases_end(&Sqlite::open(&path).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_and_members_of_etcd_are_killed() {
    let Some(mut etcd) = etcd_cluster::Cluster::start(3) else {
        return;
    };
    let place = format!("etcd={}", etcd.endpoints().join(","));
    // All at once: one of them makes the cluster.
    let started = tokio::join!(
        Process::start("127.0.0.1:0", &place),
        Process::start("127.0.0.1:0", &place),
        Process::start("127.0.0.1:0", &place),
    );
    let mut servers = vec![Some(started.0), Some(started.1), Some(started.2)];
    let up: Vec<_> = servers.iter().flatten().map(|one| one.up.clone()).collect();
    let keys: Vec<&String> = up.iter().filter_map(|one| one.admin_key.as_ref()).collect();
    assert_eq!(keys.len(), 1, "the cluster was made once");
    let urls: Vec<String> = servers.iter().flatten().map(Process::url).collect();
    let desk = Desk {
        url: urls[0].clone(),
        ca: up[0].ca.clone(),
        key: keys[0].clone(),
    };
    let store = Etcd::connect(&etcd.endpoints(), "/ros", None)
        .await
        .unwrap();
    let kills = harmed(field(desk, urls), async || {
        let begun = Instant::now();
        let mut kills = 0;
        while begun.elapsed() < HARM {
            let victim = rand::random_range(0..3_usize);
            if rand::random_bool(0.3) {
                etcd.kill(victim);
                pause(500, 2500).await;
                etcd.restart(victim);
                // The majority is kept: the next one goes when this one is back.
                tokio::task::block_in_place(|| etcd.wait());
            } else {
                servers[victim].take().unwrap().kill().await;
                pause(100, 1500).await;
                servers[victim] = Some(Process::start(&up[victim].address, &place).await);
            }
            kills += 1;
            pause(300, 1200).await;
        }
        kills
    })
    .await;
    println!("{kills} kills");
    assert!(kills > 5, "{kills}");
    for server in servers.into_iter().flatten() {
        server.kill().await;
    }
    leases_end(&store).await;
    drop(etcd);
}
