//! Ways through a tree: entries by path, and paths that fit a pattern. Owns nothing that is said.

use crate::node::{Data, Entry, Map, Node};
use crate::problem::Position;

/// The map at `path`.
pub(super) fn map<'t>(root: &'t mut Node, path: &[&str]) -> Option<&'t mut Map> {
    let mut current = root;
    for part in path {
        let Data::Map(map) = &mut current.data else {
            return None;
        };
        current = &mut map.get_mut(*part)?.node;
    }
    match &mut current.data {
        Data::Map(map) => Some(map),
        _ => None,
    }
}

/// The list at `path`.
pub(super) fn list<'t>(root: &'t mut Node, path: &[&str]) -> Option<&'t mut Vec<Node>> {
    let (last, parents) = path.split_last()?;
    match &mut map(root, parents)?.get_mut(*last)?.node.data {
        Data::List(items) => Some(items),
        _ => None,
    }
}

/// Whether there is a value at `path`, each part of it one key.
pub(super) fn has(root: &Node, path: &[String]) -> bool {
    let mut current = Some(root);
    for part in path {
        current = current
            .and_then(Node::as_map)
            .and_then(|map| map.get(part))
            .map(|entry| &entry.node);
    }
    current.is_some()
}

/// Takes the entry at `path` out; the others keep their order.
pub(super) fn remove(root: &mut Node, path: &[&str]) -> Option<Entry> {
    let (last, parents) = path.split_last()?;
    map(root, parents)?.shift_remove(*last)
}

/// The text of a scalar; empty for all else.
pub(super) fn text(node: &Node) -> &str {
    match &node.data {
        Data::Scalar { text, .. } => text,
        _ => "",
    }
}

/// True when `path` is what `pattern` says; `*` stands for any one key.
pub(super) fn fits(pattern: &str, path: &[String]) -> bool {
    let mut parts = pattern.split('.');
    let alike = |key: &String| parts.next().is_some_and(|part| part == "*" || part == key);
    path.iter().all(alike) && parts.next().is_none()
}

/// Shows every value below `node` with its path and the place of its key; the items of lists are numbered from 0.
pub(super) fn walk(
    node: &Node,
    path: &mut Vec<String>,
    visit: &mut dyn FnMut(&[String], &Position, &Node),
) {
    let mut step = |name: String, at: &Position, inner: &Node| {
        path.push(name);
        visit(path, at, inner);
        walk(inner, path, visit);
        path.pop();
    };
    match &node.data {
        Data::Map(map) => map
            .iter()
            .for_each(|(name, entry)| step(name.clone(), &entry.key, &entry.node)),
        Data::List(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, item)| step(index.to_string(), &item.position, item)),
        Data::Scalar { .. } => {}
    }
}
