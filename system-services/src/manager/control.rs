//! What `ros service` does: looks at the containers of services, stops, restarts and removes them, and asks the manager to make and
//! start them. The manager is asked through marks and a SIGHUP, and may as well be dead: then the error says so.

mod containers;
mod removal;
mod starting;

use std::collections::BTreeMap;

use bollard::models::{ContainerSummary, PortSummary};
use bollard::query_parameters::ListContainersOptions;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PID_FILE;
use super::desired::Desired;
use super::engine::{self, Engine, SYSTEM_SOCKET, USER_SOCKET};
use super::images;
use super::marks::read_standing;
use crate::compose::{SERVICE_LABEL, Scope, Service};

pub use removal::{Removed, Target, Volumes};

/// What went wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that is not a service's.
    #[error("No such service: {name}; there are: {}", .known.join(", "))]
    NoSuchService {
        /// As given.
        name: String,
        /// All names.
        known: Vec<String>,
    },
    /// A template is never started.
    #[error("{0} is createonly: a template for other services, never started")]
    Template(String),
    /// It is switched off.
    #[error("{0} is disabled: enable it first with `ros service enable {0}`")]
    Disabled(String),
    /// The service has not been started in this boot.
    #[error("{0} has no container: start it with `ros service up {0}`")]
    NoContainer(String),
    /// Docker did not do it.
    #[error(transparent)]
    Docker(#[from] engine::Error),
    /// The service's daemon does not answer.
    #[error("the Docker that runs {service} does not answer")]
    NoAnswer {
        /// Name of the service.
        service: String,
        /// Why.
        #[source]
        source: engine::Error,
    },
    /// Nobody would act on the request.
    #[error(
        "the service manager does not run; PID 1 should start it again at once, see the console"
    )]
    NoManager,
    /// The manager tried and failed.
    #[error("{service} did not start: {reason}; see `ros service logs {service}`")]
    DidNotStart {
        /// Name of the service.
        service: String,
        /// As the manager says it.
        reason: String,
    },
    /// The manager tried to make the container and failed.
    #[error("{service} has no new container: {reason}")]
    NotMade {
        /// Name of the service.
        service: String,
        /// As the manager says it.
        reason: String,
    },
    /// There is nothing to send a signal to.
    #[error("{0} does not run: `ros service ps {0}` says why, `ros service start {0}` starts it")]
    NotRunning(String),
    /// What runs is removed only when that is said.
    #[error(
        "{0} runs: stop it first with `ros service stop {0}`, or remove it as it is with `ros service rm -f {0}`"
    )]
    Runs(String),
    /// No signal has this name or number.
    #[error(
        "{0} is not a signal; write a name such as SIGHUP or HUP, or a number; `kill -l` lists them"
    )]
    WrongSignal(String),
    /// The image of a service cannot be had.
    #[error(
        "the image of {service} was not fetched; look at its name, the network, and `rancher.registry_auths` for its registry"
    )]
    Pull {
        /// Name of the service.
        service: String,
        /// Docker's answer.
        #[source]
        source: images::Error,
    },
    /// A mark cannot be written.
    #[error("cannot write below /run/ros/services")]
    Mark(#[source] std::io::Error),
}

/// One line of `ros service ps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Docker's id of the container; empty when there is none.
    pub id: String,
    /// Name of the service.
    pub name: String,
    /// What runs in it.
    pub command: String,
    /// Docker's words, or why there is no container.
    pub state: String,
    /// Published ports.
    pub ports: String,
}

/// Whether a service that is right already is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recreate {
    /// Never: the container that is there stays until it is asked for again, or until the next boot.
    Never,
    /// Only when its definition or image changed.
    WhenChanged,
    /// In any case.
    Always,
}

/// Services of the running machine.
pub struct Control {
    desired: Desired,
}

impl Control {
    /// Reads the configuration.
    #[must_use]
    pub fn load() -> Self {
        Self {
            desired: Desired::load(),
        }
    }

    /// The named services; all that can run when no name is given.
    pub fn select(&self, names: &[String]) -> Result<Vec<&Service>, Error> {
        if names.is_empty() {
            return Ok(self.desired.project.runnable().collect());
        }
        names.iter().map(|name| self.service(name)).collect()
    }

    fn service(&self, name: &str) -> Result<&Service, Error> {
        let services = &self.desired.project.services;
        match services.get(name) {
            Some(service) if service.os.createonly => Err(Error::Template(name.to_owned())),
            Some(service) => Ok(service),
            None => {
                let mut known: Vec<String> = self
                    .desired
                    .project
                    .runnable()
                    .map(|service| service.name.clone())
                    .collect();
                known.sort();
                Err(Error::NoSuchService {
                    name: name.to_owned(),
                    known,
                })
            }
        }
    }

    /// Fetches a service's image from its registry, whether there is one here or not. `told` is handed what Docker says meanwhile.
    pub async fn pull(&self, service: &Service, told: impl FnMut(&str)) -> Result<(), Error> {
        let engine = self.engine(service).await?;
        let credentials = self.desired.credentials.of(&service.image);
        images::pull(&engine, &service.image, credentials, told)
            .await
            .map_err(|source| Error::Pull {
                service: service.name.clone(),
                source,
            })
    }

    /// The Docker that runs a service.
    pub async fn engine(&self, service: &Service) -> Result<Engine, Error> {
        let socket = match service.os.scope {
            Scope::System => SYSTEM_SOCKET,
            Scope::User => USER_SOCKET,
        };
        Engine::connect(socket)
            .await
            .map_err(|source| Error::NoAnswer {
                service: service.name.clone(),
                source,
            })
    }

    /// Containers of services, by service. A user's Docker that does not answer has none.
    async fn containers(&self) -> Result<BTreeMap<String, ContainerSummary>, Error> {
        let mut all = summaries(&Engine::connect(SYSTEM_SOCKET).await?).await?;
        if let Ok(user) = Engine::connect(USER_SOCKET).await {
            all.extend(summaries(&user).await?);
        }
        Ok(all)
    }

    /// Containers of the named services, of all when no name is given; a service without one is told with the reason.
    pub async fn rows(&self, names: &[String]) -> Result<Vec<Row>, Error> {
        let services = self.select(names)?;
        let (mut containers, standing) = (self.containers().await?, read_standing());
        let row = |service: &&Service| match containers.remove(&service.name) {
            Some(container) => row_of(&service.name, container),
            None => Row {
                id: String::new(),
                name: service.name.clone(),
                command: String::new(),
                state: standing
                    .get(&service.name)
                    .cloned()
                    .unwrap_or_else(|| "no container".to_owned()),
                ports: String::new(),
            },
        };
        let mut rows: Vec<Row> = services.iter().map(row).collect();
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(rows)
    }
}

fn row_of(name: &str, container: ContainerSummary) -> Row {
    let ports = container.ports.unwrap_or_default();
    let mut ports: Vec<String> = ports.iter().map(port).collect();
    ports.sort();
    ports.dedup();
    Row {
        id: container.id.unwrap_or_default(),
        name: name.to_owned(),
        command: container.command.unwrap_or_default(),
        state: container.status.unwrap_or_default(),
        ports: ports.join(", "),
    }
}

fn port(port: &PortSummary) -> String {
    let protocol = port
        .typ
        .map_or_else(|| "tcp".to_owned(), |typ| typ.to_string());
    match (&port.ip, port.public_port) {
        (Some(ip), Some(public)) => format!("{ip}:{public}->{}/{protocol}", port.private_port),
        (None, Some(public)) => format!("{public}->{}/{protocol}", port.private_port),
        (_, None) => format!("{}/{protocol}", port.private_port),
    }
}

async fn summaries(engine: &Engine) -> Result<BTreeMap<String, ContainerSummary>, Error> {
    let filters = [("label".to_owned(), vec![SERVICE_LABEL.to_owned()])].into();
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
    let named = listed.into_iter().filter_map(|container| {
        let service = container.labels.as_ref()?.get(SERVICE_LABEL)?.clone();
        Some((service, container))
    });
    Ok(named.collect())
}

/// Tells the manager that the configuration or a mark has changed.
pub fn wake_manager() -> Result<(), Error> {
    let pid = std::fs::read_to_string(PID_FILE)
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok());
    let command =
        |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let pid = pid
        .filter(|pid| command(*pid).contains("ros-sysinit"))
        .ok_or(Error::NoManager)?;
    kill(Pid::from_raw(pid), Signal::SIGHUP).map_err(|_| Error::NoManager)
}
