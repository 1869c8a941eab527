//! Who may do what, over all paths of the API: each path and method of the description is asked by everybody who could ask it, and a table
//! says what each is told. A path without a row fails. Each change leaves one event that says who made it; secrets are nowhere but in the
//! answer that makes them.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster;

use std::collections::BTreeSet;
use std::time::Duration;

use api::agent::Report;
use api::list::List;
use api::problem::Reason;
use api::{Event, Project, User};
use client::{Client, Error, Identity};
use cluster::{Cluster, Member, container, refused};
use control_plane::http::Paths;
use serde_json::{Value, json};

/// Who asks, in the order of the table's letters.
const ASKERS: [&str; 8] = [
    "nobody",
    "a host of the project",
    "a host of another project",
    "the owner of another project",
    "readonly",
    "member",
    "owner",
    "admin",
];

/// Method, path, what each of [`ASKERS`] is told, and the event that a change leaves.
///
/// `.` done; `!` allowed, but not in this state; `u` not known (401); `x` forbidden (403); `?` nothing there (404).
const TABLE: &[(&str, &str, &str, &str)] = &[
    ("get", "/v1/ping", "........", ""),
    ("get", "/v1/ca", "........", ""),
    ("get", "/v1/whoami", "u.......", ""),
    ("post", "/v1/join", "........", "host.join"),
    ("post", "/v1/agent/renew", "u..uuuuu", ""),
    ("post", "/v1/agent/report", "u..uuuuu", ""),
    ("get", "/v1/agent/stream", "u..uuuuu", ""),
    ("post", "/v1/agent/leave", "u..uuuuu", "host.leave"),
    ("get", "/v1/events", "uxxxxxx.", ""),
    ("get", "/v1/users", "uxx.....", ""),
    ("post", "/v1/users", "uxxxxxx.", "user.create"),
    ("get", "/v1/users/{id}", "uxx????.", ""),
    ("put", "/v1/users/{id}", "uxx????.", "user.update"),
    ("delete", "/v1/users/{id}", "uxx????.", "user.delete"),
    ("get", "/v1/keys", "uxx.....", ""),
    ("post", "/v1/keys", "uxx.....", "key.create"),
    ("get", "/v1/keys/{id}", "uxx????.", ""),
    ("put", "/v1/keys/{id}", "uxx????.", "key.update"),
    ("delete", "/v1/keys/{id}", "uxx????.", "key.delete"),
    ("get", "/v1/projects", "uxx.....", ""),
    ("post", "/v1/projects", "uxx.....", "project.create"),
    ("get", "/v1/projects/{id}", "uxx?....", ""),
    ("put", "/v1/projects/{id}", "uxx?xx..", "project.update"),
    ("delete", "/v1/projects/{id}", "uxx?xx..", "project.delete"),
    ("get", "/v1/projects/{project}/hosts", "uxx?....", ""),
    ("get", "/v1/projects/{project}/hosts/{id}", "uxx?....", ""),
    (
        "put",
        "/v1/projects/{project}/hosts/{id}",
        "uxx?x...",
        "host.update",
    ),
    (
        "delete",
        "/v1/projects/{project}/hosts/{id}",
        "uxx?x...",
        "host.delete",
    ),
    ("get", "/v1/projects/{project}/containers", "uxx?....", ""),
    (
        "get",
        "/v1/projects/{project}/containers/{id}",
        "uxx?....",
        "",
    ),
    ("get", "/v1/projects/{project}/networks", "uxx?....", ""),
    (
        "post",
        "/v1/projects/{project}/networks",
        "uxx?x!!!",
        "network.create",
    ),
    (
        "get",
        "/v1/projects/{project}/networks/{id}",
        "uxx?....",
        "",
    ),
    (
        "put",
        "/v1/projects/{project}/networks/{id}",
        "uxx?x...",
        "network.update",
    ),
    (
        "delete",
        "/v1/projects/{project}/networks/{id}",
        "uxx?x!!!",
        "network.delete",
    ),
    ("get", "/v1/projects/{project}/tokens", "uxx?x...", ""),
    (
        "post",
        "/v1/projects/{project}/tokens",
        "uxx?x...",
        "token.create",
    ),
    ("get", "/v1/projects/{project}/tokens/{id}", "uxx?x...", ""),
    (
        "put",
        "/v1/projects/{project}/tokens/{id}",
        "uxx?x...",
        "token.update",
    ),
    (
        "delete",
        "/v1/projects/{project}/tokens/{id}",
        "uxx?x...",
        "token.delete",
    ),
    ("get", "/v1/projects/{project}/events", "uxx?....", ""),
    ("get", "/v1/projects/{project}/events/{id}", "uxx?....", ""),
];

/// A cluster with two projects, and somebody of each role.
struct Town {
    cluster: Cluster,
    admin: Client,
    people: Vec<Client>,
    /// All that nobody may read again.
    secrets: Vec<String>,
    made: u32,
}

/// The part of a key or token that proves it, and what the server keeps of it.
fn secret_parts(text: &str) -> [String; 2] {
    let secret = match text.parse::<control_plane::secret::Key>() {
        Ok(key) => key.secret,
        Err(_) => {
            text.parse::<control_plane::secret::JoinToken>()
                .unwrap()
                .secret
        }
    };
    let shown = text.split('.').nth(2).unwrap().to_owned();
    [shown, control_plane::secret::hash(&secret)]
}

impl Town {
    async fn new() -> Self {
        let cluster = Cluster::new().await;
        let admin = cluster.admin();
        let mut town = Self {
            secrets: secret_parts(&cluster.key).to_vec(),
            admin,
            people: Vec::new(),
            cluster,
            made: 0,
        };
        for (name, role) in [
            ("foreign", None),
            ("reader", Some("readonly")),
            ("member", Some("member")),
            ("owner", Some("owner")),
        ] {
            let client = town.person(name, role).await;
            town.people.push(client);
        }
        let _: Project = town.people[0]
            .post("/v1/projects", &json!({"name": "other"}))
            .await
            .unwrap();
        town
    }

    async fn person(&mut self, name: &str, role: Option<&str>) -> Client {
        let user: User = self
            .admin
            .post("/v1/users", &json!({"name": name}))
            .await
            .unwrap();
        let new = json!({"name": format!("key-of-{name}"), "spec": {"user": user.meta.id}});
        let key: Value = self.admin.post("/v1/keys", &new).await.unwrap();
        let key = key["status"]["key"].as_str().unwrap().to_owned();
        self.secrets.extend(secret_parts(&key));
        if let Some(role) = role {
            let project: Project = self.admin.get("/v1/projects/default").await.unwrap();
            let mut spec = serde_json::to_value(&project.spec).unwrap();
            spec["members"][user.meta.id.as_str()] = json!(role);
            let edit = json!({"revision": project.meta.revision, "spec": spec});
            let _: Project = self.admin.put("/v1/projects/default", &edit).await.unwrap();
        }
        self.cluster.with(Identity::Key(key))
    }

    fn name(&mut self) -> String {
        self.made += 1;
        format!("thing-{}", self.made)
    }

    async fn token(&mut self, project: &str) -> String {
        let new = json!({"name": self.name()});
        let path = format!("/v1/projects/{project}/tokens");
        let made: Value = self.admin.post(&path, &new).await.unwrap();
        let token = made["status"]["token"].as_str().unwrap().to_owned();
        self.secrets.extend(secret_parts(&token));
        token
    }

    async fn host(&mut self, project: &str) -> Member {
        let (token, name) = (self.token(project).await, self.name());
        self.cluster.join(&token, &name).await.unwrap()
    }

    /// A fresh object for the last part of `path`, as its id, and the body that changes it.
    async fn target(&mut self, path: &str) -> (String, Value) {
        let (folder, _) = path.split_once("/{id}").unwrap();
        let kind = folder.rsplit('/').next().unwrap();
        let name = self.name();
        let folder = folder.replace("{project}", "default");
        let new = match kind {
            "users" => json!({"name": name}),
            "keys" => json!({"name": name}),
            "tokens" => json!({"name": name}),
            "projects" => {
                let default: Value = self.admin.get("/v1/projects/default").await.unwrap();
                json!({"name": name, "spec": default["spec"]})
            }
            _ => Value::Null,
        };
        let object: Value = match kind {
            "hosts" => {
                let host = self.host("default").await;
                self.read(&format!("{folder}/{}", host.answer.host)).await
            }
            "containers" => {
                let host = self.host("default").await;
                host.report(&Report {
                    containers: vec![container("web", 9)],
                    ..Report::default()
                })
                .await;
                self.read(&folder).await["items"][0].clone()
            }
            "networks" | "events" => self.read(&folder).await["items"][0].clone(),
            _ => self.admin.post(&folder, &new).await.unwrap(),
        };
        for secret in [&object["status"]["key"], &object["status"]["token"]] {
            if let Some(secret) = secret.as_str() {
                self.secrets.extend(secret_parts(secret));
            }
        }
        let edit = json!({"revision": object["revision"], "spec": object["spec"]});
        (object["id"].as_str().unwrap().to_owned(), edit)
    }

    async fn read(&self, path: &str) -> Value {
        self.admin.get(path).await.unwrap()
    }

    /// What is sent where no object is changed.
    async fn body(&mut self, path: &str) -> Value {
        match path {
            "/v1/join" => {
                let token = self.token("default").await;
                json!({"token": token, "name": self.name(), "csr": csr()})
            }
            "/v1/agent/renew" => json!({"csr": csr()}),
            "/v1/agent/report" => json!({"instance": "i"}),
            "/v1/agent/leave" => json!({}),
            _ => json!({"name": self.name()}),
        }
    }

    async fn asker(&mut self, place: usize) -> Client {
        match place {
            0 => self.cluster.with(Identity::None),
            1 => self.host("default").await.client,
            2 => self.host("other").await.client,
            7 => self.cluster.admin(),
            person => {
                // A client of its own, with the same key: streams of one do not hinder another.
                self.people.remove(person - 3)
            }
        }
    }

    fn back(&mut self, place: usize, client: Client) {
        if (3..7).contains(&place) {
            self.people.insert(place - 3, client);
        }
    }

    /// Events that somebody has caused.
    async fn caused(&self) -> Vec<Event> {
        let list: List<Event> = self.admin.get("/v1/events?limit=1000").await.unwrap();
        assert_eq!(list.next, None, "more events than the test looks at");
        let caused = |event: &Event| event.spec.by.is_some();
        list.items.into_iter().filter(caused).collect()
    }
}

fn csr() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.serialize_request(&key).unwrap().pem().unwrap()
}

/// What is answered: its letter and its text.
async fn ask(client: &Client, method: &str, path: &str, body: &Value) -> (char, String) {
    let answer: Result<Value, Error> = match method {
        "get" if path.contains("/stream") || path.contains("watch=true") => {
            client.lines(path).await.map(|_| Value::Null)
        }
        "get" => client.get(path).await,
        "post" => client.post(path, body).await,
        "put" => client.put(path, body).await,
        "delete" => client.delete(path).await.map(|()| Value::Null),
        other => panic!("{other}"),
    };
    match answer {
        Ok(answer) => ('.', answer.to_string()),
        Err(Error::Refused(problem)) => {
            let letter = match problem.status {
                401 => 'u',
                403 => 'x',
                404 => '?',
                409 => '!',
                status => panic!("{method} {path}: {status} {problem}"),
            };
            (letter, serde_json::to_string(&problem).unwrap())
        }
        Err(error) => panic!("{method} {path}: {error:?}"),
    }
}

#[test]
fn each_path_has_its_row() {
    let rows: BTreeSet<(String, String)> = TABLE
        .iter()
        .map(|(method, path, ..)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    // What is served is what `docs/api/openapi.json` describes: tests/openapi.rs.
    let served: BTreeSet<(String, String)> = Paths::all()
        .known
        .into_iter()
        .map(|(method, path)| (method.to_owned(), path))
        .collect();
    assert_eq!(rows, served);
}

#[tokio::test]
async fn everybody_at_every_path() {
    let mut town = Town::new().await;
    let mut wrong = Vec::new();
    let mut texts = Vec::new();
    let mut asked = 0;
    for (method, path, expected, what) in TABLE {
        let is_list = *method == "get" && !path.contains("{id}") && !path.contains("agent");
        let is_watched = is_list && !["/v1/ping", "/v1/ca", "/v1/whoami"].contains(path);
        let mut row = String::new();
        for (place, name) in ASKERS.iter().enumerate() {
            let (id, body) = if path.contains("{id}") {
                town.target(path).await
            } else {
                (String::new(), town.body(path).await)
            };
            let at = path.replace("{project}", "default").replace("{id}", &id);
            let at = if at.ends_with("/stream") {
                format!("{at}?instance=i")
            } else {
                at
            };
            let asker = town.asker(place).await;
            let before = town.caused().await;
            let (letter, text) = ask(&asker, method, &at, &body).await;
            asked += 1;
            row.push(letter);
            // Only what makes a secret shows it, once.
            if letter != '.' || !matches!(*what, "key.create" | "token.create") {
                texts.push((format!("{method} {at} by {name}"), text));
            } else {
                let made: Value = serde_json::from_str(&text).unwrap();
                let status = &made["status"];
                let secret = status["key"].as_str().or(status["token"].as_str());
                town.secrets.extend(secret_parts(secret.unwrap()));
            }
            if is_watched {
                let (watched, _) = ask(&asker, "get", &format!("{at}?watch=true"), &body).await;
                assert_eq!(watched, letter, "watching {at} by {name}");
            }
            let after = town.caused().await;
            let new: Vec<&Event> = after
                .iter()
                .filter(|event| before.iter().all(|known| known.meta.id != event.meta.id))
                .collect();
            let told: Vec<&str> = new.iter().map(|event| event.spec.what.as_str()).collect();
            let is_change = letter == '.' && !what.is_empty();
            let due: &[&str] = if is_change { &[what] } else { &[] };
            assert_eq!(told, due, "events of {method} {at} by {name}");
            if let Some(event) = new.first() {
                let spec = &event.spec;
                assert_eq!(spec.from, "127.0.0.1", "{spec:?}");
                assert!(
                    !spec.by_name.is_empty() && spec.object.is_some(),
                    "{spec:?}"
                );
                if *path != "/v1/join" {
                    let who: Value = match asker.get("/v1/whoami").await {
                        Ok(who) => who,
                        // It has left.
                        Err(Error::Refused(_)) => {
                            json!({"id": spec.object, "name": spec.object_name})
                        }
                        Err(error) => panic!("{error:?}"),
                    };
                    let by = json!({"id": spec.by, "name": spec.by_name});
                    assert_eq!(
                        by,
                        json!({"id": who["id"], "name": who["name"]}),
                        "{spec:?}"
                    );
                }
            }
            town.back(place, asker);
        }
        if row != *expected {
            wrong.push(format!("{method} {path}: {row}, not {expected}"));
        }
    }
    println!("{asked} questions");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    nothing_is_told(&town, texts).await;
}

/// No answer, list or event holds a secret or what is kept of one.
async fn nothing_is_told(town: &Town, mut texts: Vec<(String, String)>) {
    for (method, path, ..) in TABLE {
        if *method == "get" && !path.contains("{id}") && !path.contains("agent") {
            let path = path.replace("{project}", "default");
            texts.push((path.clone(), town.read(&path).await.to_string()));
        }
    }
    assert!(town.secrets.len() > 100);
    for (place, text) in &texts {
        for secret in &town.secrets {
            assert!(
                !text.contains(secret.as_str()),
                "{place} tells a secret: {text}"
            );
        }
    }
}

/// Whether something is there or not: who may not know of it is told the same, letter by letter.
#[tokio::test]
async fn what_is_not_yours_is_not_there() {
    let mut town = Town::new().await;
    for place in [2, 3] {
        let asker = town.asker(place).await;
        for (method, path, ..) in TABLE {
            if !path.contains("{id}") && !path.contains("{project}") {
                continue;
            }
            let (id, body) = if path.contains("{id}") {
                town.target(path).await
            } else {
                (String::new(), town.body(path).await)
            };
            let prefix = id.split('-').next().unwrap_or_default();
            let missing = format!("{prefix}-aaaaaaaaaaaa");
            let mut told = BTreeSet::new();
            for (project, object) in [
                ("default", id.as_str()),
                ("default", &missing),
                ("nowhere", &missing),
            ] {
                let at = path.replace("{project}", project).replace("{id}", object);
                let (_, text) = ask(&asker, method, &at, &body).await;
                // What was asked for is repeated.
                let is_repeated = path.contains("{id}");
                told.insert(if is_repeated {
                    text.replace(object, "it")
                } else {
                    text
                });
            }
            assert_eq!(
                told.len(),
                1,
                "{method} {path} by {}: {told:?}",
                ASKERS[place]
            );
        }
        town.back(place, asker);
    }
}

/// A watch ends with the right to look, whichever way that ends.
#[tokio::test]
async fn a_watch_lasts_as_long_as_the_right_to_it() {
    let mut town = Town::new().await;
    let tokens = "/v1/projects/default/tokens?watch=true";
    let ways: [&str; 5] = ["role", "member", "disabled", "key", "user"];
    for way in ways {
        let name = format!("late-{way}");
        let client = town.person(&name, Some("member")).await;
        let mut lines = client.lines(tokens).await.unwrap();
        town.token("default").await;
        let first: Value = lines.next().await.unwrap().unwrap();
        assert_eq!(first["type"], "put", "{first}");
        let alive: Value = lines.next().await.unwrap().unwrap();
        assert_eq!(alive["type"], "alive", "{alive}");
        take_away(&town, way, &name).await;
        town.token("default").await;
        let next = tokio::time::timeout(Duration::from_secs(5), lines.next::<Value>()).await;
        let last = next
            .expect("the watch goes on in silence")
            .unwrap()
            .unwrap();
        let reasons = [
            json!(Reason::Forbidden),
            json!(Reason::NotFound),
            json!(Reason::Unauthenticated),
        ];
        assert!(reasons.contains(&last["reason"]), "{way}: {last}");
        let end = tokio::time::timeout(Duration::from_secs(5), lines.next::<Value>()).await;
        assert!(end.unwrap().unwrap().is_none(), "{way}: it goes on");
    }
}

async fn take_away(town: &Town, way: &str, name: &str) {
    let admin = &town.admin;
    let user: User = admin.get(&format!("/v1/users/{name}")).await.unwrap();
    match way {
        "role" | "member" => {
            let project: Project = admin.get("/v1/projects/default").await.unwrap();
            let mut spec = serde_json::to_value(&project.spec).unwrap();
            if way == "role" {
                spec["members"][user.meta.id.as_str()] = json!("readonly");
            } else {
                let members = spec["members"].as_object_mut().unwrap();
                members.remove(user.meta.id.as_str());
            }
            let edit = json!({"revision": project.meta.revision, "spec": spec});
            let _: Project = admin.put("/v1/projects/default", &edit).await.unwrap();
        }
        "disabled" => {
            let edit = json!({"revision": user.meta.revision, "spec": {"disabled": true}});
            let path = format!("/v1/users/{name}");
            let _: User = admin.put(&path, &edit).await.unwrap();
        }
        "key" => admin
            .delete(&format!("/v1/keys/key-of-{name}"))
            .await
            .unwrap(),
        _ => admin.delete(&format!("/v1/users/{name}")).await.unwrap(),
    }
}

/// Who is taken out of a project learns that it is gone from his list.
#[tokio::test]
async fn a_list_forgets_what_may_not_be_seen_any_more() {
    let mut town = Town::new().await;
    let client = town.person("late", Some("readonly")).await;
    let list: List<Project> = client.get("/v1/projects").await.unwrap();
    let path = format!("/v1/projects?watch=true&revision={}", list.revision);
    let mut lines = client.lines(&path).await.unwrap();
    // Of no concern.
    let _: Project = town.people[0]
        .post("/v1/projects", &json!({"name": "hidden"}))
        .await
        .unwrap();
    town.people[0].delete("/v1/projects/hidden").await.unwrap();
    take_away(&town, "member", "late").await;
    let line: Value = tokio::time::timeout(Duration::from_secs(5), lines.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(
        (&line["type"], &line["id"]),
        (&json!("delete"), &json!(list.items[0].meta.id)),
        "{line}"
    );
    assert!(refused(client.get::<Value>("/v1/projects/default").await).reason == Reason::NotFound);
}
