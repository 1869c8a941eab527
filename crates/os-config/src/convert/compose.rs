//! Parts of service definitions: labels in both forms of Compose, and what the programs that read definitions find wrong with them.

use super::remark::{Kind, Remark};
use super::{Flaw, Harm, Work, tree};
use crate::node::{Data, Map, Node};
use crate::path;
use crate::problem::Position;
use crate::schema::{self, ROOT};
use serde_json::Value;
use std::collections::HashSet;

/// Keys that refer to other services, which may stand in other files.
const REFERENCES: [&str; 3] = ["volumes_from", "links", "external_links"];

/// What becomes of a label.
pub(super) enum Label {
    Stays,
    Goes,
    Becomes(String),
}

/// Shows each label with its name, value and place, and does what the answer says.
pub(super) fn edit_labels(
    definition: &mut Map,
    edit: &mut dyn FnMut(&str, &str, &Position) -> Label,
) {
    let Some(labels) = definition.get_mut("labels") else {
        return;
    };
    match &mut labels.node.data {
        Data::Map(map) => map.retain(|name, entry| {
            let answer = edit(name, tree::text(&entry.node), &entry.key);
            answered(&mut entry.node, answer, |value| value)
        }),
        Data::List(items) => items.retain_mut(|item| {
            let text = tree::text(item).to_owned();
            let (name, value) = text.split_once('=').unwrap_or((&text, ""));
            let answer = edit(name, value, &item.position);
            answered(item, answer, |value| format!("{name}={value}"))
        }),
        Data::Scalar { .. } => {}
    }
}

fn answered(node: &mut Node, answer: Label, written: impl Fn(String) -> String) -> bool {
    match answer {
        Label::Stays => true,
        Label::Goes => false,
        Label::Becomes(value) => {
            node.data = Node::text(written(value)).data;
            true
        }
    }
}

/// Takes out services that would be skipped, and names keys that would be. Each is looked at as if it were alone: what it refers to may stand in
/// other files. `is_built_in`: the rest of the definition, its image among it, comes with the release.
pub(super) fn flaws(work: &mut Work<'_>, is_built_in: &dyn Fn(&str) -> bool) {
    let mut document = schema::to_value(&work.tree, &ROOT);
    schema::drop_empty(&mut document, &ROOT);
    let services = document.pointer_mut("/rancher/services");
    for (name, definition) in services
        .and_then(Value::as_object_mut)
        .into_iter()
        .flatten()
    {
        let Some(keys) = definition.as_object_mut() else {
            continue;
        };
        keys.retain(|key, _| !REFERENCES.contains(&key.as_str()));
        if is_built_in(name) {
            keys.entry("image").or_insert_with(|| "image".into());
        }
    }
    let mut refused = HashSet::new();
    for flaw in (work.abilities.services)(&document) {
        tell(work, &flaw);
        if flaw.harm == Harm::Service {
            refused.insert(flaw.service);
        }
    }
    if let Some(services) = tree::map(&mut work.tree, &["rancher", "services"]) {
        services.retain(|name, _| !refused.contains(name));
    }
}

fn tell(work: &mut Work<'_>, flaw: &Flaw) {
    let Some(services) = tree::map(&mut work.tree, &["rancher", "services"]) else {
        return;
    };
    let Some(entry) = services.get(&flaw.service) else {
        return;
    };
    let at = place(&entry.node, &flaw.key).unwrap_or_else(|| entry.key.clone());
    let dot = if flaw.key.is_empty() { "" } else { "." };
    let key = format!("rancher.services.{}{dot}{}", flaw.service, flaw.key);
    let why = without_command(flaw);
    let remark = match flaw.harm {
        Harm::Key => Remark::new(Kind::NoEffect, &at, &key, format!("No effect here: {why}")),
        Harm::Service => {
            let what = format!("Cannot be used, and the service is left out: {why}");
            Remark::new(Kind::Refused, &at, &key, what)
        }
    };
    work.remarks.push(remark);
}

/// Command lines may hold passwords.
fn without_command(flaw: &Flaw) -> &str {
    let has_command = ["command", "entrypoint"]
        .iter()
        .any(|key| flaw.key.starts_with(key));
    match flaw.what.split_once(" in `") {
        Some((what, _)) if has_command => what,
        _ => &flaw.what,
    }
}

/// Where `ports[1]` of a definition stands.
fn place(definition: &Node, key: &str) -> Option<Position> {
    if key.is_empty() {
        return None;
    }
    let dotted = key.replace('[', ".").replace(']', "");
    let found = path::find(definition, &path::segments(&dotted))?;
    Some(found.position.clone())
}
