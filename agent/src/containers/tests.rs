//! The watcher against a Docker that answers by a script: what it makes of answers that a sound one does not give.

use super::*;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// What a question is answered, by its path; `None`: never.
type Answers = fn(&str) -> Option<(u16, serde_json::Value)>;

async fn answer(mut stream: UnixStream, answers: Answers) -> std::io::Result<()> {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        asked.push(stream.read_u8().await?);
    }
    let asked = String::from_utf8_lossy(&asked).into_owned();
    let path = asked.split_whitespace().nth(1).unwrap();
    let Some((_, path)) = path.split_once("/containers/") else {
        panic!("{path}");
    };
    let Some((code, body)) = answers(path) else {
        return std::future::pending().await;
    };
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await
}

fn watcher(folder: &std::path::Path, answers: Answers) -> Watcher {
    let socket = folder.join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, answers));
        }
    });
    let docker =
        Docker::connect_with_unix(socket.to_str().unwrap(), 20, bollard::API_DEFAULT_VERSION);
    Watcher {
        docker: docker.unwrap(),
        patience: Duration::from_millis(500),
        network: watch::Sender::new(State::default()).subscribe(),
        local: watch::Sender::new(None),
        known: BTreeMap::new(),
        problems: BTreeMap::new(),
        unread: BTreeMap::new(),
    }
}

fn one(id: &str) -> serde_json::Value {
    json!({
        "Id": id, "Names": [format!("/{id}")], "Image": "i", "State": "running", "Labels": {"l": "v"},
        "HostConfig": {"NetworkMode": "bridge"},
    })
}

fn answers(path: &str) -> Option<(u16, serde_json::Value)> {
    match path.split('/').next()? {
        "bad" => Some((500, json!({"message": "layer does not exist"}))),
        "odd" => Some((200, json!({"Id": 7}))),
        "stuck" => None,
        "gone" => Some((404, json!({"message": "no such container"}))),
        "good" => Some((
            200,
            json!({
                "Id": "good", "Name": "/good", "State": {"Status": "running", "Running": true},
                "Config": {"Image": "i"}, "HostConfig": {"NetworkMode": "bridge"},
            }),
        )),
        _ => Some((200, ["bad", "odd", "stuck", "gone", "good"].map(one).into())),
    }
}

#[tokio::test]
async fn one_bad_container_does_not_hide_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut watcher = watcher(folder.path(), answers);
    watcher.list(Look::Everything).await.unwrap();
    let local = watcher.local.borrow().clone().unwrap();
    let names: Vec<&String> = local.keys().collect();
    assert_eq!(names, ["bad", "good", "odd", "stuck"]);
    for (id, says) in [
        ("bad", "layer does not exist"),
        ("odd", "JSON"),
        ("stuck", "Timeout"),
    ] {
        let seen = &local[id];
        assert_eq!(
            (seen.name.as_str(), seen.status.labels["l"].as_str()),
            (id, "v")
        );
        let problems = &seen.status.problems;
        assert!(
            problems.len() == 1 && problems[0].contains(says),
            "{problems:?}"
        );
    }
    assert_eq!(local["good"].status.problems, Vec::<String>::new());
    // An event of such a one does not break the stream either.
    let event = json!({"Type": "container", "Action": "die", "Actor": {"ID": "bad"}});
    let event = serde_json::from_value(event).unwrap();
    watcher.take(event).await.unwrap();
    // What was held up is asked again later, and not at each look.
    let asked = |watcher: &Watcher| watcher.unread["stuck"].at;
    let first = asked(&watcher);
    watcher.list(Look::Changes).await.unwrap();
    assert_eq!(asked(&watcher), first);
    watcher.unread.get_mut("stuck").unwrap().at -= AGAIN;
    watcher.list(Look::Changes).await.unwrap();
    assert!(asked(&watcher) > first);
}

#[tokio::test]
async fn a_broken_connection_ends_the_look() {
    let folder = tempfile::tempdir().unwrap();
    let mut watcher = watcher(folder.path(), answers);
    std::fs::remove_file(folder.path().join("docker.sock")).unwrap();
    watcher.list(Look::Everything).await.unwrap_err();
    watcher.inspect("good").await.unwrap_err();
}

/// One in the cluster's network that runs, and asks for an address of another network.
fn greedy(path: &str) -> Option<(u16, serde_json::Value)> {
    let mut body = json!({
        "Id": "greedy", "Name": "/greedy", "State": {"Status": "running", "Running": true},
        "Config": {"Image": "i", "Labels": {"io.rancher.container.requested_ip": "10.77.0.1"}},
        "HostConfig": {"NetworkMode": "ros"},
        "NetworkSettings": {"Networks": {"ros": {"NetworkID": "n1", "IPAddress": "10.42.1.6"}}},
    });
    if !path.starts_with("greedy") {
        body = ["greedy"].map(one).into();
    }
    Some((200, body))
}

#[tokio::test]
async fn an_address_that_was_asked_for_is_missed_also_by_what_was_first_seen_running() {
    let folder = tempfile::tempdir().unwrap();
    let mut watcher = watcher(folder.path(), greedy);
    let network = crate::overlay::DockerNetwork {
        id: "n1".into(),
        name: "ros".into(),
        subnet: Some("10.42.0.0/16".parse().unwrap()),
        block: Some("10.42.1.0/24".parse().unwrap()),
    };
    let state = State {
        network: Some(network),
        ..State::default()
    };
    watcher.network = watch::Sender::new(state).subscribe();
    watcher.list(Look::Everything).await.unwrap();
    let local = watcher.local.borrow().clone().unwrap();
    let problems = &local["greedy"].status.problems;
    assert!(
        problems.len() == 1 && problems[0].contains("10.77.0.1"),
        "{problems:?}"
    );
}
