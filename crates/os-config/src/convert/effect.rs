//! Keys without effect, as the schema has them: what nothing will ever read goes, what nothing reads yet stays and is named. Owns no key; `plans` has
//! the advice.

use super::plans::{self, Plan};
use super::remark::{Kind, Need, Remark};
use super::{Work, tree};
use crate::node::{Data, Entry, Node};
use crate::schema::{self, ROOT, Schema};

/// After the sieve: what is left of a value decides whether it asks for anything.
pub(super) fn apply(work: &mut Work<'_>) {
    let mut effects = Effects {
        remarks: &mut work.remarks,
        path: Vec::new(),
    };
    effects.value(&mut work.tree, &ROOT);
}

struct Effects<'a> {
    remarks: &'a mut Vec<Remark>,
    path: Vec<String>,
}

impl Effects<'_> {
    fn value(&mut self, node: &mut Node, schema: &'static Schema) {
        let Data::Map(map) = &mut node.data else {
            return;
        };
        map.retain(|name, entry| {
            self.path.push(name.clone());
            let stays = self.stays(name, entry, schema);
            self.path.pop();
            stays
        });
    }

    fn stays(&mut self, name: &str, entry: &mut Entry, schema: &'static Schema) -> bool {
        let Some(inner) = schema::child(schema, name) else {
            return true;
        };
        let plan = plans::of(&self.path);
        match schema::kind(schema, name) {
            schema::Kind::Ignored(advice) => {
                self.ignored(entry, plan, advice);
                false
            }
            schema::Kind::Planned => self.planned(entry, plan),
            // All else is read.
            _ => {
                self.value(&mut entry.node, inner);
                true
            }
        }
    }

    fn remark(&self, kind: Kind, entry: &Entry, what: &str) -> Remark {
        Remark::new(kind, &entry.key, &self.path.join("."), what)
    }

    fn ignored(&mut self, entry: &Entry, plan: Option<&Plan>, advice: &str) {
        let (need, advice) = match plan {
            Some(plan) => (plan.need, plan.advice),
            None => (Need::Nothing, advice.trim_end_matches("; remove it")),
        };
        let remark = self.remark(Kind::NoEffect, entry, "No effect here: left out");
        self.remarks.push(remark.advise(advice).needing(need));
    }

    /// Whether the entry stays: what asks for what is so anyway goes.
    fn planned(&mut self, entry: &Entry, plan: Option<&Plan>) -> bool {
        let idle = plan.map_or(&[] as &[&str], |plan| plan.idle);
        if asks_for_nothing(&entry.node, idle) {
            let what = "Left out: it asks for what is so anyway";
            self.remarks.push(self.remark(Kind::Changed, entry, what));
            return false;
        }
        let remark = self.remark(Kind::NoEffect, entry, "No effect here yet");
        self.remarks.push(match plan {
            Some(plan) => remark.advise(plan.advice).needing(plan.need),
            None => remark.advise("see docs/limits.md, and do without it"),
        });
        true
    }
}

fn asks_for_nothing(node: &Node, idle: &[&str]) -> bool {
    match &node.data {
        Data::Map(map) => map.is_empty(),
        Data::List(items) => items.is_empty(),
        Data::Scalar { .. } => {
            let text = tree::text(node);
            text.is_empty() || text == "false" || idle.contains(&text)
        }
    }
}
