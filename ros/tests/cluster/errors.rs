//! What goes wrong, and what people are told: each message says what, where and what to do.

use std::fs;
use std::process::Stdio;

use crate::setup::{Person, Server};

#[test]
fn what_is_written_wrong_is_told_how_to_write() {
    let person = Person::new();
    let told = |arguments: &[&str]| {
        let output = person.call(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        said.lines().next().unwrap_or_default().to_owned()
    };
    let join = |flag: &str, value: &str| told(&["agent", "join", "https://a", "t", flag, value]);
    let mut text = String::new();
    for line in [
        join("--label", "zone"),
        join("--address", "web-1"),
        told(&["server", "--listen", "6440"]),
        told(&["networks", "set", "ros", "--subnet", "10.0.0.0/99"]),
        told(&["networks", "set", "ros", "--mtu", "usual"]),
        told(&["networks", "set", "ros", "--port", "auto"]),
    ] {
        text.push_str(&format!("{line}\n"));
    }
    for (what, arguments) in [
        (
            "join token",
            &["agent", "join", "https://a", "--no-start"][..],
        ),
        (
            "API key",
            &["context", "add", "a", "https://a", "--ca", "c"],
        ),
    ] {
        let said = person.bad(arguments);
        assert!(
            said.starts_with(&format!("no {what} was given: ")),
            "{said}"
        );
        text.push_str(&format!("{said}\n"));
    }
    insta::assert_snapshot!(text);
}

/// What differs from run to run, made the same.
fn plain(text: &str, server: &Server) -> String {
    text.replace(&server.url(), "https://SERVER")
        .replace(server.address(), "SERVER")
}

#[test]
fn the_way_to_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "127.0.0.1:0");
    let (url, key) = (server.url(), server.key().to_owned());
    let good = server.words("ros context add").last().unwrap().to_string();
    let wrong = format!("sha256:{}", "0".repeat(64));
    let person = Person::new();
    let mut told = String::new();
    let mut tell = |what: &str, said: String| {
        told.push_str(&format!("{what}:\n  {}\n", plain(&said, &server)));
    };
    let add = |url: &str, key: &str, hash: &str| {
        person.bad(&["context", "add", "a", url, "--key", key, "--ca-hash", hash])
    };
    tell("no context", person.bad(&["hosts"]));
    tell("wrong hash", add(&url, &key, &wrong));
    tell("no hash", add(&url, &key, "sha256:12"));
    tell("wrong key", add(&url, &key[..key.len() - 3], &good));
    tell("no address", add("http://a/b", &key, &good));
    tell("nobody there", add("https://127.0.0.1:9", &key, &good));
    tell("no such context", person.bad(&["hosts", "--context", "x"]));
    assert!(!person.path(".config").exists(), "something was kept");

    person.good(&[
        "context",
        "add",
        "a",
        &url,
        "--key",
        &key,
        "--ca-hash",
        &good,
    ]);
    tell("twice", add(&url, &key, &good));
    tell("unknown host", person.bad(&["hosts", "show", "../x"]));
    tell("unknown project", person.bad(&["hosts", "--project", "x"]));
    tell("nothing to inspect", person.bad(&["inspect", "x"]));
    tell(
        "bad name",
        person.bad(&["tokens", "create", "--name", "A b"]),
    );
    tell(
        "network in use",
        person.bad(&["networks", "set", "ros", "--subnet", "8.8.0.0/16"]),
    );
    let agent = folder.path().join("agent");
    let data = agent.to_str().unwrap();
    let join =
        |token: &str| person.bad(&["agent", "join", &url, token, "--no-start", "--data", data]);
    let token = person.json(&["tokens", "create", "--name", "t"]);
    let token = token["status"]["token"].as_str().unwrap();
    tell("cut token", join(&token[..40]));
    person.good(&["tokens", "remove", "t"]);
    tell("revoked token", join(token));
    let short = person.json(&["tokens", "create", "--expires", "1s"]);
    let short = short["status"]["token"].as_str().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let expired = join(short);
    let expected = "token: the join token has expired, on 2";
    assert!(expired.starts_with(expected), "{expired}");
    let (start, _) = token.rsplit_once('.').unwrap();
    tell(
        "another cluster's token",
        join(&format!("{start}.{}", "A".repeat(43))),
    );
    insta::assert_snapshot!(told);
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("one");
    let server = Server::start(&data, "127.0.0.1:0");
    let person = Person::new();
    let address = server.address().to_owned();
    let port = address.rsplit(':').next().unwrap();
    let start = |listen: &str, data: &str| {
        let said = person.bad(&["server", "--listen", listen, "--data", data]);
        said.replace(folder.path().to_str().unwrap(), "FOLDER")
            .replace(port, "PORT")
    };
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut told = start(&address, &path("two"));
    // The cluster of that start was not made: its key would have been lost.
    assert!(!folder.path().join("two/cluster.db").exists());
    told.push_str(&format!("\n{}", start("127.0.0.1:0", &path("one"))));
    told.push_str(&format!("\n{}", start("192.0.2.7:0", &path("two"))));
    fs::create_dir_all(folder.path().join("three")).unwrap();
    fs::write(folder.path().join("three/cluster.db"), "not a database").unwrap();
    told.push_str(&format!("\n{}", start("127.0.0.1:0", &path("three"))));
    insta::assert_snapshot!(told);
}

#[test]
fn a_server_that_is_down_or_another() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("one"), "127.0.0.1:0");
    let person = Person::admin(&server);
    let (address, url) = (server.address().to_owned(), server.url());
    assert_eq!(server.stop(), Some(0));
    assert_eq!(
        person.bad(&["hosts"]),
        format!(
            "cannot reach {url}: Connection refused (os error 111); is the server running there (`systemctl status ros-server`; on RancherOS `ros service logs control-plane`), is this its address, and do firewalls let TCP through?"
        )
    );
    let _other = Server::start(&folder.path().join("two"), &address);
    let said = person.bad(&["hosts"]);
    let expected = format!("{url} is not a server of this cluster: ");
    assert!(said.starts_with(&expected), "{said}");
    assert!(said.ends_with("when the cluster was made anew, `ros context remove` and `ros context add` with its new CA"), "{said}");
}

#[test]
fn a_lost_key_can_be_made_anew_beside_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let (data, empty) = (folder.path().join("one"), folder.path().join("two"));
    let server = Server::start(&data, "127.0.0.1:0");
    let (address, url) = (server.address().to_owned(), server.url());
    let hash = server.words("ros context add").last().unwrap().to_string();
    let person = Person::new();
    let path = data.to_str().unwrap();
    let busy = person.bad(&["server", "new-key", "--data", path]);
    assert!(
        busy.contains("is used by another server; end that one first"),
        "{busy}"
    );
    assert_eq!(server.stop(), Some(0));
    let said = person.good(&["server", "new-key", "--data", path]);
    assert!(
        said.starts_with("A key of admin, shown once:\n  roskey."),
        "{said}"
    );
    let made = person.json(&["server", "new-key", "--data", path]);
    assert_eq!(made["user"], "admin");
    let key = made["key"].as_str().unwrap();
    let none = person.bad(&["server", "new-key", "--data", empty.to_str().unwrap()]);
    assert!(none.starts_with("there is no cluster in "), "{none}");
    assert!(!empty.exists());
    let _server = Server::start(&data, &address);
    person.good(&[
        "context",
        "add",
        "a",
        &url,
        "--key",
        key,
        "--ca-hash",
        &hash,
    ]);
    let events = person.good(&["events", "--all"]);
    assert!(events.contains("key.rescue"), "{events}");
}

#[test]
fn contexts_that_others_can_read_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "127.0.0.1:0");
    let person = Person::admin(&server);
    let file = person.path(".config/ros/contexts.yml");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let said = person.bad(&["hosts"]);
    assert!(
        said.contains("others can read the keys in it; `chmod 600 "),
        "{said}"
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, "contexts: [").unwrap();
    let said = person.bad(&["hosts"]);
    assert!(said.contains("correct it, or remove it"), "{said}");
}

#[test]
fn wrong_usage_ends_with_2_and_unknown_commands_with_3() {
    let person = Person::new();
    let code = |arguments: &[&str]| person.call(arguments).status.code();
    assert_eq!(code(&["hosts", "--formt", "json"]), Some(2));
    assert_eq!(
        code(&["context", "add", "a", "https://a", "--key", "k"]),
        Some(2)
    );
    assert_eq!(code(&["tokens", "create", "--expires", "soon"]), Some(2));
    assert_eq!(code(&["clusters"]), Some(3));
    assert_eq!(code(&["hosts", "foo"]), Some(3));
    // A reader that goes away is no failure.
    let mut child = person
        .command(&["completion", "bash"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}
