//! Kernel modules: the files that depmod(8) writes, and finit_module(2).
//!
//! Modules are stored plain. Aliases are matched as kmod does it, with shell wildcards.

use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Why a module was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The list of modules could not be read.
    #[error("cannot read {path}")]
    Index {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// There is no such module.
    #[error("this kernel has no module {0}")]
    Unknown(String),
    /// A parameter holds a NUL byte.
    #[error("the parameters of module {0} hold a NUL byte")]
    Parameters(String),
    /// The file could not be opened.
    #[error("cannot open module {name}")]
    Open {
        /// The module.
        name: String,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// The kernel refused it.
    #[error("cannot load module {name}{}", advice(*.cause))]
    Load {
        /// The module.
        name: String,
        /// What the kernel said.
        #[source]
        cause: Errno,
    },
}

fn advice(errno: Errno) -> &'static str {
    match errno {
        Errno::NODEV => " (no such hardware here)",
        Errno::INVAL => " (one of its parameters is wrong)",
        Errno::NOENT => " (it wants a symbol or a parameter that does not exist)",
        Errno::NOEXEC => " (it was built for another kernel)",
        _ => "",
    }
}

/// What depmod knows about the modules of one kernel.
#[derive(Debug, Default)]
pub struct Index {
    directory: PathBuf,
    /// Name -> file and what must be loaded first, nearest first.
    files: HashMap<String, (PathBuf, Vec<PathBuf>)>,
    /// Wildcard pattern -> name.
    aliases: Vec<(String, String)>,
    /// Name -> modules that should be tried first.
    soft: HashMap<String, Vec<String>>,
    builtin: HashSet<String>,
}

/// `-` and `_` are the same in module names; the kernel uses `_`.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    normal(file.split('.').next().unwrap_or(file))
}

impl Index {
    /// Reads the index of the kernel in `directory` (`/usr/lib/modules/<release>`).
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let text = |file: &str| {
            let path = directory.join(file);
            std::fs::read_to_string(&path).map_err(|cause| Error::Index { path, cause })
        };
        let dependencies = text("modules.dep")?;
        // The others may be missing in a trimmed tree.
        let optional = |file: &str| text(file).unwrap_or_default();
        let mut index = Self::parse(
            &dependencies,
            &optional("modules.alias"),
            &optional("modules.softdep"),
            &optional("modules.builtin"),
        );
        index.directory = directory.to_path_buf();
        Ok(index)
    }

    /// The index of the running kernel.
    pub fn of_running_kernel() -> Result<Self, Error> {
        let release = rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned();
        Self::read(&Path::new("/usr/lib/modules").join(release))
    }

    fn parse(dependencies: &str, aliases: &str, soft: &str, builtin: &str) -> Self {
        let mut index = Self::default();
        for (file, needs) in dependencies.lines().filter_map(|line| line.split_once(':')) {
            let needs = needs.split_whitespace().map(PathBuf::from).collect();
            index
                .files
                .insert(name_of(file), (PathBuf::from(file), needs));
        }
        for line in aliases.lines() {
            let mut words = line.split_whitespace();
            if let (Some("alias"), Some(pattern), Some(name)) =
                (words.next(), words.next(), words.next())
            {
                index.aliases.push((pattern.to_owned(), normal(name)));
            }
        }
        for line in soft
            .lines()
            .filter_map(|line| line.strip_prefix("softdep "))
        {
            let mut words = line.split_whitespace();
            let Some(name) = words.next() else { continue };
            let before = words
                .skip_while(|word| *word != "pre:")
                .skip(1)
                .take_while(|word| *word != "post:");
            index
                .soft
                .entry(normal(name))
                .or_default()
                .extend(before.map(normal));
        }
        index.builtin = builtin.lines().map(name_of).collect();
        index
    }

    /// The modules whose aliases match `modalias`, in the order of the index, without repeats.
    pub fn for_alias(&self, modalias: &str) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for (pattern, name) in &self.aliases {
            if wildcard(pattern.as_bytes(), modalias.as_bytes()) && !names.contains(&name.as_str())
            {
                names.push(name);
            }
        }
        names
    }

    /// Whether the kernel has it built in.
    pub fn is_builtin(&self, name: &str) -> bool {
        self.builtin.contains(&normal(name))
    }

    /// What to load, in order, for `name` to work.
    fn order(&self, name: &str) -> Result<Vec<PathBuf>, Error> {
        let (file, needs) = self
            .files
            .get(name)
            .ok_or_else(|| Error::Unknown(name.to_owned()))?;
        let mut order: Vec<PathBuf> = Vec::new();
        for soft in self.soft.get(name).into_iter().flatten() {
            if let Some((file, needs)) = self.files.get(soft) {
                order.extend(needs.iter().rev().cloned());
                order.push(file.clone());
            }
        }
        order.extend(needs.iter().rev().cloned());
        order.push(file.clone());
        let mut seen = HashSet::new();
        order.retain(|path| seen.insert(path.clone()));
        Ok(order)
    }

    /// Loads `name` (or the modules that bear it as an alias) with what it needs. Loaded or built in already is success.
    pub fn load(&self, name: &str, parameters: &str) -> Result<(), Error> {
        let name = normal(name);
        if self.is_builtin(&name) {
            return Ok(());
        }
        if !self.files.contains_key(&name) {
            let aliased: Vec<String> = self
                .for_alias(&name)
                .into_iter()
                .map(str::to_owned)
                .collect();
            if aliased.is_empty() {
                return Err(Error::Unknown(name));
            }
            return aliased
                .iter()
                .try_for_each(|name| self.load_file_order(name, parameters));
        }
        self.load_file_order(&name, parameters)
    }

    fn load_file_order(&self, name: &str, parameters: &str) -> Result<(), Error> {
        let order = self.order(name)?;
        let (last, first) = order
            .split_last()
            .ok_or_else(|| Error::Unknown(name.to_owned()))?;
        for file in first {
            // A soft dependency may fail; a hard one then makes the module itself fail, which says more.
            insert(
                &self.directory.join(file),
                &name_of(&file.to_string_lossy()),
                "",
            )
            .ok();
        }
        insert(&self.directory.join(last), name, parameters)
    }
}

fn insert(path: &Path, name: &str, parameters: &str) -> Result<(), Error> {
    let parameters = CString::new(parameters).map_err(|_| Error::Parameters(name.to_owned()))?;
    let file = File::open(path).map_err(|cause| Error::Open {
        name: name.to_owned(),
        cause,
    })?;
    match rustix::system::finit_module(&file, &parameters, 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(cause) => Err(Error::Load {
            name: name.to_owned(),
            cause,
        }),
    }
}

/// Every `modalias` below `/sys/devices`: the hardware that is there now.
pub fn present_hardware() -> Vec<String> {
    let mut found = HashSet::new();
    let mut directories = vec![PathBuf::from("/sys/devices")];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            // Links in sysfs lead out of the tree or back up it.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(entry.path());
            } else if entry.file_name() == "modalias" {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                found.insert(text.trim().to_owned());
            }
        }
    }
    found.remove("");
    let mut found: Vec<String> = found.into_iter().collect();
    found.sort();
    found
}

/// fnmatch(3) with `*`, `?` and `[…]`, which is all that aliases use.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&c) = text.get(t) {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'[') => class(pattern.get(p + 1..).unwrap_or_default(), c),
            Some(&literal) if literal == c => Some(1),
            _ => None,
        };
        match (step, star) {
            (Some(length), _) => {
                p += length;
                t += 1;
            }
            (None, Some((after, at))) => {
                p = after;
                t = at + 1;
                star = Some((after, at + 1));
            }
            (None, None) => return false,
        }
    }
    pattern
        .get(p..)
        .unwrap_or_default()
        .iter()
        .all(|&c| c == b'*')
}

/// Matches `c` against the class that follows a `[`; gives the length of the class with its brackets.
fn class(body: &[u8], c: u8) -> Option<usize> {
    let end = body.iter().position(|&b| b == b']')?;
    let mut at = 0;
    let mut hit = false;
    while at < end {
        let from = *body.get(at)?;
        if body.get(at + 1) == Some(&b'-') && at + 2 < end {
            let to = *body.get(at + 2)?;
            hit |= (from..=to).contains(&c);
            at += 3;
        } else {
            hit |= from == c;
            at += 1;
        }
    }
    hit.then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/fs/btrfs/btrfs.ko: kernel/crypto/xor.ko kernel/lib/raid6/raid6_pq.ko
kernel/crypto/xor.ko:
kernel/lib/raid6/raid6_pq.ko:
kernel/drivers/net/e1000-core.ko:
kernel/crypto/blake2b.ko:
";
    const ALIAS: &str = "\
# Aliases
alias fs-btrfs btrfs
alias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000-core
alias usb:v*p*d*dc*dsc*dp*ic08isc0[1-6]ip50in* usb_storage
";

    fn index() -> Index {
        Index::parse(
            DEP,
            ALIAS,
            "softdep btrfs pre: blake2b missing post: later\n",
            "kernel/fs/ext4/ext4.ko\n",
        )
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let order = index().order("btrfs").unwrap();
        let names: Vec<String> = order
            .iter()
            .map(|path| name_of(&path.to_string_lossy()))
            .collect();
        assert_eq!(names, ["blake2b", "raid6_pq", "xor", "btrfs"]);
    }

    #[test]
    fn aliases_and_names_are_normalised() {
        let index = index();
        assert_eq!(
            index.for_alias("pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00"),
            ["e1000_core"]
        );
        assert_eq!(
            index.for_alias("usb:v0781p5567d0100dc00dsc00dp00ic08isc06ip50in00"),
            ["usb_storage"]
        );
        assert_eq!(
            index.for_alias("usb:v0781p5567d0100dc00dsc00dp00ic08isc07ip50in00"),
            [""; 0]
        );
        assert!(index.is_builtin("ext4"));
        assert!(index.load("ext4", "").is_ok());
        assert!(
            matches!(index.load("no-such", ""), Err(Error::Unknown(name)) if name == "no_such")
        );
    }

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b", "aXbc", false),
            ("?", "", false),
            ("[0-9a-f]x", "ex", true),
            ("[0-9", "1", false),
            ("a", "ab", false),
            ("ab", "a", false),
            ("**", "x", true),
        ] {
            assert_eq!(
                wildcard(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }
}
