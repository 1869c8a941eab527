//! The files of the configuration: reads all of them in order, changes `cloud-config.yml`, keeps the metadata.
//! The only module of this crate that touches the disk. Owns paths, modes and atomic writes; what the text means is not
//! its business.

pub mod applied;
mod files;

use crate::cmdline::Cmdline;
use crate::emit::to_yaml;
use crate::layers::{Layers, Owner};
use crate::metadata::Metadata;
use crate::node::Node;
use crate::problem::{Position, Problem, Severity};
use crate::schema::{self, ROOT, Schema};
use crate::types::Config;
use crate::{merge as trees, path, yaml};
use files::{Content, Lock};
use std::io;
use std::path::{Path, PathBuf};

const DEFAULTS: &str = "usr/share/ros/os-config.yml";
const OEM: &str = "usr/share/ros/oem/oem-config.yml";
const CONF: &str = "var/lib/rancher/conf";
const CLOUD_CONFIG_D: &str = "cloud-config.d";
const CLOUD_CONFIG: &str = "cloud-config.yml";
const METADATA: &str = "metadata";

/// Where the files are.
#[derive(Debug, Clone)]
pub struct Place {
    /// Prefix of `/usr/share/ros`.
    pub system: PathBuf,
    /// Prefix of `/var/lib/rancher`.
    pub state: PathBuf,
}

impl Place {
    /// Everything under `root` (`/` on a running system).
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            system: root.to_path_buf(),
            state: root.to_path_buf(),
        }
    }

    /// The same with `/var/lib/rancher` under `state`.
    #[must_use]
    pub fn with_state(mut self, state: &Path) -> Self {
        self.state = state.to_path_buf();
        self
    }

    /// The shipped defaults, `/usr/share/ros/os-config.yml`.
    #[must_use]
    pub fn defaults(&self) -> PathBuf {
        self.system.join(DEFAULTS)
    }

    /// `/var/lib/rancher/conf`.
    #[must_use]
    pub fn conf(&self) -> PathBuf {
        self.state.join(CONF)
    }
}

/// The running system.
impl Default for Place {
    fn default() -> Self {
        Self::new(Path::new("/"))
    }
}

/// The configuration as a program starts with it.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// Merged, checked, typed.
    pub config: Config,
    /// Everything that was found wrong, in the order of the layers.
    pub problems: Vec<Problem>,
    /// The merged tree, with unknown keys and places.
    pub tree: Node,
    /// The kernel command line that went into it.
    pub cmdline: Cmdline,
}

/// What cannot be done with the files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A value or file that the schema refuses; nothing was written.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Loads the configuration: files, kernel command line, metadata. Never fails: what is wrong is in `problems`, and a
/// bad value falls back to the layer below or to the default.
#[must_use]
pub fn load(place: &Place, cmdline: &Cmdline) -> Loaded {
    read_layers(place, cmdline).resolve()
}

/// Loads the configuration of the running system: files under `/`, `/proc/cmdline`.
#[must_use]
pub fn load_running() -> Loaded {
    load(&Place::default(), &read_cmdline())
}

/// Reads all files in order of precedence, for [`load`] and for `ros config export`.
#[must_use]
pub fn read_layers(place: &Place, cmdline: &Cmdline) -> Layers {
    let mut layers = Layers::new(read_metadata(place), cmdline.clone());
    add_file(&mut layers, Owner::System, &place.defaults());
    add_file(&mut layers, Owner::System, &place.system.join(OEM));
    match files::names(&place.conf().join(CLOUD_CONFIG_D)) {
        Ok(paths) => paths
            .iter()
            .for_each(|path| add_file(&mut layers, Owner::User, path)),
        Err(error) => layers.add_problem(unreadable(&place.conf().join(CLOUD_CONFIG_D), &error)),
    }
    add_file(&mut layers, Owner::User, &place.conf().join(CLOUD_CONFIG));
    layers
}

fn add_file(layers: &mut Layers, owner: Owner, path: &Path) {
    match files::read(path) {
        Ok(Content::Bytes(bytes)) => layers.add_file(owner, &bytes, &path.display().to_string()),
        Ok(Content::Missing) => {}
        Err(error) => layers.add_problem(unreadable(path, &error)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let what = format!("Cannot be read: {error}");
    let problem = Problem::new(
        Severity::Error,
        &Position::whole(&path.display().to_string()),
        "",
        what,
    );
    problem.advise("the whole file is skipped")
}

/// The kernel command line of the running system; empty when it cannot be read.
#[must_use]
pub fn read_cmdline() -> Cmdline {
    let bytes = std::fs::read("/proc/cmdline").unwrap_or_default();
    crate::cmdline::parse(&String::from_utf8_lossy(&bytes))
}

/// Sets one key in `cloud-config.yml`. `value` is YAML; `null` takes the key out.
///
/// # Errors
/// [`Error::Invalid`] for an unknown key or a value of the wrong type, else a file error.
pub fn set(place: &Place, key: &str, value: &str) -> Result<(), Error> {
    let (keys, schema) = known_key(key)?;
    let parsed =
        yaml::parse(value.as_bytes(), "value").map_err(|problem| Error::Invalid(vec![problem]))?;
    let mut node = parsed.root;
    let mut problems = parsed.problems;
    if matches!(&node.data, crate::node::Data::Scalar { text, quoted: false } if text.is_empty()) {
        node = Node::text("");
    }
    if node.is_null() {
        let parts: Vec<&str> = keys.iter().map(String::as_str).collect();
        return change(place, |tree| {
            trees::take(tree, &parts);
        });
    }
    let usable = schema::check(&mut node, schema, &keys.join("."), &mut problems);
    let invalid = problems
        .iter()
        .any(|problem| problem.severity == Severity::Error);
    if !usable || invalid {
        return Err(Error::Invalid(problems));
    }
    change(place, |tree| {
        let mut layer = Node::default();
        trees::put(&mut layer, &keys, Node::default());
        trees::merge(tree, layer);
        trees::put(tree, &keys, node);
    })
}

fn known_key(key: &str) -> Result<(Vec<String>, &'static Schema), Error> {
    let segments = path::segments(key);
    let named = segments.iter().all(|part| !part.is_empty());
    path::locate(&ROOT, &segments)
        .filter(|_| named)
        .ok_or_else(|| {
            let what = format!("{key} is not a key that can be set");
            let nothing = || Problem::new(Severity::Error, &Position::default(), "", what);
            Error::Invalid(vec![schema::unknown(key).unwrap_or_else(nothing)])
        })
}

/// Merges `text` (YAML) into `cloud-config.yml`. Returns findings that did not stop it: unknown keys, warnings.
///
/// # Errors
/// [`Error::Invalid`] when it does not parse or a value has the wrong type, else a file error. Nothing is written then.
pub fn merge(place: &Place, text: &[u8]) -> Result<Vec<Problem>, Error> {
    let parsed = yaml::parse(text, "input").map_err(|problem| Error::Invalid(vec![problem]))?;
    let mut root = parsed.root;
    let mut problems = parsed.problems;
    if root.is_null() {
        return Ok(problems);
    }
    let usable = schema::check(&mut root, &ROOT, "", &mut problems);
    let unknown = |problem: &Problem| problem.what.starts_with("Additional property");
    if !usable
        || problems
            .iter()
            .any(|problem| problem.severity == Severity::Error && !unknown(problem))
    {
        return Err(Error::Invalid(problems));
    }
    change(place, |tree| trees::merge(tree, root))?;
    Ok(problems)
}

/// Reads `cloud-config.yml`, applies `edit`, writes it back; one writer at a time.
fn change(place: &Place, edit: impl FnOnce(&mut Node)) -> Result<(), Error> {
    let conf = place.conf();
    let path = conf.join(CLOUD_CONFIG);
    files::make_dir(&conf).map_err(|source| Error::Write {
        path: conf.clone(),
        source,
    })?;
    let _lock = Lock::take(&conf).map_err(|source| Error::Write {
        path: conf.clone(),
        source,
    })?;
    let content = files::read(&path).map_err(|source| Error::Read {
        path: path.clone(),
        source,
    })?;
    let mut tree = match content {
        Content::Bytes(bytes) => parse_map(&bytes, &path)?,
        Content::Missing => Node::default(),
    };
    edit(&mut tree);
    let text = format!("#cloud-config\n{}", to_yaml(&tree));
    files::write(&path, text.as_bytes(), 0o600).map_err(|source| Error::Write { path, source })
}

/// The user's own file must be whole before it is rewritten: what does not parse would be lost.
fn parse_map(bytes: &[u8], path: &Path) -> Result<Node, Error> {
    let root = yaml::parse(bytes, &path.display().to_string())
        .map_err(|problem| Error::Invalid(vec![problem]))?
        .root;
    if root.is_null() {
        return Ok(Node::default());
    }
    if root.as_map().is_none() {
        let mut problems = Vec::new();
        schema::check(&mut root.clone(), &ROOT, "", &mut problems);
        return Err(Error::Invalid(problems));
    }
    Ok(root)
}

/// The saved metadata; the default when there is none or it does not parse.
#[must_use]
pub fn read_metadata(place: &Place) -> Metadata {
    let path = place.conf().join(METADATA);
    let Ok(Content::Bytes(bytes)) = files::read(&path) else {
        return Metadata::default();
    };
    yaml::parse(&bytes, METADATA)
        .map(|parsed| Metadata::from_node(&parsed.root))
        .unwrap_or_default()
}

/// Saves the metadata, mode 0600.
///
/// # Errors
/// When the file cannot be written.
pub fn write_metadata(place: &Place, metadata: &Metadata) -> Result<(), Error> {
    let value = serde_json::to_value(metadata).unwrap_or_default();
    write_conf(
        place,
        METADATA,
        to_yaml(&Node::from_value(&value)).as_bytes(),
        0o600,
    )
}

/// Writes any file atomically, with `mode`.
///
/// # Errors
/// When it cannot be written.
pub fn write_file(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let failed = |source| Error::Write {
        path: path.to_path_buf(),
        source,
    };
    files::write(path, content, mode).map_err(failed)
}

/// Writes a file under `conf` (`cloud-config.d/boot.yml`, `cloud-config-script`, …) atomically: directories 0700, the
/// file with `mode`.
///
/// # Errors
/// When it cannot be written.
pub fn write_conf(place: &Place, name: &str, content: &[u8], mode: u32) -> Result<(), Error> {
    let path = place.conf().join(name);
    let parent = path.parent().unwrap_or(&path);
    files::make_dir(&place.conf())
        .and_then(|()| files::make_dir(parent))
        .and_then(|()| files::write(&path, content, mode))
        .map_err(|source| Error::Write {
            path: path.clone(),
            source,
        })
}
