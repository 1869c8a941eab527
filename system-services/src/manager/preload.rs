//! Images that lie on the disk as archives: each is loaded once into its Docker.
//!
//! Owns `/var/lib/rancher/preload/{system-docker,docker}`. An archive that is loaded has a mark beside it, `<name>.done`, with its size
//! and time; an archive that changed is loaded again. What cannot be loaded is named and stops no other. Which services wait is the
//! business of `plan`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bollard::query_parameters::ImportImageOptions;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use super::LOG;
use super::engine::{self, Engine};
use crate::compose::Scope;
use crate::files;
use crate::log::Chain;

/// Folder of archives for a Docker.
const FOLDERS: [(Scope, &str); 2] = [
    (Scope::System, "/var/lib/rancher/preload/system-docker"),
    (Scope::User, "/var/lib/rancher/preload/docker"),
];
const DONE: &str = "done";
/// Docker says nothing until it has read a whole archive.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Bytes that are read at a time.
const PIECE: usize = 256 * 1024;

/// Where the archives for a Docker lie.
#[must_use]
pub fn folder(scope: Scope) -> &'static str {
    FOLDERS
        .iter()
        .find(|(other, _)| *other == scope)
        .map_or("", |(_, folder)| folder)
}

/// Why an archive brought nothing.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "cannot load {path}: it is tried again when it changes and at the next boot; it should be what `docker save` writes, as it is or compressed with gzip, bzip2 or zstd"
    )]
    Load {
        path: PathBuf,
        #[source]
        source: engine::Error,
    },
}

/// One file that may hold images, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Archive {
    path: PathBuf,
    /// In bytes.
    size: u64,
    /// Last change, in nanoseconds since 1970.
    changed: i128,
}

impl Archive {
    /// `None`: not a file.
    fn read(path: PathBuf) -> Option<Self> {
        let data = std::fs::metadata(&path)
            .ok()
            .filter(|data| data.is_file())?;
        Some(Self {
            path,
            size: data.len(),
            changed: changed(&data),
        })
    }

    fn mark(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(DONE);
        name.into()
    }

    fn stamp(&self) -> String {
        format!("{} {}\n", self.size, self.changed)
    }

    /// An empty mark is one of RancherOS 1.x: it counts when it is not older than the archive.
    fn is_loaded(&self) -> bool {
        let mark = self.mark();
        match std::fs::read_to_string(&mark) {
            Ok(text) if text.is_empty() => {
                std::fs::metadata(&mark).is_ok_and(|data| changed(&data) >= self.changed)
            }
            Ok(text) => text == self.stamp(),
            Err(_) => false,
        }
    }
}

fn changed(data: &std::fs::Metadata) -> i128 {
    i128::from(data.mtime()) * 1_000_000_000 + i128::from(data.mtime_nsec())
}

/// Archives that are still to be loaded, by name. Hidden files are being copied, or nobody's business.
fn waiting(folder: &Path) -> Vec<Archive> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
    let paths = names.map(|entry| entry.path());
    let mut archives: Vec<Archive> = paths
        .filter(|path| path.extension().is_none_or(|extension| extension != DONE))
        .filter_map(Archive::read)
        .filter(|archive| !archive.is_loaded())
        .collect();
    archives.sort();
    archives
}

/// What came of the archives of one Docker.
struct Ended {
    scope: Scope,
    failed: Vec<Archive>,
}

/// Loads archives in the background, for each Docker one after the other.
pub struct Preloader {
    folders: BTreeMap<Scope, PathBuf>,
    waiting: BTreeMap<Scope, Vec<Archive>>,
    loading: BTreeSet<Scope>,
    /// Not tried again while they are as they are.
    failed: BTreeSet<Archive>,
    tasks: JoinSet<Ended>,
}

impl Preloader {
    /// Looks for archives.
    #[must_use]
    pub fn new() -> Self {
        let folders = FOLDERS.map(|(scope, folder)| (scope, PathBuf::from(folder)));
        let mut preloader = Self {
            folders: folders.into(),
            waiting: BTreeMap::new(),
            loading: BTreeSet::new(),
            failed: BTreeSet::new(),
            tasks: JoinSet::new(),
        };
        preloader.look();
        preloader
    }

    /// Looks for archives again.
    pub fn look(&mut self) {
        for (scope, folder) in &self.folders {
            let mut archives = waiting(folder);
            archives.retain(|archive| !self.failed.contains(archive));
            if archives.is_empty() {
                self.waiting.remove(scope);
            } else {
                self.waiting.insert(*scope, archives);
            }
        }
    }

    /// Looks again, also for those that could not be loaded: somebody asks for it.
    pub fn retry(&mut self) {
        self.failed.clear();
        self.look();
    }

    /// Dockers whose archives are not all loaded.
    #[must_use]
    pub fn pending(&self) -> BTreeSet<Scope> {
        let waiting = self.waiting.keys().copied();
        waiting.chain(self.loading.iter().copied()).collect()
    }

    /// Begins with what waits for this Docker.
    pub fn begin(&mut self, scope: Scope, engine: &Engine) {
        if self.loading.contains(&scope) {
            return;
        }
        let Some(archives) = self.waiting.remove(&scope) else {
            return;
        };
        self.loading.insert(scope);
        let engine = engine.clone();
        self.tasks.spawn(async move {
            let failed = load_all(&engine, archives).await;
            Ended { scope, failed }
        });
    }

    /// Ends when a Docker's archives are loaded; `None` when nothing is being loaded.
    pub async fn finished(&mut self) -> Option<()> {
        match self.tasks.join_next().await? {
            Ok(Ended { scope, failed }) => {
                self.loading.remove(&scope);
                self.failed.extend(failed);
            }
            Err(error) => {
                LOG.error(format_args!("the loading of images broke off: {error}"));
                self.loading.clear();
            }
        }
        self.look();
        Some(())
    }
}

/// Gives the archives that could not be loaded.
async fn load_all(engine: &Engine, archives: Vec<Archive>) -> Vec<Archive> {
    let mut failed = Vec::new();
    for archive in archives {
        let path = archive.path.display();
        LOG.info(format_args!("Loading images from {path}"));
        let begun = Instant::now();
        match load(engine, &archive.path).await {
            Ok(loaded) => {
                let seconds = begun.elapsed().as_secs();
                let loaded = loaded.join(", ");
                LOG.info(format_args!("Loaded {loaded} from {path} in {seconds} s"));
                let mark = archive.mark();
                if let Err(error) =
                    files::write_atomically(&mark, archive.stamp().as_bytes(), 0o644)
                {
                    let mark = mark.display();
                    LOG.warn(format_args!(
                        "cannot write {mark}: {path} is loaded again at the next boot: {error}"
                    ));
                    failed.push(archive);
                }
            }
            Err(error) => {
                LOG.error(Chain(&error));
                failed.push(archive);
            }
        }
    }
    failed
}

/// Gives the names of the images (Docker API, `POST /images/load`; Docker finds out by itself how an archive is compressed).
async fn load(engine: &Engine, path: &Path) -> Result<Vec<String>, Error> {
    let file = File::open(path).await.map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    let docker = engine.docker.clone().with_timeout(PATIENCE);
    let options = ImportImageOptions::default();
    let mut progress = Box::pin(docker.import_image_stream(options, pieces(file), None));
    let mut loaded = Vec::new();
    while let Some(message) = progress.next().await {
        let message = message.map_err(|source| Error::Load {
            path: path.to_owned(),
            source: engine.error("load images", source),
        })?;
        let name = message.stream.as_deref().and_then(loaded_image);
        loaded.extend(name.map(str::to_owned));
    }
    Ok(loaded)
}

/// `Loaded image: web:1`, or `Loaded image ID: sha256:…` for one without a name.
fn loaded_image(line: &str) -> Option<&str> {
    let (said, name) = line.trim().split_once(": ")?;
    said.starts_with("Loaded image").then_some(name)
}

fn pieces(file: File) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::unfold(Some(file), |file| async {
        let mut file = file?;
        let mut piece = vec![0; PIECE];
        match file.read(&mut piece).await {
            Ok(0) => None,
            Ok(count) => {
                piece.truncate(count);
                Some((Ok(Bytes::from(piece)), Some(file)))
            }
            Err(error) => Some((Err(error), None)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let archives = waiting(folder);
        let names = archives
            .iter()
            .filter_map(|archive| archive.path.file_name());
        names
            .map(|name| name.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn an_archive_is_loaded_once_and_again_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("b.tar.gz", "one");
        write("a.tar", "one");
        write(".a.tar.part", "half");
        std::fs::create_dir(folder.path().join("c")).unwrap();
        assert_eq!(names(folder.path()), ["a.tar", "b.tar.gz"]);
        for archive in waiting(folder.path()) {
            std::fs::write(archive.mark(), archive.stamp()).unwrap();
        }
        assert!(names(folder.path()).is_empty());
        write("a.tar", "another");
        assert_eq!(names(folder.path()), ["a.tar"]);
    }

    #[test]
    fn marks_of_rancheros_1_count_when_they_are_not_older() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        std::fs::write(&path, "one").unwrap();
        std::fs::write(folder.path().join("a.tar.done"), "").unwrap();
        assert!(names(folder.path()).is_empty());
        let later = std::time::SystemTime::now() + Duration::from_secs(60);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(later).unwrap();
        assert_eq!(names(folder.path()), ["a.tar"]);
    }

    #[test]
    fn docker_says_what_it_loaded() {
        assert_eq!(loaded_image("Loaded image: web:1\n"), Some("web:1"));
        assert_eq!(
            loaded_image("Loaded image ID: sha256:0\n"),
            Some("sha256:0")
        );
        assert_eq!(loaded_image("Loading layer"), None);
    }
}
