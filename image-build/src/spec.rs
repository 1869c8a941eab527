//! The layer lists, `image-build/layers/*.toml`: which files of which packages a layer holds, and why. Data only; `layers.rs` builds from it.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Result, data, file};

/// One layer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name, the file's stem.
    #[serde(skip)]
    pub name: String,
    /// What the layer is for.
    pub about: String,
    /// Packages and what is taken from them.
    #[serde(default)]
    pub package: Vec<Pick>,
    /// What the build itself made.
    #[serde(default)]
    pub built: Vec<Built>,
    /// Libraries that do nothing.
    #[serde(default)]
    pub stub: Vec<Stub>,
    /// Symbolic links.
    #[serde(default)]
    pub link: Vec<Link>,
    /// Directories that need another owner or mode than root's 0755, or that nothing else makes.
    #[serde(default)]
    pub directory: Vec<Attributes>,
    /// Owners and modes of files that come from elsewhere.
    #[serde(default)]
    pub own: Vec<Attributes>,
    /// Folders of the repository that are laid over the layer; one that is not there yet is skipped.
    #[serde(default)]
    pub overlay: Vec<String>,
    /// Busybox links the layer does not get; `None`: no busybox links at all.
    pub busybox_without: Option<Vec<String>>,
    /// Whether Debian's CA certificates are bundled into `etc/ssl/certs/ca-certificates.crt`.
    #[serde(default)]
    pub ca_bundle: bool,
}

/// Files of one package.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pick {
    /// Package.
    pub name: String,
    /// Why it is in the image.
    pub why: String,
    /// Globs of the paths taken (`**` crosses directories).
    pub files: Vec<String>,
    /// Globs of position-independent programs that get a fixed address (`fixed.rs` says why).
    #[serde(default)]
    pub fixed: Vec<String>,
    /// Globs of what is left out again.
    #[serde(default)]
    pub without: Vec<String>,
}

/// A program that the build made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Built {
    /// `ros` or `iptables`.
    pub what: String,
    /// Where it goes.
    pub path: String,
}

/// A library whose functions answer that nothing was done (`stub.rs`).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stub {
    /// Its name, as programs ask for it.
    pub soname: String,
    /// Why nobody misses it.
    pub why: String,
    /// Version of its symbols.
    pub version: String,
    /// What every function returns.
    pub answer: i32,
    /// Its functions.
    pub functions: Vec<String>,
}

/// Symbolic links in one directory.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Target.
    pub to: String,
    /// Paths of the links.
    pub paths: Vec<String>,
}

/// Owner and mode of a path.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    /// The path.
    pub path: String,
    /// Permission bits in octal.
    pub mode: String,
    /// Owner.
    #[serde(default)]
    pub uid: u32,
    /// Group.
    #[serde(default)]
    pub gid: u32,
}

impl Attributes {
    /// The permission bits.
    pub fn bits(&self) -> Result<u32> {
        u32::from_str_radix(&self.mode, 8)
            .map_err(|e| data(Path::new(&self.path), format!("mode {}: {e}", self.mode)))
    }
}

/// Reads `<folder>/<name>.toml`.
pub fn read(folder: &Path, name: &str) -> Result<Spec> {
    let path = folder.join(format!("{name}.toml"));
    let text = fs::read_to_string(&path).map_err(file("read", &path))?;
    let mut spec: Spec = toml::from_str(&text).map_err(|e| data(&path, e))?;
    spec.name = name.to_owned();
    Ok(spec)
}
