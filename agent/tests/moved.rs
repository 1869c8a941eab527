//! A host that is given another address, in a network namespace: its server and the other hosts hear of it.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use agent::Catalog;
use agent::containers::Local;
use agent::identity::Identity;
use agent::join::{Wishes, join};
use agent::overlay::State;
use agent::report::Reporter;
use agent::session::{Link, Session};
use api::host::Reach;
use api::{Event, list::List};
use bollard::{API_DEFAULT_VERSION, Docker};
use client::{Client, Trust};
use control_plane::server::{self, Options, Started, StoreOptions};
use nix::sched::{CloneFlags, unshare};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Where the server is.
const SERVER: &str = "10.9.0.1";

fn can_run() -> bool {
    // Of this test's thread; the runtime's others begin in it, too.
    let outcome = unshare(CloneFlags::CLONE_NEWNET);
    let Err(error) = outcome else { return true };
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "this test must run in CI: {error}"
    );
    eprintln!("SKIPPED: no network namespace: {error}");
    false
}

fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(done.success(), "ip {words}");
}

/// Whatever is said to the server comes from this address.
fn speak_from(address: &str) {
    ip(&format!("address add {address}/32 dev lo"));
    ip(&format!(
        "route replace table local local {SERVER} dev lo src {address}"
    ));
}

/// What of an agent needs no Docker.
struct Agent {
    session: Arc<Session>,
    stop: CancellationToken,
    _seen: (
        watch::Sender<Option<Arc<Local>>>,
        watch::Sender<State>,
        watch::Sender<Reach>,
    ),
}

impl Agent {
    fn start(folder: &Path) -> Self {
        let identity = Identity::load(folder).unwrap().unwrap();
        let session = Arc::new(Session::new(folder.to_owned(), identity));
        let seen = (
            watch::Sender::new(None),
            watch::Sender::new(State::default()),
            watch::Sender::new(Reach::default()),
        );
        let nobody = folder.join("docker").display().to_string();
        // Only looked for.
        std::fs::write(&nobody, "").unwrap();
        let reporter = Reporter {
            instance: session.instance().to_owned(),
            host: session.identity().host.clone(),
            catalog: session.catalog(),
            docker: Docker::connect_with_unix(&nobody, 1, API_DEFAULT_VERSION).unwrap(),
            local: seen.0.subscribe(),
            network: seen.1.subscribe(),
            unkept: session.unkept(),
            reach: seen.2.subscribe(),
            server: session.server(),
        };
        let (following, stop) = (Arc::clone(&session), CancellationToken::new());
        let stopping = stop.clone();
        tokio::spawn(async move {
            tokio::join!(
                following.run(stopping.clone()),
                stopping.run_until_cancelled(reporter.run())
            )
        });
        Self {
            session,
            stop,
            _seen: seen,
        }
    }

    async fn until_told(&self, address: &str) {
        let (host, expected) = (self.session.identity().host.clone(), address.parse().ok());
        let mut catalog = self.session.catalog();
        let is_so = |catalog: &Arc<Catalog>| {
            let own = catalog.hosts.get(&host);
            own.and_then(|own| own.address) == expected
        };
        let reached = tokio::time::timeout(Duration::from_secs(30), catalog.wait_for(is_so));
        let is_reached = reached.await.is_ok();
        assert!(
            is_reached,
            "not {address}: {:?}",
            self.session.catalog().borrow().hosts
        );
    }
}

#[tokio::test]
async fn a_new_address_is_told() {
    if !can_run() {
        return;
    }
    ip("link set lo up");
    ip(&format!("address add {SERVER}/32 dev lo"));
    speak_from("10.9.0.5");
    let (servers, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = Options {
        listen: format!("{SERVER}:0").parse().unwrap(),
        names: Vec::new(),
        store: StoreOptions::File(servers.path().join("store")),
    };
    let stop = CancellationToken::new();
    let started = server::start(options, stop.clone()).await.unwrap();
    let url = format!("https://{}", started.address);
    let token = started.join_token.clone().unwrap();
    let wishes = Wishes {
        name: "a".into(),
        ..Wishes::default()
    };
    join(folder.path(), &url, &token, wishes).await.unwrap();

    let agent = Agent::start(folder.path());
    agent.until_told("10.9.0.5").await;
    agent.stop.cancel();
    // Another one beside the first, by which it speaks from now on: both are good.
    speak_from("10.9.0.9");
    let agent = Agent::start(folder.path());
    let up = |link: &Link| matches!(link, Link::Up(_));
    agent.session.link().wait_for(up).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    agent.until_told("10.9.0.5").await;
    assert_eq!(moves(&started).await, 0);
    // The first one is taken away.
    agent.stop.cancel();
    ip("address del 10.9.0.5/32 dev lo");
    let agent = Agent::start(folder.path());
    agent.until_told("10.9.0.9").await;
    assert_eq!(moves(&started).await, 1);
    // As it happens while it runs: the connection is found to be dead.
    speak_from("10.9.0.7");
    ip("address del 10.9.0.9/32 dev lo");
    agent.until_told("10.9.0.7").await;
    assert_eq!(moves(&started).await, 2);
    stop.cancel();
}

async fn moves(started: &Started) -> usize {
    let ca = Trust::Ca(started.server.authority.certificate().to_owned());
    let key = client::Identity::Key(started.admin_key.clone().unwrap());
    let admin = Client::new(&format!("https://{}", started.address), ca, key).unwrap();
    let events: List<Event> = admin
        .get("/v1/projects/default/events?limit=1000")
        .await
        .unwrap();
    let moves = events.items.iter().filter(|e| e.spec.what == "host.moved");
    moves.count()
}
