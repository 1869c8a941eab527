//! Users, keys, roles and projects, as several people meet them.

use serde_json::Value;

use crate::setup::{Person, Server};

/// Somebody new, with a key of its own and no project.
fn newcomer(server: &Server, admin: &Person, name: &str) -> Person {
    admin.good(&["users", "create", name]);
    let key = admin.good(&["keys", "create", "--user", name, "--name", name]);
    let person = Person::new();
    let words = server.words("ros context add");
    let hash = words.last().unwrap();
    let url = server.url();
    let add = ["context", "add", "c", &url, "--key", "-", "--ca-hash", hash];
    let output = person.call_with(&add, &key);
    assert!(output.status.success(), "{output:?}");
    person
}

#[test]
fn roles_are_kept_and_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "127.0.0.1:0");
    let admin = Person::admin(&server);
    let anna = newcomer(&server, &admin, "anna");
    assert_eq!(
        anna.bad(&["hosts"]),
        "there is no project `default`, or you are no member of it; `ros env list` lists yours, `ros env use` or --project chooses one"
    );
    let members = admin.good(&["env", "members", "add", "anna", "readonly"]);
    assert!(members.contains("anna    readonly"), "{members}");
    anna.good(&["hosts"]);
    assert_eq!(
        anna.bad(&["tokens", "create"]),
        "this takes the role member in the project"
    );
    assert_eq!(
        anna.bad(&["users", "create", "eve"]),
        "only an administrator may change users"
    );
    admin.good(&["env", "members", "add", "anna", "member"]);
    anna.good(&["tokens", "create", "--name", "hers"]);

    // Her own project is hers alone.
    anna.good(&["env", "create", "shop", "--description", "The shop"]);
    anna.good(&["env", "use", "shop"]);
    assert_eq!(anna.json(&["tokens"]), Value::Array(Vec::new()));
    let shown = anna.good(&["env", "list"]);
    assert!(shown.contains("*  shop"), "{shown}");
    let others = anna.json(&["tokens", "--project", "default"]);
    let names: Vec<&Value> = others
        .as_array()
        .unwrap()
        .iter()
        .map(|token| &token["name"])
        .collect();
    assert_eq!(names, ["first", "hers"]);
    anna.good(&["env", "remove", "shop"]);

    admin.good(&["users", "disable", "anna"]);
    let out = "the server does not know the key: it was removed, has expired, or its user is disabled; get another one (`ros keys create`) and `ros context add --replace` it";
    assert_eq!(anna.bad(&["hosts"]), out);
    admin.good(&["users", "enable", "anna"]);
    anna.good(&["context", "show"]);
    admin.good(&["keys", "remove", "anna"]);
    assert_eq!(anna.bad(&["env", "list"]), out);
    let last = admin.bad(&["users", "remove", "admin"]);
    assert_eq!(
        last,
        "admin is the last administrator; make another one first"
    );
}

#[test]
fn a_key_is_shown_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "127.0.0.1:0");
    let admin = Person::admin(&server);
    let made = admin.json(&["keys", "create", "--name", "laptop", "--expires", "90d"]);
    let key = made["status"]["key"].as_str().unwrap();
    assert!(key.starts_with("roskey."), "{key}");
    let secret = key.rsplit('.').next().unwrap();
    for all in [
        admin.good(&["keys", "list", "--format", "yaml"]),
        admin.good(&["inspect", "laptop"]),
        admin.good(&["events", "--format", "json"]),
    ] {
        assert!(
            !all.contains(secret) && !all.contains("secret_hash"),
            "{all}"
        );
    }
    let listed = admin.good(&["keys"]);
    assert!(
        listed.contains("laptop") && listed.contains("in 89 days"),
        "{listed}"
    );
}

#[test]
fn the_old_env_runs_commands() {
    let person = Person::new();
    assert_eq!(
        person.good(&["env", "echo", "list", "--format", "x"]),
        "list --format x\n"
    );
    assert_eq!(
        person.good(&["env", "sh", "-c", "echo $0 $1", "a", "-h"]),
        "a -h\n"
    );
    let missing = person.bad(&["env", "no-such-program"]);
    assert!(
        missing.starts_with("cannot run no-such-program: "),
        "{missing}"
    );
    // Without a word it prints the variables of the configuration; here there are none of a cluster.
    person.good(&["env"]);
    let asked = person.bad(&["env", "list"]);
    assert!(asked.starts_with("no cluster is known here; "), "{asked}");
}
