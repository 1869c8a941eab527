//! The description of the API that is checked in says what the server does: its text is what the code generates, and it and the router
//! know the same paths.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../examples/openapi/document.rs"]
mod document;

use std::collections::BTreeSet;
use std::path::Path;

use control_plane::http::Paths;
use serde_json::Value;

fn described() -> Value {
    serde_json::from_str(&document::text()).unwrap()
}

#[test]
fn the_file_is_what_the_code_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(document::FILE);
    let checked_in = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        checked_in == document::text(),
        "docs/api/openapi.json is not what the code generates: run `make openapi` and look at the difference"
    );
}

#[test]
fn the_router_and_the_description_know_the_same_paths() {
    let served: BTreeSet<(String, String)> = Paths::all()
        .known
        .into_iter()
        .map(|(method, path)| (method.to_owned(), path))
        .collect();
    let mut told = BTreeSet::new();
    for (path, item) in described()["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            told.insert((method.clone(), path.clone()));
        }
    }
    assert_eq!(told, served);
    assert!(served.len() > 30);
}

/// Every `$ref` leads somewhere, and every operation has a name of its own.
#[test]
fn the_description_is_whole() {
    let document = described();
    let mut leads = Vec::new();
    references(&document, &mut leads);
    assert!(leads.len() > 100);
    for lead in leads {
        let pointer = lead.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{lead} leads nowhere");
    }
    let mut ids = BTreeSet::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(ids.insert(id.clone()), "{id} twice");
        }
    }
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value {
                    Value::String(lead) if key == "$ref" => found.push(lead.clone()),
                    value => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}
