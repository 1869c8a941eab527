//! What comes from outside and is wrong, too large, too slow or a lie: each is refused by name, and the server goes on for the others.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::agent::{Fact, Frame, Report};
use api::list::List;
use api::problem::{Problem, Reason};
use api::{Container, Project, Token};
use client::Identity;
use cluster::{Cluster, container, next, refused};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

async fn tls(cluster: &Cluster, protocol: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(cluster.ca.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(cluster.started.address).await.unwrap();
    let name = ServerName::try_from(api::SERVER_NAME).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.unwrap()
}

/// Status and body of the answer to bytes that HTTP/1.1 should be.
async fn raw(cluster: &Cluster, request: &[u8]) -> (u16, String) {
    let mut stream = tls(cluster, b"http/1.1").await;
    // The server may have enough before it has heard all.
    stream.write_all(request).await.ok();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), reading)
        .await
        .unwrap()
        .ok();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.unwrap_or(0), body.to_owned())
}

async fn problem(cluster: &Cluster, method: &str, path: &str, body: &str) -> Problem {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        cluster.key,
        body.len()
    );
    let (status, answer) = raw(cluster, request.as_bytes()).await;
    let problem: Problem = serde_json::from_str(&answer)
        .unwrap_or_else(|_| panic!("{method} {path}: {status} {answer}"));
    assert_eq!(problem.status, status, "{method} {path}: {answer}");
    assert!((400..500).contains(&status), "{method} {path}: {answer}");
    problem
}

async fn lives(cluster: &Cluster) {
    let _: Value = cluster.with(Identity::None).get("/v1/ping").await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_understood_is_named() {
    let cluster = Cluster::new().await;
    let deep = format!(
        r#"{{"name":"a","spec":{}{}}}"#,
        "[".repeat(300),
        "]".repeat(300)
    );
    let cases = [
        ("POST", "/v1/users", "{", Reason::BadRequest),
        ("POST", "/v1/users", "[]", Reason::Invalid),
        ("POST", "/v1/users", r#"{"name":7}"#, Reason::Invalid),
        (
            "POST",
            "/v1/users",
            r#"{"name":"a","more":1}"#,
            Reason::Invalid,
        ),
        ("POST", "/v1/users", &deep, Reason::Invalid),
        ("GET", "/v1/users?limt=1", "", Reason::BadRequest),
        ("GET", "/v1/users?limit=-1", "", Reason::BadRequest),
        ("GET", "/v1/users?watch=maybe", "", Reason::BadRequest),
        (
            "GET",
            "/v1/users?watch=true&revision=x",
            "",
            Reason::BadRequest,
        ),
        ("GET", "/v1/users/%ff", "", Reason::BadRequest),
        (
            "GET",
            "/v1/users/..%2f..%2fkeys%2fadmin",
            "",
            Reason::NotFound,
        ),
        ("GET", "/v1/projects/..%2f-/hosts", "", Reason::NotFound),
        (
            "GET",
            "/v1/projects/default/hosts/%00",
            "",
            Reason::NotFound,
        ),
        ("GET", "/v1/../etc/passwd", "", Reason::NotFound),
        ("GET", "/", "", Reason::NotFound),
        ("PATCH", "/v1/users/admin", "{}", Reason::NotAllowed),
        (
            "POST",
            "/v1/projects/default/containers",
            r#"{"name":"a"}"#,
            Reason::NotAllowed,
        ),
        (
            "POST",
            "/v1/join",
            r#"{"token":"x","name":"a","csr":""}"#,
            Reason::BadRequest,
        ),
    ];
    for (method, path, body, reason) in cases {
        let problem = problem(&cluster, method, path, body).await;
        assert_eq!(
            problem.reason, reason,
            "{method} {path} {body:.60}: {problem}"
        );
    }
    // A page may begin anywhere: it shows nothing that is not of the list.
    let list: List<Value> = cluster
        .admin()
        .get("/v1/users?continue=../../keys")
        .await
        .unwrap();
    assert!(list.items.len() <= 1, "{list:?}");
}

#[tokio::test]
async fn names_and_labels_have_limits() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let long = "a".repeat(64);
    for name in [
        "", "A", "a b", "../x", "a/b", "ä", "\0", "-a", "10.0.0.1", &long, "a\n", "💥",
    ] {
        let problem = refused(
            admin
                .post::<Value>("/v1/users", &json!({"name": name}))
                .await,
        );
        let said = (problem.reason, problem.field.as_str());
        assert_eq!(said, (Reason::Invalid, "name"), "{name:?}: {problem}");
    }
    let many: BTreeMap<String, &str> = (0..129).map(|n| (format!("k{n}"), "v")).collect();
    let value = "v".repeat(5000);
    for labels in [
        json!(many),
        json!({"k": value}),
        json!({"": ""}),
        json!({"a,b": ""}),
        json!({"k": "\u{7}"}),
    ] {
        let new = json!({"name": "x", "labels": labels});
        let problem = refused(admin.post::<Value>("/v1/users", &new).await);
        assert_eq!(problem.field, "labels", "{problem}");
    }
}

#[tokio::test]
async fn too_much_is_not_read() {
    let cluster = Cluster::new().await;
    let token = cluster.token(json!({})).await;
    let host = cluster.join(&token, "a").await.unwrap();
    let text = "x".repeat(300 << 10);
    let problem = refused(
        cluster
            .admin()
            .post::<Value>("/v1/users", &json!({"name": text}))
            .await,
    );
    assert_eq!(problem.reason, Reason::TooLarge, "{problem}");
    let stranger = cluster.with(Identity::None);
    let text = "x".repeat(70 << 10);
    let problem = refused(
        stranger
            .post::<Value>("/v1/join", &json!({"token": text}))
            .await,
    );
    assert_eq!(problem.reason, Reason::TooLarge, "{problem}");
    // Who is not known is refused before anything is read.
    let problem = refused(
        stranger
            .post::<Value>("/v1/users", &json!({"name": text}))
            .await,
    );
    assert_eq!(problem.reason, Reason::Unauthenticated, "{problem}");
    let problem = refused(
        cluster
            .admin()
            .post::<Value>("/v1/agent/report", &json!({"instance": text}))
            .await,
    );
    assert_eq!(problem.reason, Reason::Unauthenticated, "{problem}");
    let many = Report {
        containers: vec![container("web", 5); 5000],
        ..Report::default()
    };
    let problem = refused(host.client.post::<Value>("/v1/agent/report", &many).await);
    assert_eq!(problem.reason, Reason::TooLarge, "{problem}");
    assert!(
        problem.title.contains("a host has at most 4096"),
        "{problem}"
    );
    // Heads have limits, too.
    let (status, _) = raw(
        &cluster,
        format!(
            "GET /v1/ping HTTP/1.1\r\nhost: x\r\n{}\r\n",
            "a: b\r\n".repeat(5000)
        )
        .as_bytes(),
    )
    .await;
    assert!(status == 431 || status == 400 || status == 0, "{status}");
    let long = format!(
        "GET /v1/ping HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n",
        "b".repeat(1 << 20)
    );
    let (status, _) = raw(&cluster, long.as_bytes()).await;
    assert!(status == 431 || status == 400 || status == 0, "{status}");
    lives(&cluster).await;
}

/// Until the other end has ended the connection.
async fn ended(stream: &mut (impl AsyncReadExt + Unpin)) -> Duration {
    let begun = Instant::now();
    let mut rest = Vec::new();
    let reading = stream.read_to_end(&mut rest);
    tokio::time::timeout(Duration::from_secs(40), reading)
        .await
        .unwrap_or_else(|_| panic!("the server keeps a silent connection"))
        .ok();
    begun.elapsed()
}

#[tokio::test]
async fn who_is_slow_is_not_waited_for() {
    let cluster = Cluster::new().await;
    let address: SocketAddr = cluster.started.address;
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut half = TcpStream::connect(address).await.unwrap();
    // The beginning of a ClientHello.
    half.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let mut no_preface = tls(&cluster, b"h2").await;
    let mut no_request = tls(&cluster, b"http/1.1").await;
    let mut half_head = tls(&cluster, b"http/1.1").await;
    half_head
        .write_all(b"GET /v1/ping HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    half_head.flush().await.unwrap();
    // Many that do nothing.
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    lives(&cluster).await;
    let times = tokio::join!(
        ended(&mut silent),
        ended(&mut half),
        ended(&mut no_preface),
        ended(&mut no_request),
        ended(&mut half_head),
        ended(&mut idle[299]),
    );
    println!("{times:?}");
    lives(&cluster).await;
}

/// A host tells of its own containers, whatever it says, to its own project.
#[tokio::test]
async fn hosts_speak_for_themselves() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let token = cluster.token(json!({})).await;
    let (one, two) = (
        cluster.join(&token, "one").await.unwrap(),
        cluster.join(&token, "two").await.unwrap(),
    );
    let _: Project = admin
        .post("/v1/projects", &json!({"name": "other"}))
        .await
        .unwrap();
    let made: Token = admin
        .post("/v1/projects/other/tokens", &json!({"name": "t"}))
        .await
        .unwrap();
    let foreign = cluster
        .join(&made.status.token.unwrap(), "one")
        .await
        .unwrap();
    // The same id of Docker's, and the claim to be another host.
    let mut seen = container("web", 5);
    one.report(&Report {
        containers: vec![seen.clone()],
        ..Report::default()
    })
    .await;
    seen.status.host = Some(one.answer.host.clone());
    seen.status.address = "192.168.7.7".parse().ok();
    two.report(&Report {
        whole: true,
        containers: vec![seen.clone()],
        gone: vec![container("db", 1).status.docker_id],
        ..Report::default()
    })
    .await;
    let list: List<Container> = admin.get("/v1/projects/default/containers").await.unwrap();
    let hosts: Vec<_> = list
        .items
        .iter()
        .map(|one| one.status.host.clone().unwrap())
        .collect();
    assert_eq!(hosts.len(), 2);
    assert!(hosts.contains(&one.answer.host) && hosts.contains(&two.answer.host));
    let lie = list
        .items
        .iter()
        .find(|one| one.status.host.as_ref() == Some(&two.answer.host))
        .unwrap();
    assert_eq!(lie.status.address, None);
    assert!(lie.status.problems[0].contains("192.168.7.7"), "{lie:?}");
    two.report(&Report {
        gone: vec![seen.status.docker_id.clone()],
        ..Report::default()
    })
    .await;
    let list: List<Container> = admin.get("/v1/projects/default/containers").await.unwrap();
    assert_eq!(list.items[0].status.host, Some(one.answer.host.clone()));

    // The other project's host hears of its own only.
    let mut stream = foreign.stream("f", None).await.unwrap();
    let Frame::Whole { facts, .. } = next(&mut stream).await else {
        panic!("no whole");
    };
    for fact in &facts {
        match fact {
            Fact::Host(host) => assert_eq!(host.id, foreign.answer.host),
            Fact::Network(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(facts.len(), 2);
}

#[tokio::test]
async fn reports_that_come_late_change_nothing() {
    let cluster = Cluster::new().await;
    let token = cluster.token(json!({})).await;
    let host = cluster.join(&token, "a").await.unwrap();
    let report = |instance: &str, sequence, names: &[&str]| Report {
        instance: instance.into(),
        sequence,
        whole: true,
        containers: names.iter().map(|name| container(name, 5)).collect(),
        ..Report::default()
    };
    let count = async || -> usize {
        let list: List<Container> = cluster
            .admin()
            .get("/v1/projects/default/containers")
            .await
            .unwrap();
        list.items.len()
    };
    host.report(&report("i", 2, &["a", "b"])).await;
    host.report(&report("i", 1, &[])).await;
    host.report(&report("i", 2, &[])).await;
    assert_eq!(count().await, 2);
    host.report(&report("i", 3, &["a"])).await;
    assert_eq!(count().await, 1);
    host.report(&report("j", 1, &["a", "b", "c"])).await;
    assert_eq!(count().await, 3);
}
