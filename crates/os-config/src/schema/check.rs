//! The check of a tree against the schema: takes out what cannot be used, puts the rest into one form, reports all.
//! Owns the texts of findings.

use super::formats::Format;
use super::{Key, Kind, ROOT, Schema, accounts, suggest};
use crate::merge::put;
use crate::node::{Data, Meaning, Node, meaning};
use crate::problem::{Position, Problem, Severity};
use crate::{cmdline, path, yaml};
use std::collections::HashSet;

/// Takes every value that `schema` refuses out of `node`, so that the layer below or the default shows through, and
/// reports each. Unknown keys are reported and stay (nothing reads them). False: `node` itself is of no use.
pub fn check(
    node: &mut Node,
    schema: &'static Schema,
    path: &str,
    problems: &mut Vec<Problem>,
) -> bool {
    Check { problems }.value(node, schema, path)
}

struct Check<'a> {
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    fn report(&mut self, severity: Severity, node: &Node, path: &str, what: String, advice: &str) {
        let key = if path.is_empty() { "(root)" } else { path };
        self.problems
            .push(Problem::new(severity, &node.position, key, what).advise(advice));
    }

    fn value(&mut self, node: &mut Node, schema: &'static Schema, path: &str) -> bool {
        if node.is_null() && !matches!(schema, Schema::Any | Schema::Rules(_)) {
            if !path.is_empty() {
                self.report(
                    Severity::Warning,
                    node,
                    path,
                    "No value".into(),
                    "give it one, or remove the line",
                );
            }
            return false;
        }
        if is_text_with_nul(node) {
            return self.has_nul(node, path);
        }
        match schema {
            Schema::Any => true,
            Schema::AnyMap => {
                matches!(node.data, Data::Map(_)) || self.wrong_type(node, schema, path)
            }
            Schema::Map(item) => self.free_map(node, schema, item, path),
            Schema::Object(keys) => self.object(node, schema, keys, path),
            Schema::List(item) => self.list(node, schema, item, path),
            Schema::OneOrMore(item) => match node.data {
                Data::Scalar { .. } => self.value(node, item, path),
                _ => self.list(node, schema, item, path),
            },
            Schema::Switch(keys) => match node.data {
                Data::Scalar { .. } => self.scalar(node, &Schema::Bool, path),
                _ => self.object(node, schema, keys, path),
            },
            Schema::Words(item) => {
                accounts::split_at_commas(node);
                self.list(node, schema, item, path)
            }
            Schema::Rules(item) => {
                accounts::list_rules(node);
                self.list(node, schema, item, path)
            }
            Schema::Named(keys) => {
                accounts::map_name(node);
                self.object(node, schema, keys, path)
            }
            Schema::Tuple(names) => self.tuple(node, schema, names, path),
            Schema::Command => match node.data {
                Data::List(_) => self.list(node, &Schema::List(&Schema::Text), &Schema::Text, path),
                Data::Map(_) => self.command_map(node, path),
                Data::Scalar { .. } => true,
            },
            _ => self.scalar(node, schema, path),
        }
    }

    fn wrong_type(&mut self, node: &Node, schema: &Schema, path: &str) -> bool {
        let what = format!(
            "Invalid type. Expected: {}, given: {}",
            schema.name(),
            node.type_name()
        );
        let advice = match schema.name() {
            "object" => "write `key: value` lines below it, indented and without `-`",
            "array" => "write it as a list: `- value` on a line of its own",
            "integer" => "write a whole number without quotes",
            "boolean" => "write true or false without quotes",
            _ => "write one text, in quotes if it has special characters",
        };
        self.report(Severity::Error, node, path, what, advice);
        false
    }

    /// `- echo a: b` is a map to YAML, the usual mistake in commands.
    fn command_map(&mut self, node: &Node, path: &str) -> bool {
        let what = "Invalid type. Expected: string, given: object".to_owned();
        self.report(
            Severity::Error,
            node,
            path,
            what,
            "put the command in quotes: it contains `: `",
        );
        false
    }

    fn free_map(
        &mut self,
        node: &mut Node,
        schema: &'static Schema,
        item: &'static Schema,
        path: &str,
    ) -> bool {
        let Data::Map(map) = &mut node.data else {
            return self.wrong_type(node, schema, path);
        };
        map.retain(|name, entry| self.value(&mut entry.node, item, &join(path, name)));
        true
    }

    fn object(
        &mut self,
        node: &mut Node,
        schema: &'static Schema,
        keys: &'static [Key],
        path: &str,
    ) -> bool {
        let Data::Map(map) = &mut node.data else {
            return self.wrong_type(node, schema, path);
        };
        map.retain(|name, entry| {
            let here = join(path, name);
            match keys.iter().find(|key| key.name == name) {
                Some(key) => {
                    let is_of_use = self.value(&mut entry.node, &key.schema, &here);
                    if is_of_use {
                        self.of_kind(key.kind, &mut entry.node, &here);
                    }
                    is_of_use
                }
                None => {
                    let what = format!("Additional property {name} is not allowed");
                    let problem = Problem::new(Severity::Error, &entry.key, &here, what);
                    self.problems
                        .push(problem.advise(suggest::for_key(schema, path, name)));
                    true
                }
            }
        });
        self.complete(node, keys, path)
    }

    fn of_kind(&mut self, kind: Kind, node: &mut Node, path: &str) {
        let (what, advice) = match kind {
            Kind::Ignored(advice) => ("Has no effect", advice),
            Kind::Planned => ("Not supported yet; it has no effect", ""),
            Kind::Accounts => return accounts::check(node, path, self.problems),
            _ => return,
        };
        self.report(Severity::Warning, node, path, what.to_owned(), advice);
    }

    fn complete(&mut self, node: &Node, keys: &[Key], path: &str) -> bool {
        let Data::Map(map) = &node.data else {
            return false;
        };
        let missing = |key: &&Key| key.kind == Kind::Required && !map.contains_key(key.name);
        let Some(key) = keys.iter().find(missing) else {
            return true;
        };
        let what = format!("{} is required", key.name);
        self.report(
            Severity::Error,
            node,
            path,
            what,
            &format!("add `{}: …`; without it the entry is skipped", key.name),
        );
        false
    }

    fn list(
        &mut self,
        node: &mut Node,
        schema: &'static Schema,
        item: &'static Schema,
        path: &str,
    ) -> bool {
        if matches!(node.data, Data::Scalar { .. }) && item.is_scalar() {
            self.wrap(node, schema, path);
        }
        let Data::List(items) = &mut node.data else {
            return self.wrong_type(node, schema, path);
        };
        let mut index = 0;
        items.retain_mut(|entry| {
            let here = join(path, &index.to_string());
            index += 1;
            self.value(entry, item, &here)
        });
        if item.is_scalar() {
            self.repeated(node, path);
        }
        true
    }

    /// One value where a list belongs: losing an only SSH key to a missing `-` would lock the user out.
    fn wrap(&mut self, node: &mut Node, schema: &Schema, path: &str) {
        let what = format!(
            "Invalid type. Expected: {}, given: {}",
            schema.name(),
            node.type_name()
        );
        let advice = "read as a list of this one value; write `- value` on a line of its own";
        self.report(Severity::Warning, node, path, what, advice);
        let only = Node {
            data: std::mem::take(&mut node.data),
            position: node.position.clone(),
        };
        node.data = Data::List(vec![only]);
    }

    fn repeated(&mut self, node: &Node, path: &str) {
        let Data::List(items) = &node.data else {
            return;
        };
        let mut seen = HashSet::new();
        for item in items {
            if let Data::Scalar { text, .. } = &item.data
                && !seen.insert(text.as_str())
            {
                self.report(
                    Severity::Warning,
                    item,
                    path,
                    "array items must be unique".into(),
                    "remove one of the two, unless it is meant twice",
                );
            }
        }
    }

    fn tuple(&mut self, node: &mut Node, schema: &Schema, names: &[&str], path: &str) -> bool {
        let Data::List(items) = &mut node.data else {
            return self.wrong_type(node, schema, path);
        };
        for item in items.iter_mut().filter(|item| item.is_null()) {
            item.data = Data::Scalar {
                text: String::new(),
                quoted: true,
            };
        }
        let scalars = items
            .iter()
            .all(|item| matches!(item.data, Data::Scalar { .. }) && !is_text_with_nul(item));
        if scalars && items.len() == names.len() {
            return true;
        }
        let what = format!(
            "Expected: {} strings ({}), given: {}",
            names.len(),
            names.join(", "),
            items.len()
        );
        let what = if scalars {
            what
        } else {
            format!("Expected: strings ({}) only", names.join(", "))
        };
        self.report(
            Severity::Error,
            node,
            path,
            what,
            "write all of them, `\"\"` for what is not needed; the entry is skipped",
        );
        false
    }

    fn scalar(&mut self, node: &mut Node, schema: &'static Schema, path: &str) -> bool {
        let is_parameter = *node.position.file == *cmdline::SOURCE;
        let Data::Scalar { text, quoted } = &mut node.data else {
            return self.wrong_type(node, schema, path);
        };
        match schema {
            Schema::Bool => match truth(text, *quoted, is_parameter) {
                Some(value) => value.clone_into(text),
                None => return self.wrong_type(node, schema, path),
            },
            Schema::Integer(least, most) => match meaning(text) {
                Meaning::Integer(value) if !*quoted => {
                    *text = value.to_string();
                    return (*least..=*most).contains(&value)
                        || self.out_of_range(node, (*least, *most), path);
                }
                _ => return self.wrong_type(node, schema, path),
            },
            Schema::OneOf(allowed) => {
                return allowed.contains(&text.as_str()) || self.not_allowed(node, allowed, path);
            }
            Schema::Formatted(format) => {
                let fits = text.is_empty() || (format.fits)(text);
                return fits || self.not_of_form(node, format, path);
            }
            Schema::Hidden(format) => {
                let fits = text.is_empty() || (format.fits)(text);
                return fits || self.not_of_hidden_form(node, format, path);
            }
            _ => {}
        }
        true
    }

    fn out_of_range(&mut self, node: &Node, (least, most): (i64, i64), path: &str) -> bool {
        let what = format!("Out of range: {}", shown(node));
        self.report(
            Severity::Error,
            node,
            path,
            what,
            &format!("write a number from {least} to {most}"),
        );
        false
    }

    fn not_allowed(&mut self, node: &Node, allowed: &[&str], path: &str) -> bool {
        let what = format!("{} is not one of the allowed values", shown(node));
        let list: Vec<String> = allowed.iter().map(|value| format!("`{value}`")).collect();
        self.report(
            Severity::Error,
            node,
            path,
            what,
            &format!("write one of {}", list.join(", ")),
        );
        false
    }

    fn not_of_form(&mut self, node: &mut Node, format: &Format, path: &str) -> bool {
        let what = format!("{} is not {}", shown(node), format.name);
        self.report(Severity::Error, node, path, what, format.advice);
        if let (Some(instead), Data::Scalar { text, .. }) = (format.instead, &mut node.data) {
            instead.clone_into(text);
            return true;
        }
        false
    }

    /// What was meant to be a secret is not told to everybody who sees the console.
    fn not_of_hidden_form(&mut self, node: &Node, format: &Format, path: &str) -> bool {
        let what = format!("The text is not {}", format.name);
        self.report(Severity::Error, node, path, what, format.advice);
        false
    }

    /// A quoted `\0`: no program argument, path or environment can hold it.
    fn has_nul(&mut self, node: &Node, path: &str) -> bool {
        let what = "Contains the character U+0000".to_owned();
        self.report(
            Severity::Error,
            node,
            path,
            what,
            "remove it, or encode the content with base64",
        );
        false
    }
}

fn is_text_with_nul(node: &Node) -> bool {
    matches!(&node.data, Data::Scalar { text, .. } if text.contains('\0'))
}

fn shown(node: &Node) -> String {
    let Data::Scalar { text, .. } = &node.data else {
        return node.type_name().to_owned();
    };
    let short: String = text.chars().take(40).collect();
    let rest = if short.len() < text.len() { "…" } else { "" };
    // A line end would look like another message, and terminals obey what begins with ESC.
    let visible = |c: char| {
        let visible = (!c.is_control()).then_some(c);
        let escaped = visible.is_none().then(|| c.escape_default());
        visible.into_iter().chain(escaped.into_iter().flatten())
    };
    let short: String = short.chars().flat_map(visible).collect();
    format!("`{short}{rest}`")
}

/// YAML 1.1's words, and for kernel parameters the digits that the kernel's own take (`Documentation/admin-guide/kernel-parameters`).
pub(super) fn truth(text: &str, quoted: bool, is_parameter: bool) -> Option<&'static str> {
    if quoted {
        return None;
    }
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Some("true"),
        "false" | "no" | "off" | "n" => Some("false"),
        "1" if is_parameter => Some("true"),
        "0" if is_parameter => Some("false"),
        _ => None,
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// Everything that is wrong with a cloud-config file.
#[must_use]
pub fn check_text(bytes: &[u8], file: &str) -> Vec<Problem> {
    let parsed = match yaml::parse(bytes, file) {
        Ok(parsed) => parsed,
        Err(problem) => return vec![problem],
    };
    let (mut root, mut problems) = (parsed.root, parsed.problems);
    if !root.is_null() {
        check(&mut root, &ROOT, "", &mut problems);
    }
    problems
}

/// What is wrong with the dotted `key`, as a key of the configuration.
#[must_use]
pub fn unknown(key: &str) -> Option<Problem> {
    let segments = path::segments(key);
    if path::locate(&ROOT, &segments).is_some() {
        return None;
    }
    // The check names the part that is wrong and what it was meant to be.
    let mut layer = Node::default();
    let mut problems = Vec::new();
    put(&mut layer, &segments, Node::text(""));
    check(&mut layer, &ROOT, "", &mut problems);
    let nothing = || {
        Problem::new(
            Severity::Error,
            &Position::default(),
            "",
            format!("{key} is not a key"),
        )
    };
    Some(
        problems
            .into_iter()
            .find(|problem| problem.severity == Severity::Error)
            .unwrap_or_else(nothing),
    )
}
