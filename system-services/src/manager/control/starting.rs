//! Requests that the manager carries out: make and start. Asked through marks; what came of it is read from Docker and the standing.

use std::time::{Duration, Instant};

use super::{Control, Error, Recreate, wake_manager};
use crate::compose::{Rebuild, Scope, Service};
use crate::manager::boot_id;
use crate::manager::engine::{Engine, SYSTEM_SOCKET};
use crate::manager::marks::{Mark, forget_standing, read_standing};
use crate::manager::observe::{Container, KnownImages, Observed, State, observe};

/// How long `up`, `start` and `create` wait for one service.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);
/// People are logged in to it: a changed definition does not replace it.
const CONSOLE: &str = "console";

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// It runs or has done its work.
    Started,
    /// Its container is there.
    Made,
}

impl Goal {
    fn is_reached(self, service: &Service, observed: &Observed) -> bool {
        match self {
            Self::Started => is_there(service, observed),
            Self::Made => is_made(service, observed),
        }
    }

    fn missed(self, service: String, reason: String) -> Error {
        match self {
            Self::Started => Error::DidNotStart { service, reason },
            Self::Made => Error::NotMade { service, reason },
        }
    }
}

impl Control {
    /// Asks the manager to start the services, and waits until each runs or has done its work.
    pub async fn up(&self, services: &[&Service], recreate: Recreate) -> Result<(), Error> {
        self.all_enabled(services)?;
        let observed = match recreate {
            Recreate::Never => self.observe(services).await?,
            Recreate::WhenChanged | Recreate::Always => Observed::default(),
        };
        for service in services {
            let name = &service.name;
            let kept = container(service, &observed).map(|container| &container.id);
            let asked = [
                match kept {
                    Some(id) => Mark::Keep.set(name, id),
                    None => Mark::Keep.clear(name),
                },
                match recreate {
                    Recreate::Always => Mark::Recreate.set(name, ""),
                    Recreate::WhenChanged | Recreate::Never => Ok(()),
                },
                Mark::Ran.clear(name),
                Mark::Stopped.clear(name),
            ];
            asked
                .into_iter()
                .collect::<Result<(), _>>()
                .map_err(Error::Mark)?;
        }
        self.ask(services, Goal::Started).await
    }

    /// Asks the manager to make the containers without starting them, and waits until they are there. What runs and is to be made
    /// anew runs again afterwards.
    pub async fn create(&self, services: &[&Service], recreate: Recreate) -> Result<(), Error> {
        self.all_enabled(services)?;
        let observed = self.observe(services).await?;
        let wanted = |service: &&&Service| {
            let container = container(service, &observed);
            container.is_none_or(|container| match recreate {
                Recreate::Never => false,
                Recreate::WhenChanged => !is_right(service, container, &observed),
                Recreate::Always => true,
            })
        };
        let wanted: Vec<&Service> = services.iter().filter(wanted).copied().collect();
        for service in &wanted {
            let name = &service.name;
            let runs = container(service, &observed)
                .is_some_and(|container| container.state == State::Running);
            let asked = [
                Mark::Keep.clear(name),
                Mark::Recreate.set(name, ""),
                if runs {
                    Ok(())
                } else {
                    Mark::Stopped.set(name, "")
                },
            ];
            asked
                .into_iter()
                .collect::<Result<(), _>>()
                .map_err(Error::Mark)?;
        }
        self.ask(&wanted, Goal::Made).await
    }

    fn all_enabled(&self, services: &[&Service]) -> Result<(), Error> {
        let disabled = |service: &&&Service| self.desired.disabled.contains(&service.name);
        match services.iter().find(disabled) {
            Some(service) => Err(Error::Disabled(service.name.clone())),
            None => Ok(()),
        }
    }

    /// Wakes the manager, and waits until it has done to each service what is asked.
    async fn ask(&self, services: &[&Service], goal: Goal) -> Result<(), Error> {
        // What the manager says from now on is news.
        forget_standing().map_err(Error::Mark)?;
        wake_manager()?;
        let begun = Instant::now();
        for service in services {
            self.wait_for(service, begun, goal).await?;
        }
        Ok(())
    }

    /// The services' Dockers. That of the user is asked only for its own services.
    async fn observe(&self, services: &[&Service]) -> Result<Observed, Error> {
        let system = Engine::connect(SYSTEM_SOCKET).await?;
        let of_user = services
            .iter()
            .find(|service| service.os.scope == Scope::User);
        let user = match of_user {
            Some(service) => Some(self.engine(service).await?),
            None => None,
        };
        Ok(self.look(&system, user.as_ref()).await?)
    }

    async fn look(
        &self,
        system: &Engine,
        user: Option<&Engine>,
    ) -> Result<Observed, crate::manager::engine::Error> {
        let mut images = KnownImages::default();
        let project = &self.desired.project;
        observe(project, system, user, &mut images, &boot_id()).await
    }

    async fn wait_for(&self, service: &Service, begun: Instant, goal: Goal) -> Result<(), Error> {
        let system = Engine::connect(SYSTEM_SOCKET).await?;
        loop {
            // It may be starting.
            let user = match service.os.scope {
                Scope::User => self.engine(service).await.ok(),
                Scope::System => None,
            };
            let observed = self.look(&system, user.as_ref()).await?;
            if goal.is_reached(service, &observed) {
                return Ok(());
            }
            let standing = read_standing().remove(&service.name).unwrap_or_default();
            let failed = standing.starts_with("failed");
            if failed || begun.elapsed() >= PATIENCE {
                return Err(goal.missed(service.name.clone(), standing));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn container<'a>(service: &Service, observed: &'a Observed) -> Option<&'a Container> {
    let host = observed.host(service.os.scope)?;
    host.containers.get(&service.name)
}

/// It runs or has done its work, as the configuration says now.
fn is_there(service: &Service, observed: &Observed) -> bool {
    let Some(container) = container(service, observed) else {
        return false;
    };
    let ran = observed.marks.ran.get(&service.name) == Some(&container.id);
    let ended = matches!(container.state, State::Exited { code: 0 });
    let started = container.state == State::Running || (ran && ended);
    is_made(service, observed) && (started || service.os.only_by_schedule)
}

/// Its container is the one that was asked for.
fn is_made(service: &Service, observed: &Observed) -> bool {
    let marks = &observed.marks;
    !marks.recreate.contains(&service.name)
        && container(service, observed).is_some_and(|container| {
            marks.keep.get(&service.name) == Some(&container.id)
                || is_right(service, container, observed)
        })
}

/// The manager would not replace it. The console is replaced only when another is chosen.
fn is_right(service: &Service, container: &Container, observed: &Observed) -> bool {
    if service.os.rebuild == Rebuild::Never || service.name == CONSOLE {
        return true;
    }
    let image = observed
        .host(service.os.scope)
        .and_then(|host| host.image(&service.image));
    container.hash == service.hash() && image.is_none_or(|image| image == container.image_id)
}
