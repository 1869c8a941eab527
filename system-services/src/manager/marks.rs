//! Marks below `/run/ros/services`: what the administrator asked for and what was done, in this boot only. Each is one small file, so
//! that the manager and `ros service` may be killed at any moment and agree without talking.
//!
//! - `stopped/<service>`: `ros service stop`; the manager leaves it alone until `ros service start` or the next boot
//! - `ran/<service>`: id of the container that was started in this boot
//! - `recreate/<service>`: make the container anew, once; of a stopped service: make it and do not start it
//! - `keep/<service>`: id of the container that stays as it is, though the definition changed
//! - `up`: the project came up
//! - `stopping`: the machine goes down; the manager starts nothing
//! - `standing.json`: where each service stands, in words, as the manager sees it

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

const FOLDER: &str = "/run/ros/services";

/// All marks, read at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// Services that stay stopped.
    pub stopped: BTreeSet<String>,
    /// Id of the container that was started, by service.
    pub ran: BTreeMap<String, String>,
    /// Services to make anew.
    pub recreate: BTreeSet<String>,
    /// Id of the container that stays as it is, by service.
    pub keep: BTreeMap<String, String>,
    /// The machine goes down.
    pub stopping: bool,
}

/// One kind of mark about a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Stays stopped.
    Stopped,
    /// Was started.
    Ran,
    /// Is to be made anew.
    Recreate,
    /// Stays as it is.
    Keep,
}

/// A mark about the whole machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The project came up.
    Up,
    /// The machine goes down.
    Stopping,
}

impl Mark {
    fn folder(self) -> PathBuf {
        Path::new(FOLDER).join(match self {
            Self::Stopped => "stopped",
            Self::Ran => "ran",
            Self::Recreate => "recreate",
            Self::Keep => "keep",
        })
    }

    /// Sets the mark of one service, whole or not at all.
    pub fn set(self, service: &str, content: &str) -> io::Result<()> {
        let folder = self.folder();
        std::fs::create_dir_all(&folder)?;
        let new = Path::new(FOLDER).join(format!(".new-{service}-{}", std::process::id()));
        std::fs::write(&new, content)?;
        std::fs::rename(&new, folder.join(service))
    }

    /// Takes the mark away, if it is there.
    pub fn clear(self, service: &str) -> io::Result<()> {
        match std::fs::remove_file(self.folder().join(service)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn all(self) -> BTreeMap<String, String> {
        let entries = std::fs::read_dir(self.folder())
            .into_iter()
            .flatten()
            .flatten();
        let named =
            entries.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())));
        named
            .map(|(name, path)| (name, std::fs::read_to_string(path).unwrap_or_default()))
            .collect()
    }
}

impl Event {
    fn path(self) -> PathBuf {
        Path::new(FOLDER).join(match self {
            Self::Up => "up",
            Self::Stopping => "stopping",
        })
    }

    /// Sets the mark.
    pub fn set(self) -> io::Result<()> {
        std::fs::create_dir_all(FOLDER)?;
        std::fs::write(self.path(), "")
    }

    /// True when it is set.
    #[must_use]
    pub fn is_set(self) -> bool {
        self.path().exists()
    }
}

/// Writes down where each service stands.
pub fn write_standing(standing: &BTreeMap<String, String>) -> io::Result<()> {
    std::fs::create_dir_all(FOLDER)?;
    let new = Path::new(FOLDER).join(".new-standing");
    std::fs::write(&new, serde_json::to_vec(standing)?)?;
    std::fs::rename(&new, Path::new(FOLDER).join("standing.json"))
}

/// Takes away what was written down, so that what is there later is news.
pub fn forget_standing() -> io::Result<()> {
    match std::fs::remove_file(Path::new(FOLDER).join("standing.json")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where each service stood last; empty when the manager has not said.
#[must_use]
pub fn read_standing() -> BTreeMap<String, String> {
    let text = std::fs::read(Path::new(FOLDER).join("standing.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

impl Marks {
    /// Reads all marks.
    #[must_use]
    pub fn read() -> Self {
        Self {
            stopped: Mark::Stopped.all().into_keys().collect(),
            ran: Mark::Ran.all(),
            recreate: Mark::Recreate.all().into_keys().collect(),
            keep: Mark::Keep.all(),
            stopping: Event::Stopping.is_set(),
        }
    }
}
