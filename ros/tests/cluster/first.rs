//! From nothing to a host in a cluster, by the lines that the server prints.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::setup::{Person, Server};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_printed_lines_lead_to_a_host() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("server");
    let server = Server::start(&data, "127.0.0.1:0");
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("cluster.db")), 0o600);

    let person = Person::new();
    let added = person.good(&server.words("ros context add"));
    let url = server.url();
    assert_eq!(
        added,
        format!("home is the current context: {url}, project default, as admin.\n")
    );
    let file = person.path(".config/ros/contexts.yml");
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);

    let agent = person.path("agent");
    let place = ["--no-start", "--data", agent.to_str().unwrap()];
    let join = [
        &server.words("ros agent join"),
        &place[..],
        &["--name", "Wéb.1", "--label", "zone=a"],
    ]
    .concat();
    let said = person.good(&join);
    assert!(said.starts_with("This host is `w-b-1` (h-"), "{said}");
    assert_eq!(mode(&agent.join("identity.json")), 0o600);
    let again = person.bad(&join);
    assert_eq!(
        again,
        "this host is in a cluster already, as w-b-1; `ros agent leave` takes it out"
    );

    let hosts = person.good(&["hosts"]);
    assert!(hosts.contains("w-b-1  joining"), "{hosts}");
    let host = person.json(&["hosts", "show", "w-b-1"]);
    assert_eq!(host["labels"]["zone"], "a");

    // What was shown once is never shown again.
    let key = server.key().to_owned();
    let token = server.words("ros agent join")[3].to_owned();
    for all in [
        person.good(&["context", "show"]),
        person.good(&["context", "list", "--format", "json"]),
        person.good(&["tokens", "--format", "json"]),
    ] {
        assert!(!all.contains(&key) && !all.contains(&token), "{all}");
    }
    let address = server.address().to_owned();
    assert_eq!(server.stop(), Some(0));
    let server = Server::start(&data, &address);
    assert_eq!(server.said, format!("Listening on {address}.\n"));
    assert!(person.good(&["hosts"]).contains("w-b-1"));
}

#[test]
fn an_agent_that_runs_is_connected() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "127.0.0.1:0");
    let person = Person::admin(&server);
    let token = person.json(&["tokens", "create", "--uses", "1", "--name", "one"]);
    let token = token["status"]["token"].as_str().unwrap();
    let (data, status) = (person.path("agent"), person.path("status.json"));
    let place = [
        "--data",
        data.to_str().unwrap(),
        "--status",
        status.to_str().unwrap(),
    ];
    let url = server.url();
    let join = [
        &["agent", "join", &url, "-", "--no-start", "--name", "one"],
        &place[..],
    ]
    .concat();
    let output = person.call_with(&join, &format!("{token}\n"));
    assert!(output.status.success(), "{output:?}");
    let silent = person.bad(&[&["agent", "status"], &place[..]].concat());
    assert_eq!(
        silent,
        "this host is `one` of the project `default`, but its agent does not run; `systemctl start ros-agent`, or `ros agent run`"
    );

    let run = [&["agent", "run", "--docker", "/nonexistent"], &place[..]].concat();
    let mut agent = person.command(&run).spawn().unwrap();
    person.until(&["hosts"], |said| said.contains("one   connected"));
    let connected = format!("connected to {url}");
    let ask = [&["agent", "status"], &place[..]].concat();
    let code = person.until(&ask, |said| said.contains(&connected));
    agent.kill().unwrap();
    agent.wait().unwrap();
    // Docker does not answer.
    assert_eq!(code, Some(1));

    // The token was for one host.
    let other = person.path("other");
    let join = [
        "agent",
        "join",
        &url,
        token,
        "--no-start",
        "--data",
        other.to_str().unwrap(),
    ];
    let used = person.bad(&join);
    assert_eq!(
        used,
        "token: the join token was for 1 host, which has joined; make a new one: `ros tokens create`"
    );
    assert!(!other.exists());
}
