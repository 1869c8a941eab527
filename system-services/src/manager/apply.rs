//! Does one step of a plan: pull, create, start. Each may be repeated without harm. Decides nothing but the wording of failures.

use bollard::auth::DockerCredentials;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, KillContainerOptions, RemoveContainerOptions,
    StartContainerOptions, StopContainerOptions,
};

use super::engine::{self, Engine, is_done, is_missing};
use super::images;
use super::marks::{Event, Mark};
use super::plan::{Action, Step};
use crate::compose::{BOOT_LABEL, SERVICE_LABEL, Scope, Service};
use crate::entrypoint::SERVICE as SERVICE_VARIABLE;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Docker did not do it.
    #[error(transparent)]
    Docker(#[from] engine::Error),
    /// The image cannot be had.
    #[error(transparent)]
    Pull(#[from] images::Error),
    /// Somebody else's container has the name.
    #[error(
        "the name {name} is taken by a container that is not the service manager's: remove it with `system-docker rm -f {name}`"
    )]
    NameTaken {
        /// Name of the container.
        name: String,
    },
    /// The machine goes down.
    #[error("the machine goes down")]
    GoingDown,
    /// A mark cannot be written.
    #[error("cannot write below /run/ros/services")]
    Mark(#[source] std::io::Error),
}

/// What all steps need.
#[derive(Debug, Clone)]
pub struct Context {
    /// The Docker of the service's scope.
    pub engine: Engine,
    /// Id of this boot.
    pub boot: String,
    /// For the registry of the service's image.
    pub credentials: Option<DockerCredentials>,
}

/// Does the step.
pub async fn apply(context: &Context, service: &Service, step: &Step) -> Result<(), Error> {
    keep_off_while_going_down()?;
    match &step.action {
        Action::Pull => {
            images::pull(
                &context.engine,
                &service.image,
                context.credentials.clone(),
                |_| {},
            )
            .await?;
            Ok(())
        }
        Action::Prepare { replace } => {
            make(context, service, replace.as_deref()).await?;
            Mark::Recreate.clear(&service.name).map_err(Error::Mark)
        }
        Action::Create { replace } => {
            let id = make(context, service, replace.as_deref()).await?;
            Mark::Recreate.clear(&service.name).map_err(Error::Mark)?;
            start(&context.engine, service, &id).await
        }
        Action::Settle { id } => settle(&context.engine, id).await,
        Action::Start { id } => start(&context.engine, service, id).await,
    }
}

async fn make(
    context: &Context,
    service: &Service,
    replace: Option<&str>,
) -> Result<String, Error> {
    if let Some(id) = replace {
        remove(&context.engine, id).await?;
    }
    create(context, service).await
}

fn keep_off_while_going_down() -> Result<(), Error> {
    if Event::Stopping.is_set() {
        Err(Error::GoingDown)
    } else {
        Ok(())
    }
}

/// Stops the container as it wants to be stopped, then removes it; its volumes stay.
async fn remove(engine: &Engine, id: &str) -> Result<(), Error> {
    match engine
        .docker
        .stop_container(id, None::<StopContainerOptions>)
        .await
    {
        Err(error) if is_missing(&error) => return Ok(()),
        Err(error) if !is_done(&error) => {
            return Err(engine.error("stop the old container", error).into());
        }
        _ => {}
    }
    let options = RemoveContainerOptions {
        force: true,
        ..Default::default()
    };
    match engine.docker.remove_container(id, Some(options)).await {
        Err(error) if !is_missing(&error) => {
            Err(engine.error("remove the old container", error).into())
        }
        _ => Ok(()),
    }
}

/// A kill makes Docker look: it finds no process and takes the container for ended, after some seconds.
async fn settle(engine: &Engine, id: &str) -> Result<(), Error> {
    match engine
        .docker
        .kill_container(id, None::<KillContainerOptions>)
        .await
    {
        Err(error) if !is_done(&error) && !is_missing(&error) => {
            Err(engine.error("settle a lost container", error).into())
        }
        _ => Ok(()),
    }
}

async fn create(context: &Context, service: &Service) -> Result<String, Error> {
    // Removing the old container may have taken long.
    keep_off_while_going_down()?;
    let Context { engine, boot, .. } = context;
    let options = CreateContainerOptions {
        name: Some(service.container_name.clone()),
        ..Default::default()
    };
    match engine
        .docker
        .create_container(Some(options), body(engine, service, boot))
        .await
    {
        Ok(created) => Ok(created.id),
        Err(error) => {
            let error = engine.error(format!("create {}", service.name), error);
            if error.status() == Some(409) && !is_ours(engine, &service.container_name).await {
                return Err(Error::NameTaken {
                    name: service.container_name.clone(),
                });
            }
            Err(error.into())
        }
    }
}

fn body(engine: &Engine, service: &Service, boot: &str) -> ContainerCreateBody {
    let mut body = service.body.clone();
    body.labels
        .get_or_insert_default()
        .insert(BOOT_LABEL.to_owned(), boot.to_owned());
    if service.os.createonly {
        // Never run, but Docker makes no container without a command.
        body.cmd.get_or_insert_with(|| vec!["true".to_owned()]);
    }
    if service.os.scope == Scope::System {
        body.env
            .get_or_insert_default()
            .push(format!("{SERVICE_VARIABLE}={}", service.name));
    }
    if let Some(host) = body
        .host_config
        .as_mut()
        .filter(|_| !engine.takes_annotations())
    {
        // An older Docker: the container gets a shim of its own, which costs memory only.
        host.annotations = None;
    }
    body
}

/// A container that is not there is nobody else's.
async fn is_ours(engine: &Engine, name: &str) -> bool {
    let details = engine
        .docker
        .inspect_container(name, None::<InspectContainerOptions>)
        .await;
    let Ok(details) = details else { return true };
    details
        .config
        .and_then(|config| config.labels)
        .is_some_and(|labels| labels.contains_key(SERVICE_LABEL))
}

async fn start(engine: &Engine, service: &Service, id: &str) -> Result<(), Error> {
    if let Some(file) = &service.os.ready {
        // Said by the container that ran before; absent at the first start.
        if let Err(error) = std::fs::remove_file(file)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(Error::Mark(error));
        }
    }
    match engine
        .docker
        .start_container(id, None::<StartContainerOptions>)
        .await
    {
        Err(error) if !is_done(&error) => Err(engine
            .error(format!("start {}", service.name), error)
            .into()),
        _ => Mark::Ran.set(&service.name, id).map_err(Error::Mark),
    }
}
