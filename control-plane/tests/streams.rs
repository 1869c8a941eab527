//! What agents' streams promise: nobody is sent away for being slow, and a server that was killed goes on where the other one ended.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster;

use std::path::Path;
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

/// What the stream says first of what the agent knows: whether it was told everything, and what its state is called then.
async fn position(stream: &mut Lines, name: &str) -> (bool, String, u64) {
    let (mut is_whole, mut is_there, mut store) = (false, false, None);
    loop {
        let (facts, to, of): (Vec<Fact>, u64, Option<String>) = match next(stream).await {
            Frame::Whole {
                facts,
                revision,
                store: of,
            } => {
                is_whole = true;
                (facts, revision, Some(of))
            }
            Frame::Changes { facts, to, .. } => (facts, to, None),
            Frame::Alive {
                revision,
                store: of,
            } => (Vec::new(), revision, of),
            other => panic!("{other:?}"),
        };
        is_there |= facts.iter().any(is_container(name));
        store = of.or(store);
        if is_there && let Some(store) = &store {
            return (is_whole, store.clone(), to);
        }
    }
}

/// Stops the server, does `meanwhile` with its file, and starts it again.
async fn restart(cluster: Cluster, host: &mut Member, meanwhile: impl FnOnce(&Path)) -> Cluster {
    let Cluster {
        folder,
        started,
        stop,
        desk,
    } = cluster;
    stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(15), started.ended).await;
    ended.unwrap().unwrap();
    drop(started.server);
    let (file, log) = (folder.path().join("store"), folder.path().join("store-wal"));
    // It is gone when all is in the file.
    for _ in 0..100 {
        if !log.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!log.exists(), "the file is still in use");
    meanwhile(&file);
    let (stop, address) = (CancellationToken::new(), started.address.to_string());
    let started = start(StoreOptions::File(file), &address, &stop).await;
    host.client = again(&address, desk.ca.clone(), &host.identity);
    Cluster {
        folder,
        started,
        stop,
        desk,
    }
}

#[tokio::test]
async fn a_server_that_was_killed_goes_on_where_it_was() {
    let mut cluster = Cluster::new().await;
    let token = cluster.token(json!({})).await;
    let mut host = cluster.join(&token, "a").await.unwrap();
    let mut stream = host.stream("i", None).await.unwrap();
    runs(&host, vec![container("0", 1)]).await;
    let (_, mut store, mut known) = position(&mut stream, "0").await;
    // Once more: the state goes by another name since.
    for name in ["1", "2"] {
        // Not heard by this agent.
        drop(stream);
        runs(&host, vec![container(name, 2)]).await;
        cluster = restart(cluster, &mut host, |_| {}).await;
        stream = host.stream("i", Some((&store, known))).await.unwrap();
        let before = store;
        let is_whole;
        (is_whole, store, known) = position(&mut stream, name).await;
        assert!(!is_whole && store != before, "{is_whole} {before} {store}");
    }
    runs(&host, vec![container("three", 3)]).await;
    told(&mut stream, is_container("three")).await;
}

#[tokio::test]
async fn a_server_with_a_copy_of_before_tells_everything_to_who_knows_what_is_lost() {
    let mut cluster = Cluster::new().await;
    let token = cluster.token(json!({})).await;
    let mut host = cluster.join(&token, "a").await.unwrap();
    let mut stream = host.stream("i", None).await.unwrap();
    runs(&host, vec![container("kept", 1)]).await;
    let (_, old_store, old) = position(&mut stream, "kept").await;
    let copy = cluster.folder.path().join("copy");
    cluster = restart(cluster, &mut host, |file| {
        std::fs::copy(file, &copy).unwrap();
    })
    .await;
    let mut stream = host.stream("i", None).await.unwrap();
    runs(&host, vec![container("lost", 2)]).await;
    let (_, lost_store, lost) = position(&mut stream, "kept").await;
    let (_, last) = told(&mut stream, is_container("lost")).await;
    drop(stream);

    cluster = restart(cluster, &mut host, |file| {
        std::fs::copy(&copy, file).unwrap();
    })
    .await;
    // Of the same revisions, and more.
    while cluster.started.server.mirror.revision() <= last {
        let number = cluster.started.server.mirror.revision();
        runs(&host, vec![container(&format!("new-{number}"), 3)]).await;
    }
    for (store, known) in [(&lost_store, last), (&lost_store, lost)] {
        let mut stream = host.stream("i", Some((store, known))).await.unwrap();
        let first = next(&mut stream).await;
        let Frame::Whole { facts, .. } = &first else {
            panic!("{store} {known}: {first:?}");
        };
        assert!(facts.iter().any(is_container("kept")), "{facts:?}");
        assert!(!facts.iter().any(is_container("lost")), "{facts:?}");
    }
    // Who was away all the time knows what the copy holds.
    let mut stream = host.stream("i", Some((&old_store, old))).await.unwrap();
    let first = next(&mut stream).await;
    assert!(!matches!(first, Frame::Whole { .. }), "{first:?}");
}

fn again(address: &str, ca: String, identity: &Identity) -> Client {
    let url = format!("https://{address}");
    Client::new(&url, Trust::Ca(ca), identity.clone()).unwrap()
}
