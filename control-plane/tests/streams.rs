//! What agents' streams promise: nobody is sent away for being slow, and a server that was killed goes on where the other one ended.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster;

use std::time::Duration;

use api::agent::{Fact, Frame, Report, Seen};
use client::{Client, Identity, Lines, Trust};
use control_plane::server::StoreOptions;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use cluster::{Cluster, Member, container, next, start, told};

/// Something that cannot be packed.
fn noise(length: usize) -> String {
    let letter = |_| char::from(rand::random_range(b'!'..=b'~'));
    (0..length).map(letter).collect()
}

fn noisy(name: &str) -> Seen {
    let mut seen = container(name, 9);
    let labels = (0..8).map(|label| (format!("l{label}"), noise(4000)));
    seen.status.labels = labels.collect();
    seen
}

async fn runs(host: &Member, containers: Vec<Seen>) {
    host.report(&Report {
        containers,
        ..Report::default()
    })
    .await;
}

fn is_container(name: &str) -> impl Fn(&Fact) -> bool {
    move |fact| matches!(fact, Fact::Container(one) if one.name == name)
}

/// The frames until one tells of the container: of each, whether it tells everything.
async fn kinds(stream: &mut Lines, name: &str) -> Vec<bool> {
    let mut kinds = Vec::new();
    loop {
        let (is_whole, facts) = match next(stream).await {
            Frame::Whole { facts, .. } => (true, facts),
            Frame::Changes { facts, .. } => (false, facts),
            Frame::Alive { .. } => continue,
            other => panic!("{other:?}"),
        };
        kinds.push(is_whole);
        if facts.iter().any(is_container(name)) {
            return kinds;
        }
    }
}

#[tokio::test]
async fn a_slow_agent_is_told_later_in_the_same_stream() {
    let cluster = Cluster::new().await;
    let token = cluster.token(json!({})).await;
    let busy = cluster.join(&token, "busy").await.unwrap();
    let slow = cluster.join(&token, "slow").await.unwrap();
    let mut stream = slow.stream("slow", None).await.unwrap();
    assert!(matches!(next(&mut stream).await, Frame::Whole { .. }));
    // More than is remembered, and than lies in buffers on the way. The same containers again and again: what is there stays small.
    for round in 0..24 {
        let changed = (0..16).map(|number| noisy(&format!("noisy-{number}")));
        runs(&busy, changed.collect()).await;
        // Each in a frame of its own.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if round == 8 {
            // The connection lives: the server hears so.
            slow.report(&Report::default()).await;
        }
    }
    runs(&busy, vec![container("last", 1)]).await;
    let kinds = kinds(&mut stream, "last").await;
    assert!(kinds.contains(&true), "{kinds:?}");
    assert!(kinds.len() < 25, "{kinds:?}");
    // And goes on.
    runs(&busy, vec![container("later", 2)]).await;
    let (facts, _) = told(&mut stream, is_container("later")).await;
    assert_eq!(facts.len(), 1, "{facts:?}");
}

#[tokio::test]
async fn a_server_that_was_killed_goes_on_where_it_was() {
    let mut cluster = Cluster::new().await;
    let token = cluster.token(json!({})).await;
    let mut host = cluster.join(&token, "a").await.unwrap();
    let mut stream = host.stream("i", None).await.unwrap();
    let Frame::Whole { store, .. } = next(&mut stream).await else {
        panic!("not everything")
    };
    runs(&host, vec![container("one", 1)]).await;
    let (_, known) = told(&mut stream, is_container("one")).await;
    // Not heard by this agent.
    drop(stream);
    runs(&host, vec![container("two", 2)]).await;

    let address = cluster.started.address.to_string();
    cluster.stop.cancel();
    tokio::time::timeout(Duration::from_secs(15), &mut cluster.started.ended)
        .await
        .unwrap()
        .unwrap();
    let ca = cluster.started.server.authority.certificate().to_owned();
    drop(cluster.started);
    let (stop, store_file) = (
        CancellationToken::new(),
        cluster.folder.path().join("store"),
    );
    let _started = start(StoreOptions::File(store_file), &address, &stop).await;
    host.client = again(&address, ca, &host.identity);
    let mut stream = host.stream("i", Some((&store, known))).await.unwrap();
    let kinds = kinds(&mut stream, "two").await;
    assert!(!kinds.contains(&true), "{kinds:?}");
    runs(&host, vec![container("three", 3)]).await;
    told(&mut stream, is_container("three")).await;
}

fn again(address: &str, ca: String, identity: &Identity) -> Client {
    let url = format!("https://{address}");
    Client::new(&url, Trust::Ca(ca), identity.clone()).unwrap()
}
