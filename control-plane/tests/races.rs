//! What happens in one moment: of two changes that exclude each other one is made, and what is removed leaves nothing behind.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster;

use std::time::{Duration, Instant};

use api::host::HostState;
use api::list::List;
use api::problem::Reason;
use api::{ApiKey, Host, Network, Project, Token, User};
use client::{Client, Error, Identity};
use cluster::{Cluster, refused};
use serde_json::{Value, json};

async fn demote(client: &Client, name: &str) -> Result<User, Error> {
    let path = format!("/v1/users/{name}");
    let user: User = client.get(&path).await?;
    let edit = json!({"revision": user.meta.revision, "spec": {"admin": false}});
    client.put(&path, &edit).await
}

#[tokio::test]
async fn two_administrators_cannot_take_each_other_away() {
    let cluster = Cluster::new().await;
    let first = cluster.admin();
    let second = cluster.user("second", None).await;
    for round in 0..30 {
        for (client, name) in [(&first, "second"), (&second, "admin")] {
            let Ok(user) = client.get::<User>(&format!("/v1/users/{name}")).await else {
                continue;
            };
            let edit = json!({"revision": user.meta.revision, "spec": {"admin": true}});
            client
                .put::<User>(&format!("/v1/users/{name}"), &edit)
                .await
                .ok();
        }
        let outcomes = tokio::join!(demote(&first, "second"), demote(&second, "admin"));
        let done = u32::from(outcomes.0.is_ok()) + u32::from(outcomes.1.is_ok());
        assert!(
            done < 2,
            "round {round}: nobody is an administrator any more"
        );
        assert!(done > 0, "round {round}: {outcomes:?}");
    }
}

#[tokio::test]
async fn a_project_gets_one_network() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    admin
        .delete("/v1/projects/default/networks/ros")
        .await
        .unwrap();
    for round in 0..20 {
        let make = |name: String| {
            let admin = &admin;
            async move {
                let new = json!({"name": name});
                let path = "/v1/projects/default/networks";
                admin.post::<Network>(path, &new).await
            }
        };
        let (one, other) = tokio::join!(make(format!("a{round}")), make(format!("b{round}")));
        let list: List<Network> = admin.get("/v1/projects/default/networks").await.unwrap();
        assert_eq!(list.items.len(), 1, "{one:?} {other:?}");
        let path = format!("/v1/projects/default/networks/{}", list.items[0].meta.id);
        admin.delete(&path).await.unwrap();
    }
}

/// Hosts join while their project is removed, or its network moved.
#[tokio::test]
async fn a_host_joins_or_what_it_joins_goes() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let mut outcomes = [0, 0];
    for round in 0..24_u64 {
        let name = format!("p{round}");
        let path = format!("/v1/projects/{name}");
        let project: Project = admin
            .post("/v1/projects", &json!({"name": name}))
            .await
            .unwrap();
        let tokens = format!("{path}/tokens");
        let token: Token = admin.post(&tokens, &json!({"name": "t"})).await.unwrap();
        let token = token.status.token.unwrap();
        let network: Network = admin.get(&format!("{path}/networks/ros")).await.unwrap();
        let spec = json!({"subnet": "10.99.0.0/16"});
        let edit = json!({"revision": network.meta.revision, "spec": spec});
        // The order is another one each time.
        let pause = |turns| tokio::time::sleep(Duration::from_micros(700 * turns));
        let joining = async {
            pause(round % 5).await;
            cluster.join(&token, "h").await
        };
        let removing = async {
            pause(round / 5 + 1).await;
            if round % 2 == 0 {
                admin.delete(&path).await
            } else {
                let path = format!("{path}/networks/ros");
                admin.put::<Network>(&path, &edit).await.map(drop)
            }
        };
        let (joined, removed) = tokio::join!(joining, removing);
        outcomes[usize::from(joined.is_ok())] += 1;
        let hosts = cluster
            .started
            .server
            .objects
            .list::<api::host::HostKind>(Some(&project.meta.id));
        let hosts: Vec<Host> = hosts.await.unwrap().1;
        assert_eq!(hosts.len(), usize::from(joined.is_ok()), "round {round}");
        if round % 2 == 0 {
            assert!(
                joined.is_ok() != removed.is_ok(),
                "round {round}: {removed:?}"
            );
        } else {
            let network: Network = admin.get(&format!("{path}/networks/ros")).await.unwrap();
            let block = hosts[0].status.block.unwrap();
            assert!(
                network.spec.subnet.contains(&block),
                "{block} is not of {network:?}"
            );
        }
    }
    println!("{} joined, {} did not", outcomes[1], outcomes[0]);
}

#[tokio::test]
async fn what_is_removed_leaves_nothing_behind() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let _: Project = admin
        .post("/v1/projects", &json!({"name": "old"}))
        .await
        .unwrap();
    let mut token = String::new();
    for n in 0..100 {
        let new = json!({"name": format!("t{n}")});
        let made: Token = admin.post("/v1/projects/old/tokens", &new).await.unwrap();
        token = made.status.token.unwrap();
    }
    let _late = cluster.user("late", None).await;
    admin.delete("/v1/projects/old").await.unwrap();
    admin.delete("/v1/users/late").await.unwrap();
    let problem = refused(cluster.join(&token, "h").await);
    assert_ne!(problem.reason, Reason::Internal, "{problem}");
    let begun = Instant::now();
    loop {
        let snapshot = cluster
            .started
            .server
            .objects
            .store()
            .snapshot("/")
            .await
            .unwrap();
        let is_of = |key: &str| {
            let kinds = ["tokens", "networks", "keys", "users"];
            kinds.iter().any(|kind| {
                key.starts_with(&format!("/objects/{kind}/"))
                    || key.starts_with(&format!("/names/{kind}/"))
            })
        };
        let left: Vec<&str> = snapshot
            .entries
            .iter()
            .map(|entry| entry.key.as_str())
            .filter(|key| is_of(key))
            .collect();
        // The first administrator with a key, the first project's network and token; each with its name.
        if left.len() == 8 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{left:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let problem = refused(cluster.join(&token, "h").await);
    assert!(problem.title.contains("not known"), "{problem}");
}

#[tokio::test]
async fn a_host_that_asks_again_is_the_same_host() {
    let cluster = Cluster::new().await;
    let token = cluster.token(json!({"uses": 1})).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let first = cluster.join_with(&key, &token, "a").await.unwrap();
    // The answer was lost.
    let again = cluster.join_with(&key, &token, "a").await.unwrap();
    assert_eq!(first.answer.host, again.answer.host);
    assert_eq!(again.answer.name, "a");
    let problem = refused(cluster.join(&token, "b").await);
    assert!(problem.title.contains("was for 1 host,"), "{problem}");
    let _stream = again.stream("i", None).await.unwrap();
    cluster.until("a", HostState::Connected).await;
    // It was heard of: whoever comes with its key now is another machine.
    let problem = refused(cluster.join_with(&key, &token, "a").await);
    assert!(problem.title.contains("was for 1 host,"), "{problem}");
    let wide = cluster.token(json!({})).await;
    let copy = cluster.join_with(&key, &wide, "a").await.unwrap();
    assert_ne!(copy.answer.host, first.answer.host);
    let hosts: List<Host> = cluster
        .admin()
        .get("/v1/projects/default/hosts")
        .await
        .unwrap();
    assert_eq!(hosts.items.len(), 2);
    let network: Network = cluster
        .admin()
        .get("/v1/projects/default/networks/ros")
        .await
        .unwrap();
    assert_eq!(
        (network.status.blocks_used, network.status.blocks),
        (2, 256)
    );
}

/// A stolen certificate waits at the door while its host is removed.
#[tokio::test]
async fn who_is_removed_while_it_waits_does_not_come_in() {
    let cluster = Cluster::new().await;
    let token = cluster.token(json!({})).await;
    let host = cluster.join(&token, "a").await.unwrap();
    let store = cluster.started.server.objects.store().id().await.unwrap();
    // The server waits for what it has not been told yet.
    let waiting = host.stream("i", Some((&store, u64::MAX)));
    let removing = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster
            .admin()
            .delete("/v1/projects/default/hosts/a")
            .await
            .unwrap();
    };
    let (stream, ()) = tokio::join!(waiting, removing);
    let problem = refused(stream);
    assert!(problem.title.contains("was removed"), "{problem}");
}

/// Answers of a key that was just made are of use at once, and end with the key.
#[tokio::test]
async fn a_key_ends_when_it_says() {
    let cluster = Cluster::new().await;
    let soon = (jiff::Timestamp::now() + Duration::from_secs(2)).to_string();
    let new = json!({"name": "short", "spec": {"expires": soon}});
    let key: ApiKey = cluster.admin().post("/v1/keys", &new).await.unwrap();
    let client = cluster.with(Identity::Key(key.status.key.unwrap()));
    let _: Value = client.get("/v1/whoami").await.unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let problem = refused(client.get::<Value>("/v1/whoami").await);
    assert_eq!(problem.reason, Reason::Unauthenticated);
}
