//! A cloud-config of RancherOS 1.x, or of BurmillaOS 2.0, as this release takes it, with what is to be said of it key by key. Pure.
//!
//! Owns the order of the steps. What a key is, and whether anything reads it, is `schema`'s to say; only what it cannot know (old names, changed
//! meanings, images and services that are gone) stands in the tables of this folder. Remarks never show a value that may be secret.

mod compose;
mod daemon;
mod effect;
mod environment;
mod includes;
mod links;
mod meaning;
mod old_names;
mod plans;
mod remark;
mod services;
mod shape;
mod tree;

pub use remark::{Kind, Remark};

use crate::emit::to_yaml;
use crate::merge::put;
use crate::node::{Data, Node};
use crate::problem::{Position, Problem, Severity};
use crate::schema::{self, ROOT};
use crate::{userdata, yaml};
use serde_json::Value;

/// What this release can do that the schema does not say: the programs that do it answer.
pub struct Abilities<'a> {
    /// Whether a datasource, as `rancher.cloud_init.datasources` names it, is asked.
    pub datasource: &'a dyn Fn(&str) -> bool,
    /// What is wrong with the definitions in `rancher.services` of a cloud-config.
    pub services: &'a dyn Fn(&Value) -> Vec<Flaw>,
}

/// Something that is wrong with the definition of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Name of the service.
    pub service: String,
    /// Path below the service, such as `ports[1]`; empty for the service itself.
    pub key: String,
    /// What is wrong and what to write instead.
    pub what: String,
    /// What becomes of it.
    pub harm: Harm,
}

/// How much harm a flaw does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// The key is left out, the service runs.
    Key,
    /// The service is left out.
    Service,
}

/// The same configuration for this release.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversion {
    /// The cloud-config; the schema finds no error in it.
    pub tree: Node,
    /// In the order of the file.
    pub remarks: Vec<Remark>,
}

impl Conversion {
    /// The cloud-config as text, with its first line.
    #[must_use]
    pub fn text(&self) -> String {
        format!("#cloud-config\n{}", to_yaml(&self.tree))
    }

    /// The cloud-config without places, each key in its type.
    #[must_use]
    pub fn value(&self) -> Value {
        schema::to_value(&self.tree, &ROOT)
    }

    /// True when the user has to do something before the machine does what it did.
    #[must_use]
    pub fn needs_hands(&self) -> bool {
        self.remarks.iter().any(|remark| remark.act)
    }
}

/// Why a file cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// gzip that does not unpack, or unpacks to too much.
    #[error("cannot unpack {file}")]
    Gzip {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: Box<userdata::Error>,
    },
    /// User-data of another kind.
    #[error(
        "{0}: a script (`#!`), not a cloud-config; it is run as it is, so give it to the machine unchanged"
    )]
    Script(String),
    /// Not YAML, or not a map.
    #[error("{0}; mend the file and convert it again")]
    Unreadable(Problem),
}

/// The tree that is being converted, and what has been said of it.
struct Work<'a> {
    tree: Node,
    remarks: Vec<Remark>,
    abilities: &'a Abilities<'a>,
}

/// Converts the text of a cloud-config, or of a `#compose` file, perhaps packed by gzip. `file` is its name in remarks.
///
/// # Errors
/// See [`Error`]; a value that cannot be used is no error but a remark.
pub fn convert(bytes: &[u8], file: &str, abilities: &Abilities<'_>) -> Result<Conversion, Error> {
    let unpacked = userdata::unpacked(bytes).map_err(|source| Error::Gzip {
        file: file.to_owned(),
        source: Box::new(source),
    })?;
    let bytes = unpacked
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(unpacked.as_ref());
    if bytes.starts_with(b"#!") {
        return Err(Error::Script(file.to_owned()));
    }
    let parsed = yaml::parse(bytes, file).map_err(Error::Unreadable)?;
    let mut work = Work {
        tree: parsed.root,
        remarks: parsed.problems.into_iter().map(of_syntax).collect(),
        abilities,
    };
    work.head(bytes, file);
    work.root()?;
    old_names::apply(&mut work);
    shape::apply(&mut work);
    work.sieve()?;
    effect::apply(&mut work);
    meaning::apply(&mut work);
    links::apply(&mut work);
    daemon::apply(&mut work);
    environment::apply(&mut work);
    services::apply(&mut work);
    // The order of the steps is nobody's business; those of one line stay in it.
    work.remarks
        .sort_by_key(|remark| (remark.problem.line, remark.problem.column));
    Ok(Conversion {
        tree: work.tree,
        remarks: work.remarks,
    })
}

/// What the parser has found: line ends are mended, all else has cost a value.
fn of_syntax(problem: Problem) -> Remark {
    let kind = match problem.severity {
        Severity::Notice => Kind::Changed,
        Severity::Warning | Severity::Error => Kind::Refused,
    };
    Remark::of(kind, problem)
}

impl Work<'_> {
    /// The first line, which says what a file is.
    fn head(&mut self, bytes: &[u8], file: &str) {
        let first = bytes.split(|&byte| byte == b'\n').next();
        let at = Position::new(&file.into(), 1, 1);
        let what = match first.map(<[u8]>::trim_ascii_end) {
            Some(b"#cloud-config") => return,
            Some(b"#compose") => {
                self.wrap_compose(&at);
                "A Compose file: its services stand under `rancher.services` now"
            }
            _ => {
                "The first line `#cloud-config` is added: without it RancherOS 1.x took no user-data"
            }
        };
        self.remarks.push(Remark::new(Kind::Changed, &at, "", what));
    }

    /// A Compose file, old (services at the top) or new (under `services`), becomes `rancher.services`.
    fn wrap_compose(&mut self, at: &Position) {
        let mut whole = std::mem::take(&mut self.tree);
        let services = match tree::remove(&mut whole, &["services"]) {
            Some(entry) if entry.node.as_map().is_some() => entry.node,
            _ => whole,
        };
        self.tree.position = at.clone();
        put(
            &mut self.tree,
            &["rancher".into(), "services".into()],
            services,
        );
    }

    /// An empty file is an empty map; what is neither is no cloud-config.
    fn root(&mut self) -> Result<(), Error> {
        if self.tree.is_null() {
            self.tree.data = Data::default();
        }
        if self.tree.as_map().is_some() {
            return Ok(());
        }
        let what = format!(
            "A cloud-config is a map, this is: {}",
            self.tree.type_name()
        );
        let problem = Problem::new(Severity::Error, &self.tree.position, "", what);
        Err(Error::Unreadable(problem.advise(
            "write `key: value` lines, such as `hostname: web-1`",
        )))
    }

    /// Takes out what the schema refuses. Warnings are of keys that have their remark already.
    fn sieve(&mut self) -> Result<(), Error> {
        let mut problems = Vec::new();
        let is_of_use = schema::check(&mut self.tree, &ROOT, "", &mut problems);
        problems.retain(|problem| problem.severity == Severity::Error);
        match problems.pop() {
            Some(last) if !is_of_use => return Err(Error::Unreadable(last)),
            last => problems.extend(last),
        }
        for mut problem in problems {
            problem.what = format!("Cannot be used: {}", problem.what);
            self.remarks.push(Remark::of(Kind::Refused, problem));
        }
        Ok(())
    }
}
