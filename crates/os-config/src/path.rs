//! Dotted key paths. Owns how a path is split where keys themselves contain dots.

use crate::node::{Data, Node};
use crate::schema::{Schema, child};

/// Segments of a dotted path; a part in double quotes may contain dots.
#[must_use]
pub fn segments(path: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for c in path.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            _ => {
                if let Some(last) = parts.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    parts
}

/// Finds the value at `path` in `root`; keys that contain dots are found too, and lists are indexed from 0.
#[must_use]
pub fn find<'a>(root: &'a Node, path: &[String]) -> Option<&'a Node> {
    let Some((first, rest)) = path.split_first() else {
        return Some(root);
    };
    match &root.data {
        Data::Scalar { .. } => None,
        Data::List(items) => find(items.get(first.parse::<usize>().ok()?)?, rest),
        Data::Map(map) => (1..=path.len()).find_map(|count| {
            let (head, tail) = path.split_at(count);
            find(&map.get(&head.join("."))?.node, tail)
        }),
    }
}

/// Groups the segments of `path` into the keys that `schema` knows, so that `rancher.sysctl.net.ipv4.ip_forward` names
/// the key `net.ipv4.ip_forward`. `None`: the schema has no such key.
#[must_use]
pub fn locate(schema: &'static Schema, path: &[String]) -> Option<(Vec<String>, &'static Schema)> {
    if path.is_empty() {
        return Some((Vec::new(), schema));
    }
    match schema {
        Schema::Any | Schema::AnyMap => Some((path.to_vec(), &Schema::Any)),
        Schema::Map(item) if item.is_scalar() => Some((vec![path.join(".")], item)),
        Schema::Map(_) | Schema::Object(_) | Schema::Switch(_) => {
            (1..=path.len()).find_map(|count| {
                let (head, tail) = path.split_at(count);
                let key = head.join(".");
                let (mut keys, found) = locate(child(schema, &key)?, tail)?;
                keys.insert(0, key);
                Some((keys, found))
            })
        }
        _ => None,
    }
}
