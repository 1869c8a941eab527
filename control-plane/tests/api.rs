//! The API as people, programs and agents meet it: a real server on a real store, over TLS.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster;

use std::time::Duration;

use api::agent::{Fact, Frame, Report};
use api::host::{Host, HostState};
use api::list::List;
use api::problem::Reason;
use api::{Container, Event, Network, Project, Token, User};
use client::{Client, Error, Identity, Trust};
use cluster::{Cluster, container, next, refused, start, told};
use control_plane::secret::JoinToken;
use control_plane::server::StoreOptions;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A WireGuard key, as far as its form goes.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

#[tokio::test]
async fn hosts_join_and_hear_of_each_other() {
    let cluster = Cluster::new().await;
    let token = cluster.token(json!({})).await;
    let one = cluster.join(&token, "Node_A").await.unwrap();
    let two = cluster.join(&token, "Node_A").await.unwrap();
    assert_eq!(
        (one.answer.name.as_str(), two.answer.name.as_str()),
        ("node-a", "node-a-2")
    );
    let mut stream = one.stream("i1", None).await.unwrap();
    let Frame::Whole { store, facts, .. } = next(&mut stream).await else {
        panic!("no whole");
    };
    let is_second = |fact: &Fact| matches!(fact, Fact::Host(h) if h.name == "node-a-2");
    if !facts.iter().any(is_second) {
        // It has joined a moment ago.
        told(&mut stream, is_second).await;
    }
    cluster.until("node-a", HostState::Connected).await;
    let hosts: List<Host> = cluster
        .admin()
        .get("/v1/projects/default/hosts")
        .await
        .unwrap();
    let blocks: Vec<String> = hosts
        .items
        .iter()
        .map(|host| host.status.block.unwrap().to_string())
        .collect();
    assert!(blocks.contains(&"10.42.0.0/24".into()) && blocks.contains(&"10.42.1.0/24".into()));

    two.report(&Report {
        public_key: Some(KEY.into()),
        whole: true,
        containers: vec![container("web", 5), container("db", 6)],
        ..Report::default()
    })
    .await;
    let is_web = |fact: &Fact| matches!(fact, Fact::Container(c) if c.name == "web");
    let (facts, revision) = told(&mut stream, is_web).await;
    assert!(
        facts
            .iter()
            .any(|fact| matches!(fact, Fact::Host(h) if h.public_key.as_deref() == Some(KEY)))
    );

    // What was missed while it was away, and no more.
    drop(stream);
    cluster.until("node-a", HostState::Reconnecting).await;
    two.report(&Report {
        whole: true,
        containers: vec![container("db", 6)],
        ..Report::default()
    })
    .await;
    let mut stream = one.stream("i1", Some((&store, revision))).await.unwrap();
    let (facts, _) = told(&mut stream, |fact| matches!(fact, Fact::NoContainer(_))).await;
    assert!(facts.len() <= 3, "{facts:?}");
    let left: List<Container> = cluster
        .admin()
        .get("/v1/projects/default/containers")
        .await
        .unwrap();
    assert_eq!(left.items.len(), 1);
}

#[tokio::test]
async fn tokens_open_the_door_as_far_as_they_say() {
    let cluster = Cluster::new().await;
    let once = cluster.token(json!({"uses": 1})).await;
    cluster.join(&once, "a").await.unwrap();
    let problem = refused(cluster.join(&once, "b").await);
    assert!(
        problem.title.contains("was for 1 host, which has joined"),
        "{problem}"
    );

    let revoked = cluster.token(json!({})).await;
    let id = revoked.split('.').nth(1).unwrap();
    let path = format!("/v1/projects/default/tokens/{id}");
    cluster.admin().delete(&path).await.unwrap();
    let problem = refused(cluster.join(&revoked, "b").await);
    assert!(problem.title.contains("not known"), "{problem}");

    let soon = (jiff::Timestamp::now() + Duration::from_secs(1)).to_string();
    let short = cluster.token(json!({"expires": soon})).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let problem = refused(cluster.join(&short, "b").await);
    assert!(problem.title.contains("has expired"), "{problem}");

    // Another cluster's token: the server is not the one that it names.
    let other = Cluster::new().await;
    let foreign = other.token(json!({})).await;
    let error = cluster.join(&foreign, "b").await.err().unwrap();
    assert!(matches!(error, Error::Untrusted { .. }), "{error:?}");

    // The right hash with a wrong secret.
    let token = cluster.token(json!({})).await;
    let mut forged: JoinToken = token.parse().unwrap();
    forged.secret = control_plane::secret::fresh();
    let problem = refused(cluster.join(&forged.reveal(), "b").await);
    assert!(problem.title.contains("not known"), "{problem}");
}

#[tokio::test]
async fn a_removed_host_is_out() {
    let cluster = Cluster::new().await;
    let token = cluster.token(json!({})).await;
    let host = cluster.join(&token, "a").await.unwrap();
    let mut stream = host.stream("i", None).await.unwrap();
    next(&mut stream).await;
    host.report(&Report {
        containers: vec![container("web", 5)],
        ..Report::default()
    })
    .await;
    cluster
        .admin()
        .delete("/v1/projects/default/hosts/a")
        .await
        .unwrap();
    loop {
        if next(&mut stream).await == Frame::Removed {
            break;
        }
    }
    let problem = refused(host.stream("i", None).await);
    assert!(problem.title.contains("was removed"), "{problem}");
    // Its containers go, its block is free again.
    let again = cluster.join(&token, "a").await.unwrap();
    assert_eq!(
        cluster.host("a").await.status.block.unwrap().to_string(),
        "10.42.0.0/24"
    );
    assert_ne!(again.answer.host, host.answer.host);
    for _ in 0..50 {
        let left: List<Container> = cluster
            .admin()
            .get("/v1/projects/default/containers")
            .await
            .unwrap();
        if left.items.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("its containers stay");
}

#[tokio::test]
async fn the_same_identity_twice_is_noticed() {
    let cluster = Cluster::new().await;
    let token = cluster.token(json!({})).await;
    let host = cluster.join(&token, "a").await.unwrap();
    let mut first = host.stream("one", None).await.unwrap();
    next(&mut first).await;
    // Two machines: who is there stays.
    for _ in 0..2 {
        let problem = refused(host.stream("two", None).await);
        assert_eq!(problem.reason, Reason::Exists);
        assert!(problem.advice.contains("cloned"), "{problem}");
    }
    // The people are told, once.
    let events: List<Event> = cluster
        .admin()
        .get("/v1/projects/default/events")
        .await
        .unwrap();
    let told = events
        .items
        .iter()
        .filter(|event| event.spec.what == "host.identity-conflict");
    let told: Vec<&str> = told.map(|event| event.spec.object_name.as_str()).collect();
    assert_eq!(told, ["a"]);
    // Nor may the copy take the host out of the cluster.
    let path = "/v1/agent/leave";
    for body in [json!({}), json!({"instance": "two"})] {
        let problem = refused(host.client.post::<Value>(path, &body).await);
        assert_eq!(problem.reason, Reason::Exists);
    }
    cluster.until("a", HostState::Connected).await;
    // The first goes on, also on a new connection of its own.
    next(&mut first).await;
    let mut again = host.stream("one", None).await.unwrap();
    next(&mut again).await;
    // A restart of the agent: its connection has ended.
    drop((first, again));
    for _ in 0..50 {
        if let Ok(mut second) = host.stream("two", None).await {
            next(&mut second).await;
            let own = json!({"instance": "two"});
            let _: Value = host.client.post(path, &own).await.unwrap();
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the agent is not let in after its restart");
}

#[tokio::test]
async fn roles_are_kept() {
    let cluster = Cluster::new().await;
    let stranger = cluster.user("stranger", None).await;
    let reader = cluster.user("reader", Some("readonly")).await;
    let member = cluster.user("member", Some("member")).await;
    let hosts = "/v1/projects/default/hosts";
    let tokens = "/v1/projects/default/tokens";
    assert_eq!(
        refused(stranger.get::<Value>(hosts).await).reason,
        Reason::NotFound
    );
    let _: List<Host> = reader.get(hosts).await.unwrap();
    let new = json!({"name": "x"});
    assert_eq!(
        refused(reader.post::<Value>(tokens, &new).await).reason,
        Reason::Forbidden
    );
    let _: Token = member.post(tokens, &new).await.unwrap();
    assert_eq!(
        refused(member.post::<Value>("/v1/users", &new).await).reason,
        Reason::Forbidden
    );
    let nobody = cluster.with(Identity::None);
    assert_eq!(
        refused(nobody.get::<Value>(hosts).await).reason,
        Reason::Unauthenticated
    );
    let wrong = cluster.with(Identity::Key(
        "roskey.k-aaaaaaaaaaaa.AAAAAAAAAAAAAAAAAAAAAA".into(),
    ));
    assert_eq!(
        refused(wrong.get::<Value>(hosts).await).reason,
        Reason::Unauthenticated
    );
    // Each sees its own projects.
    let seen: List<Project> = stranger.get("/v1/projects").await.unwrap();
    assert_eq!(seen.items, []);
    let own: Project = stranger
        .post("/v1/projects", &json!({"name": "own"}))
        .await
        .unwrap();
    let network: List<Network> = stranger.get("/v1/projects/own/networks").await.unwrap();
    assert_eq!(network.items[0].meta.project, Some(own.meta.id));
    // A change leaves an event with its author.
    let events: List<Event> = reader.get("/v1/projects/default/events").await.unwrap();
    let made = events
        .items
        .iter()
        .find(|event| event.spec.what == "token.create")
        .unwrap();
    assert_eq!(
        (made.spec.by_name.as_str(), made.spec.object_name.as_str()),
        ("member", "x")
    );
}

#[tokio::test]
async fn nobody_becomes_somebody_else() {
    let cluster = Cluster::new().await;
    let (admin, user) = (cluster.admin(), cluster.user("eve", None).await);
    let boss: User = admin.get("/v1/users/admin").await.unwrap();
    let key: api::ApiKey = user.get("/v1/keys/eve").await.unwrap();
    let edit = json!({"revision": key.meta.revision, "spec": {"user": boss.meta.id}});
    let problem = refused(user.put::<Value>("/v1/keys/eve", &edit).await);
    assert_eq!(
        (problem.reason, problem.field.as_str()),
        (Reason::Forbidden, "spec.user")
    );
    let new = json!({"name": "x", "spec": {"user": boss.meta.id}});
    assert_eq!(
        refused(user.post::<Value>("/v1/keys", &new).await).reason,
        Reason::Forbidden
    );
    // The admin's key is not even there for others.
    assert_eq!(
        refused(user.get::<Value>("/v1/keys/admin").await).reason,
        Reason::NotFound
    );
    assert_eq!(
        refused(user.delete("/v1/keys/admin").await).reason,
        Reason::NotFound
    );
    let own: User = user.get("/v1/users/eve").await.unwrap();
    let edit = json!({"revision": own.meta.revision, "spec": {"admin": true}});
    assert_eq!(
        refused(user.put::<Value>("/v1/users/eve", &edit).await).reason,
        Reason::Forbidden
    );

    // The last administrator stays one.
    assert_eq!(
        refused(admin.delete("/v1/users/admin").await).reason,
        Reason::InUse
    );
    let edit = json!({"revision": boss.meta.revision, "spec": {"admin": true, "disabled": true}});
    assert_eq!(
        refused(admin.put::<Value>("/v1/users/admin", &edit).await).reason,
        Reason::InUse
    );
    // A user that is disabled is out at once.
    let edit = json!({"revision": own.meta.revision, "spec": {"disabled": true}});
    let _: User = admin.put("/v1/users/eve", &edit).await.unwrap();
    assert_eq!(
        refused(user.get::<Value>("/v1/whoami").await).reason,
        Reason::Unauthenticated
    );
}

#[tokio::test]
async fn lists_updates_and_watches() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    for n in 0..5 {
        let labels = if n < 2 {
            json!({"tier": "a"})
        } else {
            json!({})
        };
        let _: User = admin
            .post(
                "/v1/users",
                &json!({"name": format!("u{n}"), "labels": labels}),
            )
            .await
            .unwrap();
    }
    let mut names = Vec::new();
    let mut path = "/v1/users?limit=2".to_owned();
    loop {
        let page: List<User> = admin.get(&path).await.unwrap();
        assert!(page.items.len() <= 2);
        names.extend(page.items.into_iter().map(|user| user.meta.name));
        let Some(next) = page.next else { break };
        path = format!("/v1/users?limit=2&continue={next}");
    }
    names.sort();
    assert_eq!(names, ["admin", "u0", "u1", "u2", "u3", "u4"]);
    let some: List<User> = admin.get("/v1/users?label=tier=a").await.unwrap();
    assert_eq!(some.items.len(), 2);

    let list: List<User> = admin.get("/v1/users?name=u0").await.unwrap();
    let user = &list.items[0];
    let mut watch = admin
        .lines(&format!("/v1/users?watch=true&revision={}", list.revision))
        .await
        .unwrap();
    let edit = json!({"revision": user.meta.revision, "spec": {"disabled": true}});
    let changed: User = admin.put("/v1/users/u0", &edit).await.unwrap();
    assert_eq!((changed.meta.generation, changed.spec.disabled), (2, true));
    let stale = refused(admin.put::<User>("/v1/users/u0", &edit).await);
    assert_eq!(stale.reason, Reason::Changed);
    admin.delete("/v1/users/u0").await.unwrap();
    let line = changed_line(&mut watch).await;
    assert_eq!(
        (&line["type"], &line["object"]["spec"]["disabled"]),
        (&json!("put"), &json!(true))
    );
    let line = changed_line(&mut watch).await;
    assert_eq!(
        (&line["type"], &line["id"]),
        (&json!("delete"), &json!(user.meta.id))
    );
}

/// The next line of a watch that tells of a change.
async fn changed_line(watch: &mut client::Lines) -> Value {
    loop {
        let line: Value = watch.next().await.unwrap().unwrap();
        if line["type"] != "alive" {
            return line;
        }
    }
}

#[tokio::test]
async fn bad_input_is_named() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let problem = refused(
        admin
            .post::<Value>("/v1/users", &json!({"name": "A b"}))
            .await,
    );
    assert_eq!(
        (problem.reason, problem.field.as_str()),
        (Reason::Invalid, "name")
    );
    let problem = refused(
        admin
            .post::<Value>("/v1/users", &json!({"name": "a", "spec": {"adnim": true}}))
            .await,
    );
    assert!(problem.title.contains("unknown field `adnim`"), "{problem}");
    let problem = refused(
        admin
            .post::<Value>("/v1/users", &json!({"name": "admin"}))
            .await,
    );
    assert_eq!(problem.to_string(), "name: there is a user `admin` already");
    let problem = refused(admin.get::<Value>("/v1/nothing").await);
    assert_eq!(problem.reason, Reason::NotFound);
    let problem = refused(admin.get::<Value>("/v1/users/nobody").await);
    assert_eq!(problem.to_string(), "there is no user `nobody`");
}

#[tokio::test]
async fn a_server_comes_back_as_it_was() {
    let mut cluster = Cluster::new().await;
    let token = cluster.token(json!({})).await;
    let host = cluster.join(&token, "a").await.unwrap();
    let address = cluster.started.address.to_string();
    cluster.stop.cancel();
    tokio::time::timeout(Duration::from_secs(15), &mut cluster.started.ended)
        .await
        .unwrap()
        .unwrap();
    let stop = CancellationToken::new();
    let ca = cluster.started.server.authority.certificate().to_owned();
    let key = cluster.key.clone();
    let folder = cluster.folder;
    drop(cluster.started);
    let started = start(
        StoreOptions::File(folder.path().join("store")),
        &address,
        &stop,
    )
    .await;
    assert_eq!(started.admin_key, None);
    let url = format!("https://{address}");
    let admin = Client::new(&url, Trust::Ca(ca), Identity::Key(key)).unwrap();
    let hosts: List<Host> = admin.get("/v1/projects/default/hosts").await.unwrap();
    assert_eq!(hosts.items[0].meta.id, host.answer.host);
    let mut stream = host.stream("i", None).await.unwrap();
    assert!(matches!(next(&mut stream).await, Frame::Whole { .. }));
}
