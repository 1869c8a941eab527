//! Time turned by hand: when hosts count as lost, how long a leader leads, and what a server does that does not reach its store.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::agent::{Report, Seen};
use api::host::{HostKind, HostState};
use api::problem::Reason;
use api::project::ProjectKind;
use api::{Host, Id};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agents::{self, report};
use crate::loops::{self, leader};
use crate::objects::{self, Draft};
use crate::pki::HostIdentity;
use crate::presence;
use crate::server::Server;
use crate::store::Store;
use crate::store::memory::{Link, Memory};

/// Servers that share a store, with all that runs beside their API.
struct Field {
    servers: Vec<Arc<Server>>,
    links: Vec<Memory>,
    project: Id,
    tasks: JoinSet<()>,
}

impl Field {
    async fn new(count: usize) -> Self {
        let first = Memory::begin();
        let mut links = vec![first.clone()];
        links.extend((1..count).map(|_| first.another()));
        let mut servers = Vec::new();
        let mut tasks = JoinSet::new();
        for (place, link) in links.iter().enumerate() {
            let server = Server::bare(Arc::new(link.clone()), &format!("s{place}")).await;
            let running = Arc::clone(&server);
            tasks.spawn(async move { presence::run(&running, &[]).await });
            tasks.spawn(loops::run(Arc::clone(&server), CancellationToken::new()));
            servers.push(server);
            // The first one leads.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let projects = objects::all::<ProjectKind>(&servers[0].mirror, None);
        Self {
            project: projects[0].meta.id.clone(),
            servers,
            links,
            tasks,
        }
    }

    async fn host(&self, name: &str) -> Id {
        let draft: Draft<HostKind> = Draft::named(Some(self.project.clone()), name);
        let id = Id::from_bits("h", rand::random());
        let objects = &self.servers[0].objects;
        let made = objects.create::<HostKind>(id.clone(), draft, Default::default());
        let revision = made.await.unwrap().meta.revision;
        for server in &self.servers {
            server.mirror.reach(revision).await;
        }
        id
    }

    fn hear(&self, server: usize, host: &Id) -> u64 {
        let hub = &self.servers[server].hub;
        let attached = hub.attach(&self.project, host, "i");
        attached
            .unwrap_or_else(|problem| panic!("{problem}"))
            .session
    }

    fn look(&self, server: usize, host: &Id) -> Option<Host> {
        objects::find::<HostKind>(&self.servers[server].mirror, Some(&self.project), host)
    }

    /// How long it takes until a server sees the host in a state.
    async fn until(&self, server: usize, host: &Id, state: HostState) -> Duration {
        let begun = Instant::now();
        loop {
            let now = self.look(server, host).map(|host| host.status.state);
            if now == Some(state) {
                return begun.elapsed();
            }
            let waited = begun.elapsed();
            assert!(
                waited < Duration::from_secs(400),
                "{now:?}, not {state:?}, for {waited:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn seconds(from: u64, to: u64) -> std::ops::Range<Duration> {
    Duration::from_secs(from)..Duration::from_secs(to)
}

#[tokio::test(start_paused = true)]
async fn a_host_is_lost_and_found_at_the_times_that_its_project_says() {
    let field = Field::new(1).await;
    let host = field.host("a").await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    // It has joined, and was never heard of.
    assert_eq!(
        field.look(0, &host).unwrap().status.state,
        HostState::Joining
    );
    let session = field.hear(0, &host);
    let time = field.until(0, &host, HostState::Connected).await;
    assert!(time < Duration::from_secs(2), "{time:?}");
    // Nothing happens as long as it is heard.
    let before = field.look(0, &host).unwrap().meta.revision;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(field.look(0, &host).unwrap().meta.revision, before);
    // The connection has been silent for 10 seconds already when the server gives it up: 12 in all, and never 15.
    field.servers[0].hub.detach(&host, session);
    let lost = Instant::now();
    let time = field.until(0, &host, HostState::Reconnecting).await;
    assert!(seconds(2, 5).contains(&time), "{time:?}");
    field.until(0, &host, HostState::Disconnected).await;
    assert!(
        seconds(179, 184).contains(&lost.elapsed()),
        "{:?}",
        lost.elapsed()
    );
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(
        field.look(0, &host).unwrap().status.state,
        HostState::Disconnected
    );
    field.hear(0, &host);
    let time = field.until(0, &host, HostState::Connected).await;
    assert!(time < Duration::from_secs(2), "{time:?}");
    // A blink is none.
    let before = field.look(0, &host).unwrap().meta.revision;
    let session = field.hear(0, &host);
    field.servers[0].hub.detach(&host, session);
    tokio::time::sleep(Duration::from_secs(1)).await;
    field.hear(0, &host);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(field.look(0, &host).unwrap().meta.revision, before);
    // Removed: nothing is said of it any more.
    let known = field.look(0, &host).unwrap();
    let writes = objects::removal::<HostKind>(&known).to_vec();
    field.links[0].write_all(writes).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let left = field.links[0]
        .snapshot(presence::ALIVE)
        .await
        .unwrap()
        .entries;
    assert_eq!((left, field.servers[0].hub.heard()), (vec![], vec![]));
    drop(field.tasks);
}

#[tokio::test(start_paused = true)]
async fn the_hosts_of_a_lost_server_are_missed_within_fifteen_seconds() {
    let field = Field::new(2).await;
    let host = field.host("a").await;
    field.hear(0, &host);
    field.until(1, &host, HostState::Connected).await;
    // The first server leads, and is cut off with its host.
    field.links[0].set(Link::Cut);
    let begun = Instant::now();
    let time = field.until(1, &host, HostState::Reconnecting).await;
    assert!(seconds(7, 15).contains(&time), "{time:?}");
    // It sends its hosts away, so that they find a server that is better off.
    while begun.elapsed() < Duration::from_secs(30) && !field.servers[0].hub.heard().is_empty() {
        let refused = field.servers[0].hub.attach(&field.project, &host, "i");
        if refused.is_err_and(|problem| problem.reason == Reason::Unavailable) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(
        begun.elapsed() < Duration::from_secs(25),
        "{:?}",
        begun.elapsed()
    );
    field.hear(1, &host);
    field.until(1, &host, HostState::Connected).await;
    // It is back, and what it says of itself is said again.
    field.links[0].set(Link::Well);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let servers = field.links[1].snapshot(presence::SERVERS).await.unwrap();
    assert_eq!(servers.entries.len(), 2);
    assert_eq!(
        field.look(1, &host).unwrap().status.state,
        HostState::Connected
    );
}

/// When a server decides.
#[derive(Debug, Default)]
struct Reigns(Mutex<Vec<(usize, Instant, Option<Instant>)>>);

struct Reign(Arc<Reigns>, usize);

impl Reign {
    fn begin(reigns: &Arc<Reigns>, server: usize) -> Self {
        let mut all = reigns.0.lock().unwrap();
        all.push((server, Instant::now(), None));
        Self(Arc::clone(reigns), all.len() - 1)
    }
}

impl Drop for Reign {
    fn drop(&mut self) {
        self.0.0.lock().unwrap()[self.1].2 = Some(Instant::now());
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_has_stopped_before_another_begins() {
    let first = Memory::begin();
    let links = [first.clone(), first.another(), first.another()];
    let reigns = Arc::new(Reigns::default());
    let mut tasks = JoinSet::new();
    for (place, link) in links.iter().enumerate() {
        let server = Server::bare(Arc::new(link.clone()), &format!("s{place}")).await;
        let reigns = Arc::clone(&reigns);
        tasks.spawn(async move {
            let work = || async {
                let _reign = Reign::begin(&reigns, place);
                std::future::pending::<()>().await;
            };
            leader::lead(&server, work).await;
        });
    }
    // Whoever leads is cut off, at another moment of its lease each time.
    for round in 0..40_u64 {
        tokio::time::sleep(Duration::from_millis(5000 + 370 * round)).await;
        let (leader, ..) = *reigns.0.lock().unwrap().last().unwrap();
        links[leader].set(Link::Cut);
        tokio::time::sleep(Duration::from_millis(20_000 + 130 * round)).await;
        links[leader].set(Link::Well);
    }
    let all = reigns.0.lock().unwrap().clone();
    assert!(all.len() > 40, "{}", all.len());
    for pair in all.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        let ended = before
            .2
            .unwrap_or_else(|| panic!("{before:?} goes on beside {after:?}"));
        assert!(ended <= after.1, "{before:?} and {after:?}");
        assert!(
            after.1 - ended < Duration::from_secs(15),
            "nobody leads: {before:?}, {after:?}"
        );
    }
}

/// Where reports come from.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

fn web() -> Seen {
    let mut seen = Seen {
        name: "web".into(),
        ..Seen::default()
    };
    seen.status.docker_id = "c1".into();
    seen
}

#[tokio::test(start_paused = true)]
async fn a_report_that_was_not_written_may_come_again_with_its_number() {
    let field = Field::new(1).await;
    let host = field.host("a").await;
    let told = Report {
        instance: "i".into(),
        sequence: 1,
        containers: vec![web()],
        ..Report::default()
    };
    field.links[0].set(Link::Cut);
    let refused = report::take(
        &field.servers[0],
        (&field.project, &host),
        HERE,
        told.clone(),
    )
    .await;
    assert_eq!(refused.unwrap_err().reason, Reason::Unavailable);
    field.links[0].set(Link::Well);
    report::take(&field.servers[0], (&field.project, &host), HERE, told)
        .await
        .unwrap();
    let known = field.links[0]
        .snapshot("/objects/containers/")
        .await
        .unwrap();
    assert_eq!(
        known.entries.len(),
        1,
        "it was acknowledged, and is not there"
    );
}

/// A host that is told that it was removed forgets who it is.
#[tokio::test(start_paused = true)]
async fn only_the_store_says_that_a_host_was_removed() {
    let field = Field::new(2).await;
    // The second server hears nothing of what happens.
    field.links[1].set(Link::Deaf);
    let host = field.host("a").await;
    let shown = HostIdentity {
        host: host.clone(),
        project: field.project.clone(),
    };
    assert!(
        field.look(1, &host).is_none(),
        "the second server knows of it"
    );
    let second = &field.servers[1];
    assert!(agents::host(second, &shown).await.is_ok());
    field.links[1].set(Link::Cut);
    let refused = agents::host(second, &shown).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Unavailable, "{refused}");
    field.links[1].set(Link::Deaf);
    let known = field.look(0, &host).unwrap();
    let removal = objects::removal::<HostKind>(&known).to_vec();
    field.links[0].write_all(removal).await.unwrap();
    let refused = agents::host(second, &shown).await.unwrap_err();
    assert_eq!(refused.reason, Reason::Unauthenticated, "{refused}");
}
