//! Removing containers of services. What the machine cannot be reached without is made anew instead.

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{RemoveContainerOptions, StopContainerOptions};

use super::{Control, Error, Recreate, summaries};
use crate::manager::engine::{Engine, SYSTEM_SOCKET, USER_SOCKET, is_done, is_missing};
use crate::manager::marks::{Mark, Marks};

/// Without these nobody gets to the machine to bring them back.
const INDISPENSABLE: [&str; 3] = ["console", "network", "udev"];

/// What becomes of the volumes without a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volumes {
    /// They stay.
    Keep,
    /// They go with their container.
    Remove,
}

/// What was done with a container that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It is gone, and stays away until `up`, `start` or the next boot.
    Gone,
    /// It is gone, and the configuration does not know it.
    Forgotten,
    /// The machine needs it: there is a new one.
    MadeAnew,
}

/// A container that may be removed: of a service, or of one that the configuration knows no more.
#[derive(Debug, Clone)]
pub struct Target {
    /// Name of the service.
    pub service: String,
    /// Whether it runs now.
    pub running: bool,
    id: String,
    engine: Engine,
}

impl Control {
    /// The containers of the named services; a service that has none is left out.
    pub async fn targets(&self, names: &[String]) -> Result<Vec<Target>, Error> {
        let system = Engine::connect(SYSTEM_SOCKET).await?;
        let mut all = of_engine(&system).await?;
        match Engine::connect(USER_SOCKET).await {
            Ok(user) => all.extend(of_engine(&user).await?),
            Err(source) => {
                // Without an answer nobody knows whether there is something to remove.
                let silent = names.iter().find(|name| self.is_of_users_docker(name));
                if let Some(service) = silent {
                    let service = service.clone();
                    return Err(Error::NoAnswer { service, source });
                }
            }
        }
        for name in names {
            let left_over = all.iter().any(|target| target.service == *name);
            if !left_over || self.desired.project.services.contains_key(name) {
                self.service(name)?;
            }
        }
        all.retain(|target| names.contains(&target.service));
        Ok(all)
    }

    fn is_of_users_docker(&self, name: &str) -> bool {
        let service = self.desired.project.services.get(name);
        service.is_some_and(|service| service.os.scope == crate::compose::Scope::User)
    }

    /// Stops and removes a container. Its service stays away until `up`, `start` or the next boot; one that the machine needs to be
    /// reached, and that runs, is made anew by the manager instead.
    pub async fn remove(&self, target: &Target, volumes: Volumes) -> Result<Removed, Error> {
        let name = &target.service;
        let service = self.desired.project.services.get(name);
        let is_up = !Marks::read().stopped.contains(name) && !self.desired.disabled.contains(name);
        if let Some(service) = service.filter(|_| is_up && INDISPENSABLE.contains(&name.as_str())) {
            self.up(&[service], Recreate::Always).await?;
            return Ok(Removed::MadeAnew);
        }
        if service.is_some() {
            // Else the manager would make it again at once.
            Mark::Stopped.set(name, "").map_err(Error::Mark)?;
        }
        target.remove(volumes).await?;
        for mark in [Mark::Ran, Mark::Recreate, Mark::Keep] {
            mark.clear(name).map_err(Error::Mark)?;
        }
        Ok(if service.is_some() {
            Removed::Gone
        } else {
            Removed::Forgotten
        })
    }
}

impl Target {
    async fn remove(&self, volumes: Volumes) -> Result<(), Error> {
        let Self {
            service,
            id,
            engine,
            ..
        } = self;
        let stopped = engine
            .docker
            .stop_container(id, None::<StopContainerOptions>)
            .await;
        match stopped {
            Err(error) if is_missing(&error) => return Ok(()),
            Err(error) if !is_done(&error) => {
                return Err(engine.error(format!("stop {service}"), error).into());
            }
            _ => {}
        }
        let options = RemoveContainerOptions {
            force: true,
            v: volumes == Volumes::Remove,
            ..Default::default()
        };
        match engine.docker.remove_container(id, Some(options)).await {
            Err(error) if !is_missing(&error) => {
                Err(engine.error(format!("remove {service}"), error).into())
            }
            _ => Ok(()),
        }
    }
}

async fn of_engine(engine: &Engine) -> Result<Vec<Target>, Error> {
    let listed = summaries(engine).await?;
    let targets = listed.into_iter().filter_map(|(service, container)| {
        Some(Target {
            service,
            running: runs(&container),
            id: container.id?,
            engine: engine.clone(),
        })
    });
    Ok(targets.collect())
}

fn runs(container: &ContainerSummary) -> bool {
    use ContainerSummaryStateEnum as State;
    !matches!(
        container.state,
        Some(State::CREATED | State::EXITED | State::DEAD)
    )
}
