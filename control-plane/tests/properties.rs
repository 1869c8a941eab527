//! What stands in paths and after `?` may be anything: the server answers with what is there, or refuses by name, and lives.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cluster;

use std::collections::BTreeSet;
use std::time::Duration;

use api::User;
use api::list::List;
use client::{Client, Error};
use cluster::Cluster;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// Questions of each sort.
const CASES: usize = 400;

fn some<S: Strategy>(strategy: &S) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..CASES)
        .map(|_| strategy.new_tree(&mut runner).unwrap().current())
        .collect()
}

/// As it may stand in a URL.
fn quoted(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// The answer, if it is a success; a refusal must be the asker's fault.
async fn ask(client: &Client, path: &str) -> Option<Value> {
    let answer = tokio::time::timeout(Duration::from_secs(10), client.get(path)).await;
    match answer.unwrap_or_else(|_| panic!("no answer: {path}")) {
        Ok(answer) => Some(answer),
        Err(Error::Refused(problem)) => {
            assert!((400..500).contains(&problem.status), "{path}: {problem}");
            None
        }
        Err(error) => panic!("{path}: {error:?}"),
    }
}

#[tokio::test]
async fn lists_show_what_is_asked_for_and_nothing_else() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    for n in 0..9 {
        let labels = json!({"tier": n.to_string(), "a.b/c": ""});
        let new = json!({"name": format!("u{n}"), "labels": labels});
        let _: User = admin.post("/v1/users", &new).await.unwrap();
    }
    let all: List<User> = admin.get("/v1/users").await.unwrap();
    let all: BTreeSet<String> = all
        .items
        .iter()
        .map(|user| user.meta.id.to_string())
        .collect();
    let near = prop_oneof![
        ".{0,30}",
        "u[0-9]?",
        "tier=?[0-9]?",
        "[a-z]-[a-z2-7]{11,13}",
        "(\\.\\./){1,3}keys",
        "[,=]{1,4}"
    ];
    let number = prop_oneof![
        any::<u64>().prop_map(|n| n.to_string()),
        "-?[0-9]{0,25}",
        ".{0,8}"
    ];
    let mut told = 0;
    for (text, number) in some(&(near, number)) {
        let (text, number) = (quoted(&text), quoted(&number));
        for path in [
            format!("/v1/users?continue={text}"),
            format!("/v1/users?name={text}"),
            format!("/v1/users?label={text}"),
            format!("/v1/users?limit={number}"),
            format!("/v1/users/{text}x"),
            format!("/v1/projects/{text}x/hosts"),
        ] {
            let Some(answer) = ask(&admin, &path).await else {
                continue;
            };
            told += 1;
            for item in answer["items"].as_array().into_iter().flatten() {
                assert_eq!(item["type"], Value::Null);
                assert!(all.contains(item["id"].as_str().unwrap()), "{path}: {item}");
            }
        }
    }
    println!("{told} of {} answered", CASES * 6);
    assert!(told > CASES);
}

#[tokio::test]
async fn revisions_may_be_anything() {
    let cluster = Cluster::new().await;
    let admin = cluster.admin();
    let user: User = admin
        .post("/v1/users", &json!({"name": "one"}))
        .await
        .unwrap();
    let small = 0..user.meta.revision + 3;
    let mut watched = 0;
    for revision in some(&prop_oneof![
        any::<u64>(),
        small,
        Just(u64::MAX),
        Just(i64::MAX as u64)
    ]) {
        // Only the one that it has is taken.
        let edit = json!({"revision": revision, "spec": {"disabled": true}});
        if revision != user.meta.revision {
            match admin.put::<Value>("/v1/users/one", &edit).await {
                Err(Error::Refused(problem)) => assert_eq!(problem.status, 409, "{problem}"),
                other => panic!("{revision}: {other:?}"),
            }
        }
        let path = format!("/v1/users?watch=true&revision={revision}");
        let lines = tokio::time::timeout(Duration::from_secs(5), admin.lines(&path)).await;
        match lines.unwrap_or_else(|_| panic!("{path}: no answer")) {
            Ok(mut lines) => {
                watched += 1;
                if revision < user.meta.revision {
                    let line: Value = lines.next().await.unwrap().unwrap();
                    assert_eq!(line["type"], "put", "{path}: {line}");
                }
            }
            Err(Error::Refused(problem)) => assert_eq!(problem.status, 410, "{problem}"),
            Err(error) => panic!("{path}: {error:?}"),
        }
    }
    assert!(watched > 20, "{watched}");
}
