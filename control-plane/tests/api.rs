//! The API as people, programs and agents meet it: a real server on a real store, over TLS.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::Ipv4Addr;
use std::time::Duration;

use api::agent::{Fact, Frame, JoinAnswer, JoinRequest, Report, Seen};
use api::container::{ContainerState, ContainerStatus};
use api::host::{HostFacts, HostState};
use api::list::List;
use api::problem::{Problem, Reason};
use api::{Container, Event, Host, Network, Project, Token, User};
use client::{Client, Error, Identity, Lines, Trust};
use control_plane::secret::JoinToken;
use control_plane::server::{self, Options, Started, StoreOptions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

struct Cluster {
    folder: tempfile::TempDir,
    started: Started,
    stop: CancellationToken,
    key: String,
}

impl Cluster {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let started = start(folder.path(), "127.0.0.1:0", &stop).await;
        let key = started.admin_key.clone().unwrap();
        Self {
            folder,
            started,
            stop,
            key,
        }
    }

    fn url(&self) -> String {
        format!("https://{}", self.started.address)
    }

    fn ca(&self) -> Trust {
        Trust::Ca(self.started.server.authority.certificate().to_owned())
    }

    fn with(&self, identity: Identity) -> Client {
        Client::new(&self.url(), self.ca(), identity).unwrap()
    }

    fn admin(&self) -> Client {
        self.with(Identity::Key(self.key.clone()))
    }

    async fn user(&self, name: &str, role: Option<&str>) -> Client {
        let admin = self.admin();
        let user: User = admin
            .post("/v1/users", &json!({"name": name}))
            .await
            .unwrap();
        let key: api::ApiKey = admin
            .post(
                "/v1/keys",
                &json!({"name": name, "spec": {"user": user.meta.id}}),
            )
            .await
            .unwrap();
        if let Some(role) = role {
            let project: Project = admin.get("/v1/projects/default").await.unwrap();
            let mut spec = serde_json::to_value(&project.spec).unwrap();
            spec["members"][user.meta.id.as_str()] = json!(role);
            let edit = json!({"revision": project.meta.revision, "spec": spec});
            let _: Project = admin.put("/v1/projects/default", &edit).await.unwrap();
        }
        self.with(Identity::Key(key.status.key.unwrap()))
    }

    async fn token(&self, spec: Value) -> String {
        let made: Token = self
            .admin()
            .post(
                "/v1/projects/default/tokens",
                &json!({"name": format!("t{}", rand::random::<u32>()), "spec": spec}),
            )
            .await
            .unwrap();
        assert_eq!(made.status.secret_hash, "");
        made.status.token.unwrap()
    }

    /// As a new host would: it knows the token only.
    async fn join(&self, token: &str, name: &str) -> Result<Member, Error> {
        let parsed: JoinToken = token.parse().unwrap();
        let stranger = Client::new(&self.url(), Trust::Hash(parsed.ca), Identity::None).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let csr = rcgen::CertificateParams::new(vec![])
            .unwrap()
            .serialize_request(&key)
            .unwrap();
        let request = JoinRequest {
            token: token.to_owned(),
            name: name.to_owned(),
            labels: Default::default(),
            address: None,
            csr: csr.pem().unwrap(),
            facts: HostFacts::default(),
        };
        let answer: JoinAnswer = stranger.post("/v1/join", &request).await?;
        let identity = Identity::Certificate {
            certificate: answer.certificate.clone(),
            key: key.serialize_pem(),
        };
        let client = Client::new(&self.url(), Trust::Ca(answer.ca.clone()), identity).unwrap();
        Ok(Member { answer, client })
    }

    async fn host(&self, name: &str) -> Host {
        self.admin()
            .get(&format!("/v1/projects/default/hosts/{name}"))
            .await
            .unwrap()
    }

    /// Until the host has the state.
    async fn until(&self, name: &str, state: HostState) {
        let mut last = None;
        for _ in 0..100 {
            last = Some(self.host(name).await.status.state);
            if last == Some(state) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{name} is {last:?}, not {state:?}");
    }
}

async fn start(folder: &std::path::Path, listen: &str, stop: &CancellationToken) -> Started {
    let options = Options {
        listen: listen.parse().unwrap(),
        names: vec!["127.0.0.1".into()],
        store: StoreOptions::File(folder.join("store")),
    };
    // SQLite waits a moment for a file that the server before is letting go.
    server::start(options, stop.clone()).await.unwrap()
}

struct Member {
    answer: JoinAnswer,
    client: Client,
}

impl Member {
    async fn stream(&self, instance: &str, known: Option<(&str, u64)>) -> Result<Lines, Error> {
        let (store, revision) = known.unwrap_or_default();
        let path =
            format!("/v1/agent/stream?instance={instance}&store={store}&revision={revision}");
        self.client.lines(&path).await
    }

    async fn report(&self, report: &Report) {
        let _: Value = self.client.post("/v1/agent/report", report).await.unwrap();
    }
}

fn container(name: &str, last: u8) -> Seen {
    Seen {
        name: name.into(),
        status: ContainerStatus {
            docker_id: format!("{name}{}", "0".repeat(60)),
            image: "web:1".into(),
            state: ContainerState::Running,
            address: Some(Ipv4Addr::new(10, 42, 0, last)),
            ..ContainerStatus::default()
        },
    }
}

fn refused<T>(outcome: Result<T, Error>) -> Problem {
    match outcome {
        Err(Error::Refused(problem)) => problem,
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("not refused"),
    }
}

async fn next(lines: &mut Lines) -> Frame {
    tokio::time::timeout(Duration::from_secs(10), lines.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
}

/// The facts of the next frames, until one passes `enough`.
async fn told(lines: &mut Lines, enough: impl Fn(&Fact) -> bool) -> (Vec<Fact>, u64) {
    let mut all = Vec::new();
    loop {
        let (facts, revision) = match next(lines).await {
            Frame::Whole {
                facts, revision, ..
            } => (facts, revision),
            Frame::Changes { facts, to, .. } => (facts, to),
            Frame::Alive { .. } => continue,
            Frame::Removed => panic!("removed"),
        };
        let is_enough = facts.iter().any(&enough);
        all.extend(facts);
        if is_enough {
            return (all, revision);
        }
    }
}

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
        public_key: Some("key".into()),
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
            .any(|fact| matches!(fact, Fact::Host(h) if h.public_key.as_deref() == Some("key")))
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
    assert!(problem.title.contains("was for 1 hosts"), "{problem}");

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
    // A restart: the newer one wins.
    let mut second = host.stream("two", None).await.unwrap();
    next(&mut second).await;
    // The older one is still there: two machines.
    let problem = refused(host.stream("one", None).await);
    assert_eq!(problem.reason, Reason::Exists);
    assert!(problem.advice.contains("cloned"), "{problem}");
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
    let line: Value = watch.next().await.unwrap().unwrap();
    assert_eq!(
        (&line["type"], &line["object"]["spec"]["disabled"]),
        (&json!("put"), &json!(true))
    );
    let line: Value = watch.next().await.unwrap().unwrap();
    assert_eq!(
        (&line["type"], &line["id"]),
        (&json!("delete"), &json!(user.meta.id))
    );
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
    let started = start(folder.path(), &address, &stop).await;
    assert_eq!(started.admin_key, None);
    let url = format!("https://{address}");
    let admin = Client::new(&url, Trust::Ca(ca), Identity::Key(key)).unwrap();
    let hosts: List<Host> = admin.get("/v1/projects/default/hosts").await.unwrap();
    assert_eq!(hosts.items[0].meta.id, host.answer.host);
    let mut stream = host.stream("i", None).await.unwrap();
    assert!(matches!(next(&mut stream).await, Frame::Whole { .. }));
}
