//! What is: containers and images of both Dockers, readiness files, marks. Reads only; `plan` decides.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, ImageSummary};
use bollard::query_parameters::{
    InspectContainerOptions, ListContainersOptions, ListImagesOptions,
};

use super::engine::{self, Engine};
use super::marks::Marks;
use crate::compose::{BOOT_LABEL, HASH_LABEL, Project, SERVICE_LABEL, Scope};

/// How long a list of images is good for. Images change seldom, and to list them costs Docker more than to list its containers.
const IMAGES_LAST: Duration = Duration::from_secs(10);

/// How long a readiness file counts as fresh.
const FRESH: Duration = Duration::from_secs(2);

/// Everything a plan is made from, read at one moment (images: at most ten seconds before).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The system's Docker.
    pub system: Host,
    /// The user's Docker; `None` while it does not answer.
    pub user: Option<Host>,
    /// Readiness files that exist.
    pub ready: BTreeSet<PathBuf>,
    /// Those of them that were written in the last two seconds.
    pub fresh: BTreeSet<PathBuf>,
    /// What was asked for or done in this boot.
    pub marks: Marks,
    /// Dockers whose archives of images are not all loaded yet.
    pub preloading: BTreeSet<Scope>,
    /// Services whose time has come, by their schedules.
    pub due: BTreeSet<String>,
    /// Id of this boot.
    pub boot: String,
    /// Processors of the machine.
    pub processors: usize,
}

impl Observed {
    /// The Docker that runs services of this scope.
    #[must_use]
    pub fn host(&self, scope: Scope) -> Option<&Host> {
        match scope {
            Scope::System => Some(&self.system),
            Scope::User => self.user.as_ref(),
        }
    }
}

/// One Docker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// Containers that carry our label, by service.
    pub containers: BTreeMap<String, Container>,
    /// Ids of the local images, by normalised reference.
    pub images: BTreeMap<String, String>,
}

impl Host {
    /// Id of the image that `reference` means here.
    #[must_use]
    pub fn image(&self, reference: &str) -> Option<&str> {
        self.images
            .get(&normal_reference(reference))
            .map(String::as_str)
    }
}

/// The images of both Dockers as they were listed last.
#[derive(Debug, Default)]
pub struct KnownImages {
    system: Option<Listed>,
    user: Option<Listed>,
}

/// Ids by reference, and when they were read.
type Listed = (Instant, BTreeMap<String, String>);

impl KnownImages {
    /// Something may have changed: the next observation lists them anew.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

/// One container of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Docker's id.
    pub id: String,
    /// Whether it runs.
    pub state: State,
    /// Id of the image it was made from.
    pub image_id: String,
    /// Hash of the definition it was made from.
    pub hash: String,
    /// Boot in which it was made.
    pub boot: String,
    /// Its `io.rancher.os.console`.
    pub console: Option<String>,
}

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made, never started.
    Created,
    /// Runs, or is paused or restarted by Docker.
    Running,
    /// Docker says that it runs, but its process is gone: containerd and its shim died together, and nobody told Docker.
    Lost,
    /// Ended.
    Exited {
        /// Its exit code.
        code: i64,
    },
}

/// Reads everything. The user's Docker is optional, the system's is not.
pub async fn observe(
    project: &Project,
    system: &Engine,
    user: Option<&Engine>,
    images: &mut KnownImages,
    boot: &str,
) -> Result<Observed, engine::Error> {
    let user_host = match user {
        Some(user) => host(user, &mut images.user).await.ok(),
        None => None,
    };
    let ready = ready_files(project);
    let fresh = ready.iter().filter(|path| is_fresh(path)).cloned();
    Ok(Observed {
        fresh: fresh.collect(),
        system: host(system, &mut images.system).await?,
        user: user_host,
        ready,
        marks: Marks::read(),
        // The manager's own knowledge.
        preloading: BTreeSet::new(),
        due: BTreeSet::new(),
        boot: boot.to_owned(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
    })
}

/// A clock that was set back in between makes a file of the future of it: not fresh.
fn is_fresh(path: &Path) -> bool {
    let written = std::fs::metadata(path).and_then(|data| data.modified());
    written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age < FRESH))
}

/// Readiness files of the project that exist.
#[must_use]
pub fn ready_files(project: &Project) -> BTreeSet<PathBuf> {
    let files = project
        .runnable()
        .filter_map(|service| service.os.ready.clone());
    files.filter(|path| path.exists()).collect()
}

async fn host(engine: &Engine, images: &mut Option<Listed>) -> Result<Host, engine::Error> {
    let filters = HashMap::from([("label".to_owned(), vec![SERVICE_LABEL.to_owned()])]);
    let options = ListContainersOptions {
        all: true,
        filters: Some(filters),
        ..Default::default()
    };
    let listed = engine
        .docker
        .list_containers(Some(options))
        .await
        .map_err(|source| engine.error("list containers", source))?;
    let mut containers = BTreeMap::new();
    for summary in listed {
        if let Some((service, container)) = container(engine, summary).await? {
            containers.insert(service, container);
        }
    }
    Ok(Host {
        containers,
        images: known_images(engine, images).await?,
    })
}

async fn known_images(
    engine: &Engine,
    known: &mut Option<Listed>,
) -> Result<BTreeMap<String, String>, engine::Error> {
    if let Some((read, ids)) = known
        && read.elapsed() < IMAGES_LAST
    {
        return Ok(ids.clone());
    }
    let images = engine
        .docker
        .list_images(None::<ListImagesOptions>)
        .await
        .map_err(|source| engine.error("list images", source))?;
    let ids = image_ids(&images);
    *known = Some((Instant::now(), ids.clone()));
    Ok(ids)
}

async fn container(
    engine: &Engine,
    summary: ContainerSummary,
) -> Result<Option<(String, Container)>, engine::Error> {
    let labels = summary.labels.unwrap_or_default();
    let (Some(service), Some(id)) = (labels.get(SERVICE_LABEL), summary.id) else {
        return Ok(None);
    };
    let state = match summary.state {
        Some(ContainerSummaryStateEnum::CREATED) => State::Created,
        Some(ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::DEAD) => {
            let told = summary.status.as_deref().and_then(code_in_status);
            State::Exited {
                code: match told {
                    Some(code) => code,
                    None => exit_code(engine, &id).await?,
                },
            }
        }
        Some(ContainerSummaryStateEnum::REMOVING) => return Ok(None),
        _ => State::Running,
    };
    let label = |name: &str| labels.get(name).cloned();
    let container = Container {
        id,
        state,
        image_id: summary.image_id.unwrap_or_default(),
        hash: label(HASH_LABEL).unwrap_or_default(),
        boot: label(BOOT_LABEL).unwrap_or_default(),
        console: label("io.rancher.os.console"),
    };
    Ok(Some((service.clone(), container)))
}

/// The code in `Exited (137) 2 hours ago`, which spares an inspection of every container that has ended.
fn code_in_status(status: &str) -> Option<i64> {
    let (code, _) = status.strip_prefix("Exited (")?.split_once(')')?;
    code.parse().ok()
}

async fn exit_code(engine: &Engine, id: &str) -> Result<i64, engine::Error> {
    match engine
        .docker
        .inspect_container(id, None::<InspectContainerOptions>)
        .await
    {
        Ok(details) => Ok(details
            .state
            .and_then(|state| state.exit_code)
            .unwrap_or_default()),
        // It went away between the two calls: the next observation will not see it.
        Err(error) if engine::is_missing(&error) => Ok(0),
        Err(source) => Err(engine.error("inspect a container", source)),
    }
}

fn image_ids(images: &[ImageSummary]) -> BTreeMap<String, String> {
    let names = |image: &ImageSummary| {
        [
            image.repo_tags.clone(),
            image.repo_digests.clone(),
            vec![image.id.clone()],
        ]
        .concat()
    };
    images
        .iter()
        .flat_map(|image| {
            names(image)
                .into_iter()
                .map(|name| (normal_reference(&name), image.id.clone()))
        })
        .collect()
}

/// `busybox` and `docker.io/library/busybox:latest` are one image.
fn normal_reference(reference: &str) -> String {
    let name = reference.strip_prefix("docker.io/").unwrap_or(reference);
    let name = name.strip_prefix("library/").unwrap_or(name);
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') || name.contains('@') {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::{code_in_status, normal_reference};

    #[test]
    fn the_status_tells_the_exit_code() {
        assert_eq!(code_in_status("Exited (137) 2 hours ago"), Some(137));
        assert_eq!(code_in_status("Exited (0) Less than a second ago"), Some(0));
        assert_eq!(code_in_status("Dead"), None);
        assert_eq!(code_in_status("Exited (?)"), None);
    }

    #[test]
    fn references_have_one_form() {
        assert_eq!(
            normal_reference("docker.io/library/busybox"),
            "busybox:latest"
        );
        assert_eq!(normal_reference("rancher/os-base:v2"), "rancher/os-base:v2");
        assert_eq!(
            normal_reference("localhost:5000/a"),
            "localhost:5000/a:latest"
        );
        assert_eq!(normal_reference("a@sha256:0"), "a@sha256:0");
    }
}
