//! Where things are and how to build: repository, build folder, cache, settings. Also the cache of step results.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::{Result, data, file, missing};
use crate::hash::Inputs;
use crate::run::Run;

/// `image-build/settings.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Debian suite.
    pub suite: String,
    /// Binary package that holds the kernel source.
    pub kernel_package: String,
    /// Whether package lists past their date are refused.
    pub check_valid_until: bool,
    /// Age in hours after which package lists are fetched again.
    pub refresh_hours: u64,
    /// Time stamp of all files, seconds since 1970.
    pub epoch: u64,
    /// Block size of the root image, as mksquashfs takes it.
    pub squashfs_block: String,
    /// zstd level of the root image.
    pub squashfs_level: u32,
    /// The same with `--quick`.
    pub squashfs_quick_level: u32,
    /// Cargo profile (of the workspace's Cargo.toml) of our own programs.
    pub cargo_profile: String,
    /// The same with `--quick`.
    pub cargo_quick_profile: String,
}

/// One build: the paths and settings that every step gets.
pub struct Context {
    /// Root of the repository.
    pub repo: PathBuf,
    /// `build/`: the artefacts.
    pub build: PathBuf,
    /// `${XDG_CACHE_HOME:-~/.cache}/rancheros`.
    pub cache: PathBuf,
    /// Settings after overrides.
    pub settings: Settings,
    started: Instant,
}

impl Context {
    /// Reads the settings and applies `key=value` overrides.
    pub fn new(overrides: &[String]) -> Result<Self> {
        let repo = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .unwrap_or(Path::new("/"))
            .to_path_buf();
        let path = repo.join("image-build/settings.toml");
        let text = fs::read_to_string(&path).map_err(file("read", &path))?;
        let mut table: toml::Table = text.parse().map_err(|e| data(&path, e))?;
        for item in overrides {
            let (key, value) = item.split_once('=').ok_or_else(|| {
                missing(format!("--set {item}: no `=`"), "Write --set key=value.")
            })?;
            let value = match value.parse::<bool>() {
                Ok(flag) => toml::Value::Boolean(flag),
                Err(_) => value
                    .parse()
                    .map_or_else(|_| value.into(), toml::Value::Integer),
            };
            table.insert(key.to_owned(), value);
        }
        let settings = table.try_into().map_err(|e| data(&path, e))?;
        let (build, cache) = (repo.join("build"), cache_dir()?);
        for dir in [&build, &cache] {
            fs::create_dir_all(dir).map_err(file("create", dir))?;
        }
        Ok(Self {
            repo,
            build,
            cache,
            settings,
            started: Instant::now(),
        })
    }

    /// Prepares a host program for `step`.
    pub fn run(&self, step: &str, program: &str) -> Run {
        Run::new(&self.build.join("log"), step, program)
    }

    /// Tells the user what happens now.
    pub fn say(&self, step: &str, text: &str) {
        eprintln!(
            "[{:7.1}s] {step}: {text}",
            self.started.elapsed().as_secs_f64()
        );
    }

    /// The result of a step from the cache, or `make`d in a fresh folder and put there whole.
    pub fn cached(
        &self,
        step: &str,
        inputs: &Inputs,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let parent = self.cache.join(step);
        let done = parent.join(inputs.key());
        fs::create_dir_all(&parent).map_err(file("create", &parent))?;
        let _one_at_a_time = lock(&parent.join(format!(".{}.lock", inputs.key())), || {
            self.say(step, "waiting for another build of it")
        })?;
        if done.is_dir() {
            self.say(step, "unchanged");
            return Ok(done);
        }
        self.say(step, "building");
        let begun = Instant::now();
        let scratch = parent.join(format!(".{}", inputs.key()));
        fresh_dir(&scratch)?;
        make(&scratch)?;
        let list = scratch.join("inputs");
        fs::write(&list, inputs.text()).map_err(file("write", &list))?;
        fs::rename(&scratch, &done).map_err(file("publish", &done))?;
        self.say(
            step,
            &format!("done in {:.1} s", begun.elapsed().as_secs_f64()),
        );
        Ok(done)
    }
}

/// Holds the lock until the file is closed.
fn lock(path: &Path, waiting: impl FnOnce()) -> Result<fs::File> {
    let lock = fs::File::create(path).map_err(file("create", path))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        waiting();
        flock(&lock, FlockOperation::LockExclusive).map_err(|e| file("lock", path)(e.into()))?;
    }
    Ok(lock)
}

/// An empty folder at `path`, whatever was there before.
pub fn fresh_dir(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).map_err(file("remove", path))?;
    }
    fs::create_dir_all(path).map_err(file("create", path))
}

/// Writes `content` to `path` unless it is there already: what did not change keeps its time stamp.
pub fn write_if_changed(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::write(path, content).map_err(file("write", path))
}

fn cache_dir() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .filter(|v| !v.is_empty())
        .map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    match base.or(home) {
        Some(base) => Ok(base.join("rancheros")),
        None => Err(missing(
            "no folder for the cache",
            "Set HOME or XDG_CACHE_HOME.",
        )),
    }
}
