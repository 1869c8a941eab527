//! The tree in the shapes that the schema asks for: values that were meant right are written right, keys that nothing knows are taken out. Owns no
//! key: the schema says what each is.

use super::Work;
use super::remark::{Kind, Remark};
use crate::node::{Data, Entry, Meaning, Node, meaning};
use crate::schema::{self, Key, ROOT, Schema};

/// 1.x took no less either, whatever was written.
const LEAST_TIMEOUT: &str = "rancher.shutdown_timeout";

pub(super) fn apply(work: &mut Work<'_>) {
    let mut shaper = Shaper {
        remarks: &mut work.remarks,
        path: Vec::new(),
    };
    shaper.value(&mut work.tree, &ROOT);
}

struct Shaper<'a> {
    remarks: &'a mut Vec<Remark>,
    path: Vec<String>,
}

impl Shaper<'_> {
    fn key(&self) -> String {
        self.path.join(".")
    }

    fn changed(&mut self, node: &Node, what: impl Into<String>) {
        let remark = Remark::new(Kind::Changed, &node.position, &self.key(), what);
        self.remarks.push(remark);
    }

    fn value(&mut self, node: &mut Node, schema: &'static Schema) {
        match schema {
            Schema::Bool => self.truth(node),
            Schema::Switch(_) if node.as_map().is_none() => self.truth(node),
            Schema::Map(item) => self.free_map(node, item),
            Schema::List(item) => self.list(node, item),
            Schema::OneOrMore(item) if matches!(node.data, Data::List(_)) => self.list(node, item),
            Schema::OneOrMore(item) => self.value(node, item),
            Schema::Tuple(names) => self.tuple(node, names.len()),
            Schema::Integer(least, _) => self.number(node, *least),
            // Other types have one shape only, or keys.
            _ => {
                if let Some(keys) = schema.keys() {
                    self.object(node, schema, keys);
                }
            }
        }
    }

    fn object(&mut self, node: &mut Node, schema: &'static Schema, keys: &'static [Key]) {
        let Data::Map(map) = &mut node.data else {
            return;
        };
        map.retain(|name, entry| {
            let parent = self.key();
            self.path.push(name.clone());
            let stays = match keys.iter().find(|key| key.name == name) {
                Some(key) => self.known(key, entry),
                None => {
                    let remark = Remark::new(
                        Kind::Unknown,
                        &entry.key,
                        &self.key(),
                        "Not known: left out",
                    );
                    let advice = schema::advice_for_unknown(schema, &parent, name);
                    self.remarks.push(remark.advise(without_removal(&advice)));
                    false
                }
            };
            self.path.pop();
            stays
        });
    }

    /// Whether the entry of a key that the schema has stays.
    fn known(&mut self, key: &'static Key, entry: &mut Entry) -> bool {
        if !self.has_value(entry, &key.schema) {
            return false;
        }
        self.value(&mut entry.node, &key.schema);
        true
    }

    fn has_value(&mut self, entry: &Entry, schema: &Schema) -> bool {
        if !entry.node.is_null() || matches!(schema, Schema::Any) {
            return true;
        }
        let remark = Remark::new(
            Kind::Changed,
            &entry.key,
            &self.key(),
            "Left out: it has no value",
        );
        self.remarks.push(remark);
        false
    }

    fn free_map(&mut self, node: &mut Node, item: &'static Schema) {
        let Data::Map(map) = &mut node.data else {
            return;
        };
        map.retain(|name, entry| {
            self.path.push(name.clone());
            let stays = self.has_value(entry, item);
            if stays {
                self.value(&mut entry.node, item);
            }
            self.path.pop();
            stays
        });
    }

    fn list(&mut self, node: &mut Node, item: &'static Schema) {
        let takes_scalars = item.is_scalar() || matches!(item, Schema::Command);
        if matches!(node.data, Data::Scalar { .. }) && takes_scalars {
            self.changed(node, "Written as a list of this one value");
            let only = Node {
                data: std::mem::take(&mut node.data),
                position: node.position.clone(),
            };
            node.data = Data::List(vec![only]);
        }
        let Data::List(items) = &mut node.data else {
            return;
        };
        let mut index = 0;
        items.retain_mut(|entry| {
            self.path.push(index.to_string());
            index += 1;
            let stays = !entry.is_null();
            if stays {
                self.value(entry, item);
            } else {
                self.changed(entry, "Left out: it has no value");
            }
            self.path.pop();
            stays
        });
    }

    /// `mounts`: 1.x refused entries that had not four texts; those of two or three say enough, and what fstab has as fifth and sixth says nothing here.
    fn tuple(&mut self, node: &mut Node, wanted: usize) {
        let Data::List(items) = &mut node.data else {
            return;
        };
        for item in items.iter_mut().filter(|item| item.is_null()) {
            *item = Node {
                data: Node::text("").data,
                position: item.position.clone(),
            };
        }
        let are_texts = items
            .iter()
            .all(|item| matches!(item.data, Data::Scalar { .. }));
        let given = items.len();
        if !are_texts || given == wanted || !(2..=6).contains(&given) {
            return;
        }
        items.resize(wanted, Node::text(""));
        let what = format!("Written with {wanted} texts: it had {given}, and 1.x did not take it");
        self.changed(node, what);
    }

    fn truth(&mut self, node: &mut Node) {
        let Data::Scalar { text, quoted } = &mut node.data else {
            return;
        };
        let value = match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" | "1" => "true",
            "false" | "no" | "off" | "n" | "0" => "false",
            _ => return,
        };
        // The words of YAML 1.1 are read as they are.
        let is_read = !*quoted && !matches!(text.as_str(), "0" | "1");
        value.clone_into(text);
        *quoted = false;
        if !is_read {
            self.changed(node, format!("Written as {value}, without quotes"));
        }
    }

    fn number(&mut self, node: &mut Node, least: i64) {
        let key = self.key();
        let Data::Scalar { text, quoted } = &mut node.data else {
            return;
        };
        let Meaning::Integer(value) = meaning(text.trim()) else {
            return;
        };
        if *quoted {
            *text = value.to_string();
            *quoted = false;
            self.changed(node, "Written as a number, without quotes");
        }
        if key == LEAST_TIMEOUT && (0..least).contains(&value) {
            node.data = Data::Scalar {
                text: least.to_string(),
                quoted: false,
            };
            self.changed(node, format!("Written as {least}, the least there is"));
        }
    }
}

/// The advice for a key that is out already.
fn without_removal(advice: &str) -> &str {
    let advice = advice.strip_prefix("remove it, or ").unwrap_or(advice);
    advice.strip_suffix("; remove it").unwrap_or(advice)
}
