//! From layers to the configuration: check each, merge in order, expand, fill, type. Pure.
//! Owns the order of precedence; reading the files is `store`'s.

use crate::cmdline::Cmdline;
use crate::merge::{merge, put, take};
use crate::metadata::Metadata;
use crate::node::{Data, Node};
use crate::path;
use crate::problem::{Position, Problem, Severity};
use crate::schema::{self, ROOT};
use crate::store::Loaded;
use crate::types::Config;
use crate::yaml;

/// Whose file it is, which is what `export` distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Shipped defaults and the OEM's.
    System,
    /// The user's.
    User,
}

/// Whether secrets are part of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// Private keys, passwords and what followed ` -- ` are left out.
    Hidden,
    /// Everything but `rancher.password`.
    Shown,
}

/// The layers from lowest to highest, with what was found wrong in them.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    layers: Vec<(Owner, Node)>,
    problems: Vec<Problem>,
    metadata: Metadata,
    cmdline: Cmdline,
}

impl Layers {
    /// No layers yet, with what fills them in the end.
    #[must_use]
    pub fn new(metadata: Metadata, cmdline: Cmdline) -> Self {
        Self {
            metadata,
            cmdline,
            ..Self::default()
        }
    }

    /// Lays the text of a file on top. A file that is not YAML, or not a map, is left out and reported.
    pub fn add_file(&mut self, owner: Owner, bytes: &[u8], file: &str) {
        let parsed = match yaml::parse(bytes, file) {
            Ok(parsed) => parsed,
            Err(problem) => return self.problems.push(skipped(problem)),
        };
        self.problems.extend(parsed.problems);
        let mut root = parsed.root;
        self.metadata.substitute(&mut root);
        if root.is_null() {
            return;
        }
        self.add(owner, root);
    }

    /// Reports a file that could not be read.
    pub fn add_problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn add(&mut self, owner: Owner, mut root: Node) {
        if schema::check(&mut root, &ROOT, "", &mut self.problems) {
            // Never keys of the configuration, wherever they are written.
            take(&mut root, &["rancher", "password"]);
            take(&mut root, &["rancher", "autologin"]);
            self.layers.push((owner, root));
        } else if let Some(problem) = self.problems.pop() {
            self.problems.push(skipped(problem));
        }
    }

    /// Lays the kernel command line on top of all: first what is before ` -- `, then, unless it stays hidden, what
    /// follows.
    fn with_cmdline(mut self, privacy: Privacy) -> Self {
        let (visible, hidden) = (self.cmdline.visible.clone(), self.cmdline.hidden.clone());
        self.add(Owner::User, visible);
        if privacy == Privacy::Hidden {
            return self;
        }
        self.add(Owner::User, hidden);
        if let Some(extra) = &self.cmdline.extra {
            let mut root = Node::default();
            let path = ["rancher", "environment", "EXTRA_CMDLINE"].map(str::to_owned);
            put(
                &mut root,
                &path,
                Node::text(format!("/init {}", extra.reveal())),
            );
            self.layers.push((Owner::User, root));
        }
        self
    }

    /// Everything merged and typed.
    #[must_use]
    pub fn resolve(self) -> Loaded {
        let layers = self.with_cmdline(Privacy::Shown);
        let mut tree = merged(layers.layers.into_iter().map(|(_, root)| root));
        expand_debug(&mut tree);
        layers.metadata.fill(&mut tree);
        let mut problems = layers.problems;
        let config = typed(&tree, &mut problems);
        Loaded {
            config,
            problems,
            tree,
            cmdline: layers.cmdline,
        }
    }

    /// The merged tree as `ros config export` shows it: the user's layers, or all with [`Owner::System`].
    #[must_use]
    pub fn export(self, from: Owner, privacy: Privacy) -> Node {
        let layers = self.with_cmdline(privacy);
        let wanted = |owner: &Owner| from == Owner::System || *owner == Owner::User;
        let layers_wanted = layers.layers.into_iter().filter(|(owner, _)| wanted(owner));
        let mut tree = merged(layers_wanted.map(|(_, root)| root));
        layers.metadata.fill(&mut tree);
        take(&mut tree, &["EXTRA_CMDLINE"]);
        if privacy == Privacy::Hidden {
            schema::redact(&mut tree, &ROOT);
        }
        tree
    }
}

fn skipped(problem: Problem) -> Problem {
    let advice = match problem.advice.as_str() {
        "" => "the whole file is skipped".to_owned(),
        advice => format!("{advice}; the whole file is skipped"),
    };
    problem.advise(advice)
}

fn merged(layers: impl Iterator<Item = Node>) -> Node {
    let mut tree = Node::default();
    for layer in layers {
        merge(&mut tree, layer);
    }
    tree
}

/// `rancher.debug` turns on the daemons' debug output and the log echo.
fn expand_debug(tree: &mut Node) {
    let path = |dotted: &str| path::segments(dotted);
    let flag = |value: &str| {
        Node::made(Data::Scalar {
            text: value.into(),
            quoted: false,
        })
    };
    let debug = path::find(tree, &path("rancher.debug"));
    if debug.is_some_and(|node| matches!(&node.data, Data::Scalar { text, .. } if text == "true")) {
        for key in [
            "docker.debug",
            "system_docker.debug",
            "bootstrap_docker.debug",
            "log",
        ] {
            put(tree, &path(&format!("rancher.{key}")), flag("true"));
        }
    }
}

/// Every layer was checked, so this fails only if the schema and the types disagree; then the keys that do are left
/// out one at a time, and reported, because a boot must go on.
fn typed(tree: &Node, problems: &mut Vec<Problem>) -> Config {
    let mut value = schema::to_value(tree, &ROOT);
    schema::drop_empty(&mut value, &ROOT);
    if let Ok(config) = serde_json::from_value(value.clone()) {
        return config;
    }
    let mut report = |key: &str, error: &serde_json::Error| {
        let what = format!("Cannot be used: {error}");
        problems.push(
            Problem::new(Severity::Error, &Position::default(), key, what)
                .advise("the default is used"),
        );
    };
    if let Some(rancher) = value
        .get_mut("rancher")
        .and_then(|rancher| rancher.as_object_mut())
    {
        rancher.retain(|name, item| {
            let alone = serde_json::json!({"rancher": {name.as_str(): item}});
            match serde_json::from_value::<Config>(alone) {
                Ok(_) => true,
                Err(error) => {
                    report(&format!("rancher.{name}"), &error);
                    false
                }
            }
        });
    }
    serde_json::from_value(value).unwrap_or_else(|error| {
        report("(root)", &error);
        Config::default()
    })
}
