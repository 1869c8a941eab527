//! An agent against a real server: joining, following, going on without it, leaving.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent::identity::Identity;
use agent::join::{self, Wishes, join};
use agent::session::{Link, Session};
use api::Token;
use api::agent::{Report, Seen};
use client::{Client, Trust};
use control_plane::server::{self, Options, Started, StoreOptions};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

async fn start(folder: &Path, listen: SocketAddr, stop: &CancellationToken) -> Started {
    let options = Options {
        listen,
        names: Vec::new(),
        store: StoreOptions::File(folder.join("store")),
    };
    // SQLite waits a moment for a file that the server before is letting go.
    server::start(options, stop.clone()).await.unwrap()
}

async fn until<T: Clone + std::fmt::Debug>(
    watch: &mut watch::Receiver<T>,
    is_so: impl Fn(&T) -> bool,
) -> T {
    let patience = Duration::from_secs(20);
    if let Ok(found) = tokio::time::timeout(patience, watch.wait_for(|now| is_so(now))).await {
        return found.unwrap().clone();
    }
    panic!("still {:?}", watch.borrow())
}

struct Member {
    session: Arc<Session>,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl Member {
    fn start(folder: &Path) -> Self {
        let identity = Identity::load(folder).unwrap().unwrap();
        let session = Arc::new(Session::new(folder.to_owned(), identity));
        let (running, stop) = (Arc::clone(&session), CancellationToken::new());
        let stopping = stop.clone();
        let ended = tokio::spawn(async move { running.run(stopping).await });
        Self {
            session,
            stop,
            ended,
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.ended.await.unwrap();
    }
}

fn wishes(name: &str) -> Wishes {
    Wishes {
        name: name.into(),
        ..Wishes::default()
    }
}

#[tokio::test]
async fn from_joining_to_leaving() {
    let (servers, one, two) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let stop = CancellationToken::new();
    let started = start(servers.path(), "127.0.0.1:0".parse().unwrap(), &stop).await;
    let address = started.address;
    let url = format!("https://{address}");
    let ca = Trust::Ca(started.server.authority.certificate().to_owned());
    let key = client::Identity::Key(started.admin_key.clone().unwrap());
    let admin = Client::new(&url, ca, key).unwrap();
    let token: Token = admin
        .post("/v1/projects/default/tokens", &json!({"name": "t"}))
        .await
        .unwrap();
    let token = token.status.token.unwrap();

    let cut = join(one.path(), &url, &token[..token.len() - 4], wishes("one")).await;
    assert!(matches!(cut, Err(join::Error::Token(_))), "{cut:?}");
    join(one.path(), &url, &token, wishes("one")).await.unwrap();
    let again = join(one.path(), &url, &token, wishes("one")).await;
    assert!(
        matches!(&again, Err(join::Error::Joined(name)) if name == "one"),
        "{again:?}"
    );
    let other = join(two.path(), &url, &token, wishes("two")).await.unwrap();

    let member = Member::start(one.path());
    let mut catalog = member.session.catalog();
    until(&mut catalog, |catalog| catalog.hosts.len() == 2).await;
    until(&mut member.session.link(), |link| {
        matches!(link, Link::Up(_))
    })
    .await;

    // A container of the other host is known here a moment later.
    let report = Report {
        containers: vec![Seen {
            name: "web".into(),
            status: api::container::ContainerStatus {
                docker_id: "d".repeat(64),
                ..Default::default()
            },
        }],
        ..Report::default()
    };
    let speaks = other.client(&url).unwrap();
    let begun = std::time::Instant::now();
    let _: Value = speaks.post("/v1/agent/report", &report).await.unwrap();
    until(&mut catalog, |catalog| catalog.containers.len() == 1).await;
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );

    // Without the server it knows what it knew, after a restart of its own, too.
    stop.cancel();
    started.ended.await.unwrap();
    drop(started.server);
    until(&mut member.session.link(), |link| {
        matches!(link, Link::Down(_))
    })
    .await;
    member.stop().await;
    let member = Member::start(one.path());
    let mut catalog = member.session.catalog();
    assert_eq!(catalog.borrow().containers.len(), 1);

    // The server comes back: it goes on from there.
    let stop = CancellationToken::new();
    let _started = start(servers.path(), address, &stop).await;
    until(&mut member.session.link(), |link| {
        matches!(link, Link::Up(_))
    })
    .await;
    let gone = Report {
        gone: vec!["d".repeat(64)],
        ..Report::default()
    };
    let _: Value = other
        .client(&url)
        .unwrap()
        .post("/v1/agent/report", &gone)
        .await
        .unwrap();
    until(&mut catalog, |catalog| catalog.containers.is_empty()).await;

    let path = format!(
        "/v1/projects/default/hosts/{}",
        Identity::load(one.path()).unwrap().unwrap().name
    );
    admin.delete(&path).await.unwrap();
    until(&mut member.session.link(), |link| *link == Link::Removed).await;
    member.ended.await.unwrap();
}
