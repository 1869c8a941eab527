//! Trees as others see them: typed values, and what may be shown. Owns no findings; `check` came first.

use super::{Kind, Schema, child};
use crate::node::{Data, Node};
use serde_json::Value;

/// The value of a checked tree, without places, each known key in its type; what has none is as in [`Node::to_value`].
#[must_use]
pub fn to_value(node: &Node, schema: &'static Schema) -> Value {
    match (&node.data, schema) {
        (Data::Map(map), _) => {
            let value =
                |name: &str, node| to_value(node, child(schema, name).unwrap_or(&Schema::Any));
            Value::Object(
                map.iter()
                    .map(|(name, entry)| (name.clone(), value(name, &entry.node)))
                    .collect(),
            )
        }
        (Data::List(items), Schema::List(item) | Schema::OneOrMore(item)) => {
            items.iter().map(|entry| to_value(entry, item)).collect()
        }
        (Data::Scalar { text, .. }, Schema::OneOrMore(item)) if !text.is_empty() => {
            Value::Array(vec![to_value(node, item)])
        }
        (
            Data::List(items),
            Schema::Tuple(_) | Schema::Command | Schema::Words(_) | Schema::Rules(_),
        ) => items
            .iter()
            .map(|entry| to_value(entry, &Schema::Text))
            .collect(),
        (
            Data::Scalar { text, .. },
            Schema::Text
            | Schema::Secret
            | Schema::Formatted(_)
            | Schema::Hidden(_)
            | Schema::OneOf(_)
            | Schema::OneOrMore(_)
            | Schema::Command,
        ) => Value::String(text.clone()),
        _ => node.to_value(),
    }
}

/// Takes empty texts out of closed maps, where they mean "not set": `rancher.state.dev=` undoes what a lower layer says.
pub fn drop_empty(value: &mut Value, schema: &'static Schema) {
    match (value, schema) {
        (Value::Object(map), Schema::Object(_) | Schema::Switch(_) | Schema::Named(_)) => {
            map.retain(|_, inner| inner.as_str() != Some(""));
            for (name, inner) in map.iter_mut() {
                child(schema, name)
                    .into_iter()
                    .for_each(|schema| drop_empty(inner, schema));
            }
        }
        (Value::Object(map), Schema::Map(item)) => {
            map.values_mut().for_each(|inner| drop_empty(inner, item))
        }
        (Value::Array(items), Schema::List(item) | Schema::OneOrMore(item)) => {
            items.iter_mut().for_each(|inner| drop_empty(inner, item))
        }
        _ => {}
    }
}

/// What stands where no key of that name belongs: a mistyped key holds the same secret as the right one.
fn redact_by_name(node: &mut Node) {
    match &mut node.data {
        Data::List(items) => items.iter_mut().for_each(redact_by_name),
        Data::Map(map) => {
            map.retain(|name, _| !sounds_secret(name));
            map.values_mut()
                .for_each(|entry| redact_by_name(&mut entry.node));
        }
        Data::Scalar { .. } => {}
    }
}

fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["passw", "secret", "token"]
        .iter()
        .any(|word| name.contains(word))
}

/// Takes what is private out of `node`, and the maps that are empty without it.
pub fn redact(node: &mut Node, schema: &'static Schema) {
    let map = match (&mut node.data, schema) {
        (Data::Map(map), _) => map,
        (Data::List(items), Schema::List(item) | Schema::OneOrMore(item)) => {
            return items.iter_mut().for_each(|node| redact(node, item));
        }
        _ => return,
    };
    let private = |name: &str| {
        let mut keys = schema.keys().into_iter().flatten();
        keys.any(|key| key.name == name && key.kind == Kind::Private)
    };
    map.retain(|name, entry| {
        let Some(schema) = child(schema, name) else {
            return !sounds_secret(name) && {
                redact_by_name(&mut entry.node);
                true
            };
        };
        let had_content = !is_empty_map(&entry.node);
        redact(&mut entry.node, schema);
        !private(name) && (!had_content || !is_empty_map(&entry.node))
    });
}

fn is_empty_map(node: &Node) -> bool {
    matches!(&node.data, Data::Map(map) if map.is_empty())
}
