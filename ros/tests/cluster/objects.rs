//! Looking at objects: lists, one object, events, in forms that programs may rely on.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;

use serde_json::Value;

use crate::setup::{PATIENCE, Person, Server};

/// The fields of an object, below each other.
fn shape(value: &Value) -> String {
    let mut lines = Vec::new();
    fields("", value, &mut lines);
    lines.join("\n")
}

fn fields(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => map.iter().for_each(|(name, value)| {
            let is_id = name.starts_with("u-");
            let name = if is_id { "ID" } else { name.as_str() };
            fields(&format!("{path}.{name}"), value, lines);
        }),
        Value::Array(all) if !all.is_empty() => fields(&format!("{path}[]"), &all[0], lines),
        other => {
            let kind = match other {
                Value::Null => "null",
                Value::Bool(_) => "bool",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Array(_) => "[]",
                Value::Object(_) => "{}",
            };
            lines.push(format!("{path}: {kind}"));
        }
    }
}

#[test]
fn programs_may_rely_on_the_fields() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "127.0.0.1:0");
    let person = Person::admin(&server);
    let agent = person.path("agent");
    let place = [
        "--no-start",
        "--data",
        agent.to_str().unwrap(),
        "--name",
        "one",
        "--label",
        "a=b",
    ];
    person.good(&[&server.words("ros agent join"), &place[..]].concat());
    for (name, arguments) in [
        ("contexts", &["context", "list"][..]),
        ("hosts", &["hosts"]),
        ("containers", &["ps", "-a"]),
        ("tokens", &["tokens"]),
        ("networks", &["networks"]),
        ("projects", &["env", "show"]),
        ("users", &["users"]),
        ("keys", &["keys"]),
        ("events", &["events"]),
    ] {
        insta::assert_snapshot!(name, shape(&person.json(arguments)));
    }
    // The same in YAML.
    let yaml = person.good(&["hosts", "show", "one", "--format", "yaml"]);
    let yaml: Value = serde_yaml::from_str(&yaml).unwrap();
    assert_eq!(yaml, person.json(&["hosts", "show", "one"]));
}

#[test]
fn inspect_finds_by_name_and_id_and_asks_when_several_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "127.0.0.1:0");
    let person = Person::admin(&server);
    let network = person.json(&["inspect", "ros"]);
    assert_eq!(network["spec"]["subnet"], "10.42.0.0/16");
    let id = network["id"].as_str().unwrap();
    assert_eq!(person.json(&["inspect", id]), network);
    let several = person.bad(&["inspect", "admin"]);
    let expected = "several are called `admin`: user/admin (u-";
    assert!(several.starts_with(expected), "{several}");
    assert!(several.contains(", key/admin (k-"), "{several}");
    let user = person.json(&["inspect", "user/admin"]);
    assert_eq!(user["spec"]["admin"], true);
    assert_eq!(person.json(&["inspect", "users/admin"]), user);
}

#[test]
fn what_removes_and_chooses_answers_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "127.0.0.1:0");
    let person = Person::admin(&server);
    let agent = person.path("agent");
    let place = ["--no-start", "--data", agent.to_str().unwrap()];
    let name = ["--name", "one", "--format", "json"];
    let join = [&server.words("ros agent join"), &place[..], &name[..]].concat();
    let joined: Value = serde_json::from_str(&person.good(&join)).unwrap();
    assert_eq!(
        (&joined["name"], &joined["project"], &joined["server"]),
        (&"one".into(), &"default".into(), &Value::Null)
    );
    assert_eq!(person.json(&["hosts", "show", "one"])["id"], joined["host"]);

    let removed = |name: &str| serde_json::json!({ "removed": name });
    assert_eq!(person.json(&["hosts", "remove", "one"]), removed("one"));
    assert_eq!(
        person.json(&["tokens", "remove", "first"]),
        removed("first")
    );
    person.good(&["users", "create", "anna"]);
    person.good(&["keys", "create", "--user", "anna", "--name", "hers"]);
    assert_eq!(person.json(&["keys", "remove", "hers"]), removed("hers"));
    assert_eq!(person.json(&["users", "remove", "anna"]), removed("anna"));
    person.good(&["env", "create", "shop"]);
    assert_eq!(
        person.json(&["env", "use", "shop"]),
        serde_json::json!({ "context": "home", "project": "shop" })
    );
    person.good(&["env", "use", "default"]);
    assert_eq!(person.json(&["env", "remove", "shop"]), removed("shop"));
    assert_eq!(person.json(&["context", "use", "home"])["current"], true);
    assert_eq!(person.json(&["context", "remove", "home"]), removed("home"));
    let none = person.good(&["context"]);
    assert!(
        none.starts_with("There is none yet: `ros context add "),
        "{none}"
    );
    assert_eq!(person.json(&["context"]), Value::Array(Vec::new()));
}

#[test]
fn a_host_in_no_cluster_says_so_in_json() {
    let person = Person::new();
    let folder = person.path("none");
    let place = [
        "--data",
        folder.to_str().unwrap(),
        "--status",
        "/nonexistent",
    ];
    let ask = [&["agent", "status"], &place[..]].concat();
    let said = person.bad(&ask);
    assert!(said.starts_with("this host is in no cluster; "), "{said}");
    let output = person.call(&[&ask[..], &["--format", "json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&told["joined"], &told["host"], &told["server"]),
        (&false.into(), &Value::Null, &Value::Null)
    );
    assert_eq!(told["problems"], serde_json::json!([said]));
}

#[test]
fn networks_and_hosts_can_be_changed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "127.0.0.1:0");
    let person = Person::admin(&server);
    person.good(&[
        "networks",
        "set",
        "ros",
        "--subnet",
        "10.50.0.0/16",
        "--encapsulation",
        "vxlan",
        "--mtu",
        "1400",
    ]);
    let network = person.json(&["networks", "show", "ros"]);
    assert_eq!(network["spec"]["subnet"], "10.50.0.0/16");
    assert_eq!(network["spec"]["encapsulation"], "vxlan");
    person.good(&["networks", "set", "ros", "--mtu", "auto", "--port", "4790"]);
    let network = person.json(&["networks", "show", "ros"]);
    assert_eq!(
        (&network["spec"]["mtu"], &network["spec"]["port"]),
        (&Value::Null, &4790.into())
    );

    let agent = person.path("agent");
    let place = [
        "--no-start",
        "--data",
        agent.to_str().unwrap(),
        "--name",
        "one",
        "--label",
        "a=b",
    ];
    person.good(&[&server.words("ros agent join"), &place[..]].concat());
    person.good(&[
        "hosts",
        "set",
        "one",
        "--address",
        "10.9.9.9",
        "--label",
        "c=d",
        "--no-label",
        "a",
    ]);
    let host = person.json(&["hosts", "show", "one"]);
    assert_eq!(host["spec"]["address"], "10.9.9.9");
    assert_eq!(host["labels"], serde_json::json!({"c": "d"}));
    person.good(&["hosts", "set", "one", "--address", "auto"]);
    let revision = person.json(&["hosts", "show", "one"])["revision"].clone();
    for (what, nothing) in [
        ("hosts", &["hosts", "set", "one"][..]),
        ("networks", &["networks", "set", "ros"]),
        ("env", &["env", "set"]),
    ] {
        assert_eq!(
            person.bad(nothing),
            format!("nothing to change was given; `ros {what} set --help` lists what can be")
        );
    }
    assert_eq!(person.json(&["hosts", "show", "one"])["revision"], revision);
    assert_eq!(
        person.json(&["hosts", "show", "one"])["spec"]["address"],
        Value::Null
    );
    person.good(&["hosts", "remove", "one"]);
    assert_eq!(person.json(&["hosts"]), Value::Array(Vec::new()));
}

#[test]
fn events_are_followed_through_a_restart_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "127.0.0.1:0");
    let address = server.address().to_owned();
    let person = Person::admin(&server);
    person.good(&["tokens", "create", "--name", "before"]);
    let mut child = person
        .command(&["events", "--follow", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        lines
            .map_while(Result::ok)
            .take_while(|line| sender.send(line.clone()).is_ok())
            .for_each(drop);
    });
    let until = |name: &str| {
        let mut seen = Vec::new();
        loop {
            let Ok(line) = receiver.recv_timeout(PATIENCE) else {
                panic!("no event of {name}: {seen:?}");
            };
            let event: Value = serde_json::from_str(&line).unwrap();
            let is_it = event["spec"]["object_name"] == name;
            seen.push(line);
            if is_it {
                return (event, seen.len());
            }
        }
    };
    until("before");
    person.good(&["tokens", "create", "--name", "during"]);
    let (event, count) = until("during");
    assert_eq!(event["spec"]["what"], "token.create");
    assert_eq!(event["spec"]["by_name"], "admin");
    assert_eq!(count, 1, "told twice");
    server.stop();
    let _server = Server::start(folder.path(), &address);
    person.good(&["tokens", "create", "--name", "after"]);
    until("after");
    child.kill().unwrap();
    child.wait().unwrap();
    let past = person.json(&["events", "--since", "1h", "-n", "2"]);
    let names: Vec<&Value> = past
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["spec"]["object_name"])
        .collect();
    assert_eq!(names, ["during", "after"]);
    // The cluster's own events are of no project.
    let whats = |arguments: &[&str]| {
        let all = person.json(arguments);
        let whats = all.as_array().unwrap().iter();
        whats
            .map(|event| event["spec"]["what"].clone())
            .collect::<Vec<_>>()
    };
    let made: Value = "cluster.create".into();
    assert!(whats(&["events", "--all"]).contains(&made));
    assert!(!whats(&["events"]).contains(&made));
}
