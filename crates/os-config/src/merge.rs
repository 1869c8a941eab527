//! Merging of trees: maps recursively, lists and scalars whole. Owns nothing else.

use crate::node::{Data, Entry, Map, Node};
use crate::problem::Position;

/// Lays `over` on `base`. New keys come after the ones that were there.
pub fn merge(base: &mut Node, over: Node) {
    match (&mut base.data, over) {
        (
            Data::Map(map),
            Node {
                data: Data::Map(entries),
                ..
            },
        ) => merge_maps(map, entries),
        (_, over) => *base = over,
    }
}

fn merge_maps(map: &mut Map, entries: Map) {
    for (name, entry) in entries {
        match map.get_mut(&name) {
            Some(existing) => {
                existing.key = entry.key;
                merge(&mut existing.node, entry.node);
            }
            None => {
                map.insert(name, entry);
            }
        }
    }
}

/// Puts `node` at `path`, making maps on the way; false when a scalar or list is in the way.
pub fn put(root: &mut Node, path: &[String], node: Node) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let position = node.position.clone();
    let mut current = root;
    for part in parents {
        let Data::Map(map) = &mut current.data else {
            return false;
        };
        current = &mut map
            .entry(part.clone())
            .or_insert_with(|| empty(&position))
            .node;
    }
    let Data::Map(map) = &mut current.data else {
        return false;
    };
    map.insert(
        last.clone(),
        Entry {
            key: position,
            node,
        },
    );
    true
}

/// Takes the value at `path` out.
pub fn take(root: &mut Node, path: &[&str]) -> Option<Node> {
    let (last, parents) = path.split_last()?;
    let mut current = root;
    for part in parents {
        let Data::Map(map) = &mut current.data else {
            return None;
        };
        current = &mut map.get_mut(*part)?.node;
    }
    let Data::Map(map) = &mut current.data else {
        return None;
    };
    map.shift_remove(*last).map(|entry| entry.node)
}

fn empty(position: &Position) -> Entry {
    let node = Node {
        data: Data::Map(Map::new()),
        position: position.clone(),
    };
    Entry {
        key: position.clone(),
        node,
    }
}
