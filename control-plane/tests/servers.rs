//! Several servers on one etcd, each a process of its own: what one hears all tell, and one that is lost is missed by nobody for long.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster;
mod etcd_cluster;
mod processes;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use api::Event;
use api::agent::{Fact, Frame, Report};
use api::host::HostState;
use api::list::List;
use client::Lines;
use cluster::{Desk, Member, any, container, told};
use control_plane::store::{Etcd, Store};
use nix::sys::signal::Signal;
use processes::Process;
use serde_json::json;

/// Not a test of its own: the process of a server.
#[tokio::test]
async fn server_process() {
    processes::serve_if_asked().await;
}

struct Servers {
    // Before etcd, so that they end first.
    all: Vec<Process>,
    desk: Desk,
    store: Etcd,
    etcd: etcd_cluster::Cluster,
}

impl Servers {
    async fn start(members: usize, count: usize) -> Option<Self> {
        let etcd = etcd_cluster::Cluster::start(members)?;
        let endpoints = etcd.endpoints();
        let place = format!("etcd={}", endpoints.join(","));
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(Process::start("127.0.0.1:0", &place).await);
        }
        let desk = Desk {
            url: all[0].url(),
            ca: all[0].up.ca.clone(),
            key: all[0].up.admin_key.clone().unwrap(),
        };
        let store = Etcd::connect(&endpoints, "/ros", None).await.unwrap();
        Some(Self {
            all,
            desk,
            store,
            etcd,
        })
    }

    /// Place of the server that leads.
    async fn leader(&self) -> Option<usize> {
        let snapshot = self.store.snapshot("/leader").await.unwrap();
        let entry = snapshot.entries.first()?;
        let name = String::from_utf8(entry.value.clone()).unwrap();
        self.all.iter().position(|server| server.up.name == name)
    }

    async fn leader_that(&self, is_right: impl Fn(usize) -> bool) -> usize {
        let begun = Instant::now();
        loop {
            let leader = self.leader().await;
            if let Some(leader) = leader.filter(|leader| is_right(*leader)) {
                return leader;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(25),
                "{leader:?} leads"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn events(&self, at: &Desk) -> BTreeMap<String, usize> {
        let list: List<Event> = at
            .admin()
            .get("/v1/projects/default/events?limit=1000")
            .await
            .unwrap();
        let mut counted = BTreeMap::new();
        for event in list.items {
            let what = format!("{} {}", event.spec.object_name, event.spec.what);
            *counted.entry(what).or_default() += 1;
        }
        counted
    }
}

/// Until `desk` sees the host in the state.
async fn until(desk: &Desk, name: &str, state: HostState, patience: Duration) -> Duration {
    let begun = Instant::now();
    loop {
        let now = desk.host(name).await.status.state;
        if now == state {
            return begun.elapsed();
        }
        assert!(
            begun.elapsed() < patience,
            "{name} is {now:?}, not {state:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn urls(stream: &mut Lines, count: usize) -> Vec<String> {
    loop {
        if let Frame::Servers { urls } = any(stream).await
            && urls.len() >= count
        {
            return urls;
        }
    }
}

fn is_container(name: &str) -> impl Fn(&Fact) -> bool {
    move |fact| matches!(fact, Fact::Container(one) if one.name == name)
}

async fn runs(member: &Member, name: &str) {
    member
        .report(&Report {
            containers: vec![container(name, 9)],
            ..Report::default()
        })
        .await;
}

#[tokio::test]
async fn a_server_that_is_killed_is_not_missed_for_long() {
    let Some(mut servers) = Servers::start(1, 3).await else {
        return;
    };
    let token = servers.desk.token(json!({})).await;
    let mut hosts = Vec::new();
    for (place, name) in ["a", "b", "c"].iter().enumerate() {
        let desk = servers.desk.at(&servers.all[place].url());
        hosts.push(desk.join(&token, name).await.unwrap());
    }
    let [a, b, c] = &hosts[..] else { panic!() };
    let mut of_a = a.stream("a", None).await.unwrap();
    let mut of_b = b.stream("b", None).await.unwrap();
    let _of_c = c.stream("c", None).await.unwrap();
    // All servers are told of, by any of them.
    let all: Vec<String> = servers.all.iter().map(Process::url).collect();
    let mut known = urls(&mut of_a, 3).await;
    known.sort();
    let mut expected = all.clone();
    expected.sort();
    assert_eq!(known, expected);
    // What a host says to one server the hosts of the others hear.
    runs(c, "web").await;
    let (_, revision) = told(&mut of_a, is_container("web")).await;
    told(&mut of_b, is_container("web")).await;
    let at_b = servers.desk.at(&all[1]);
    for name in ["a", "b", "c"] {
        until(&at_b, name, HostState::Connected, Duration::from_secs(10)).await;
    }

    servers.all.remove(0).kill().await;
    // The defaults: within 15 seconds.
    let silent = until(&at_b, "a", HostState::Reconnecting, Duration::from_secs(15)).await;
    println!("a lost server's host is reconnecting after {silent:?}");
    runs(c, "db").await;
    // The host goes to another server and is told what it missed, there too.
    let store = {
        let mut fresh = b.stream("b", None).await.unwrap();
        match cluster::next(&mut fresh).await {
            Frame::Whole { store, .. } => store,
            other => panic!("{other:?}"),
        }
    };
    let mut of_a = a
        .at(&all[1])
        .stream("a", Some((&store, revision)))
        .await
        .unwrap();
    let first = cluster::next(&mut of_a).await;
    let Frame::Changes { from, facts, .. } = &first else {
        panic!("{first:?}");
    };
    assert!(*from <= revision && facts.len() < 4, "{first:?}");
    if !facts.iter().any(is_container("db")) {
        told(&mut of_a, is_container("db")).await;
    }
    until(&at_b, "a", HostState::Connected, Duration::from_secs(10)).await;
    // The hosts of the others were heard of all the time, and each change was noted once.
    let counted = servers.events(&at_b).await;
    assert_eq!(counted.get("c host.reconnecting"), None, "{counted:?}");
    assert_eq!(counted["a host.reconnecting"], 1, "{counted:?}");
    assert_eq!(counted["a host.connected"], 2, "{counted:?}");
    drop(servers.etcd);
}

#[tokio::test]
async fn an_identity_is_used_at_one_server_at_a_time() {
    let Some(mut servers) = Servers::start(1, 2).await else {
        return;
    };
    let token = servers.desk.token(json!({})).await;
    let other = servers.desk.at(&servers.all[1].url());
    let host = servers.desk.join(&token, "h").await.unwrap();
    let mut first = host.stream("first", None).await.unwrap();
    cluster::next(&mut first).await;
    until(&other, "h", HostState::Connected, Duration::from_secs(10)).await;
    // Its copy goes to the other server, which hears it for the first time.
    let copy = host.at(&other.url);
    let problem = cluster::refused(copy.stream("copy", None).await);
    assert!(problem.advice.contains("cloned"), "{problem}");
    cluster::next(&mut first).await;
    // The host itself may go there, and come back after its server has died.
    let mut moved = copy.stream("first", None).await.unwrap();
    cluster::next(&mut moved).await;
    drop(first);
    servers.all.remove(0).kill().await;
    let begun = Instant::now();
    drop(moved);
    // A restarted agent, that the dead server has heard last as another: refused until that server's lease has ended.
    while let Err(error) = copy.stream("restarted", None).await {
        assert!(begun.elapsed() < Duration::from_secs(20), "{error}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("let in after {:?}", begun.elapsed());
    drop(servers.etcd);
}

#[tokio::test]
async fn a_leader_that_stands_still_is_replaced_and_decides_nothing_after() {
    let Some(servers) = Servers::start(3, 2).await else {
        return;
    };
    let token = servers.desk.token(json!({})).await;
    let old = servers.leader_that(|_| true).await;
    let other = 1 - old;
    let desk = servers.desk.at(&servers.all[other].url());
    let host = desk.join(&token, "h").await.unwrap();
    let stream = host.stream("h", None).await.unwrap();
    until(&desk, "h", HostState::Connected, Duration::from_secs(10)).await;

    servers.all[old].signal(Signal::SIGSTOP);
    let begun = Instant::now();
    servers.leader_that(|leader| leader == other).await;
    println!("another leads after {:?}", begun.elapsed());
    drop(stream);
    until(&desk, "h", HostState::Reconnecting, Duration::from_secs(15)).await;
    // The old one goes on and finds out: it decides nothing twice.
    servers.all[old].signal(Signal::SIGCONT);
    let stream = host.stream("h", None).await.unwrap();
    until(&desk, "h", HostState::Connected, Duration::from_secs(15)).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(servers.leader().await, Some(other));
    let counted = servers.events(&desk).await;
    assert_eq!(counted["h host.reconnecting"], 1, "{counted:?}");
    assert_eq!(counted["h host.connected"], 2, "{counted:?}");
    drop(stream);
    // And takes over again when the other ends.
    servers.all[other].signal(Signal::SIGKILL);
    servers.leader_that(|leader| leader == old).await;
    let desk = servers.desk.at(&servers.all[old].url());
    until(&desk, "h", HostState::Reconnecting, Duration::from_secs(30)).await;
}
