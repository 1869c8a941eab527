//! What a service's container should be, and what is to be done when it is not.

use super::order::Reached;
use super::{Action, CONSOLE, NETWORK, Next, Planner, SETTLED_AFTER, Standing, Step, preloading};
use crate::compose::{Rebuild, Restart, Scope, Service};
use crate::manager::graph::Strength;
use crate::manager::observe::{Container, Host, State};

struct Drift {
    reason: String,
    /// A new container may need another image than the old one had.
    definition: bool,
}

/// What is started only by its schedule is only made.
fn make(service: &Service, replace: Option<String>) -> Action {
    if service.os.only_by_schedule {
        Action::Prepare { replace }
    } else {
        Action::Create { replace }
    }
}

impl Planner<'_> {
    pub(super) fn wanted(&self, service: &Service, host: &Host) -> Next {
        let image = host.image(&service.image);
        let Some(container) = self.container(service) else {
            return match image {
                Some(_) => Next::Do(make(service, None), "has no container".into()),
                None => self.pull(service),
            };
        };
        match (self.drift(service, container, image), image) {
            (Some(drift), None) if drift.definition => self.pull(service),
            (Some(drift), _) => Next::Do(make(service, Some(container.id.clone())), drift.reason),
            (None, _) => self.keep(service, container),
        }
    }

    /// The container of a stopped service, when somebody asked for it: `ros service create`.
    pub(super) fn made_only(&self, service: &Service) -> Option<Next> {
        let marks = &self.observed.marks;
        let asked = marks.stopped.contains(&service.name) && marks.recreate.contains(&service.name);
        let host = self.observed.host(service.os.scope).filter(|_| asked)?;
        let replace = self
            .container(service)
            .map(|container| container.id.clone());
        let wanted = match host.image(&service.image) {
            Some(_) => Next::Do(Action::Prepare { replace }, "is to be made".into()),
            None => self.pull(service),
        };
        Some(match wanted {
            Next::Do(..) => self.not_too_soon(service, wanted),
            other => other,
        })
    }

    /// Nothing is being started that a template would get in the way of.
    pub(super) fn settled(&self) -> bool {
        let ready = |service: &Service| match &service.os.ready {
            Some(file) => self.observed.ready.contains(file) || self.out(service).is_some(),
            None => true,
        };
        self.now >= SETTLED_AFTER || self.desired.project.runnable().all(ready)
    }

    /// The next template without the right container. Nothing waits for one: what they carry is copied into the definitions, and the
    /// containers are there for people and for `--volumes-from`.
    pub(super) fn template(&self) -> Option<Step> {
        let templates = self
            .desired
            .project
            .services
            .values()
            .filter(|service| service.os.createonly);
        templates
            .filter(|service| !self.busy.contains(&service.name))
            .find_map(|service| {
                let host = self.observed.host(service.os.scope)?;
                let image = host.image(&service.image)?;
                let failed = self.history.of(&service.name).failures > 0;
                let (replace, reason) = match host.containers.get(&service.name) {
                    None => (None, "has no container"),
                    Some(old) if old.hash != service.hash() => {
                        (Some(old.id.clone()), "its definition changed")
                    }
                    Some(old) if old.image_id != image => {
                        (Some(old.id.clone()), "its image changed")
                    }
                    Some(_) => return None,
                };
                (!failed).then(|| Step {
                    service: service.name.clone(),
                    action: Action::Prepare { replace },
                    reason: reason.to_owned(),
                })
            })
    }

    fn pull(&self, service: &Service) -> Next {
        if self.observed.preloading.contains(&service.os.scope) {
            let wait = preloading(service);
            return Next::waiting(format!("image {} is not here; {wait}", service.image));
        }
        let network = self
            .desired
            .project
            .services
            .get(NETWORK)
            .filter(|network| network.name != service.name);
        let online = network.map_or(Reached::Yes, |network| {
            self.reached(network, Strength::Soft)
        });
        match online {
            Reached::Yes => Next::Do(Action::Pull, format!("image {} is not here", service.image)),
            Reached::No(reason) => {
                Next::waiting(format!("image {} is not here; {reason}", service.image))
            }
            Reached::Until(at, reason) => Next::Later(
                at,
                Standing::Waiting(format!("image {} is not here; {reason}", service.image)),
            ),
        }
    }

    /// Why the container is not the one that is wanted.
    fn drift(
        &self,
        service: &Service,
        container: &Container,
        image: Option<&str>,
    ) -> Option<Drift> {
        if self.observed.marks.recreate.contains(&service.name) {
            return Some(Drift {
                reason: "is to be made anew".into(),
                definition: false,
            });
        }
        if self.observed.marks.keep.get(&service.name) == Some(&container.id) {
            return None;
        }
        let old_boot = container.boot != self.observed.boot;
        if service.os.rebuild == Rebuild::Always && old_boot {
            return Some(Drift {
                reason: "is made anew at each boot".into(),
                definition: image.is_none(),
            });
        }
        if service.name == CONSOLE {
            // People are logged in: only another console replaces it while it runs.
            let switched = container.console != service.os.console;
            return switched.then(|| Drift {
                reason: "another console was chosen".into(),
                definition: true,
            });
        }
        if service.os.rebuild == Rebuild::Never {
            return None;
        }
        if service.hash() != container.hash {
            return Some(Drift {
                reason: "its definition changed".into(),
                definition: true,
            });
        }
        let other_image = image.is_some_and(|image| image != container.image_id);
        other_image.then(|| Drift {
            reason: "its image changed".into(),
            definition: false,
        })
    }

    /// What to do with the right container.
    fn keep(&self, service: &Service, container: &Container) -> Next {
        let start = |reason: &str| {
            Next::Do(
                Action::Start {
                    id: container.id.clone(),
                },
                reason.to_owned(),
            )
        };
        match container.state {
            State::Running => Next::well(),
            State::Lost => Next::Do(
                Action::Settle {
                    id: container.id.clone(),
                },
                "its process is gone, though Docker says that it runs".to_owned(),
            ),
            State::Created | State::Exited { .. } if self.is_due(service) => {
                start("its time has come")
            }
            State::Created if service.os.only_by_schedule => Next::well(),
            State::Exited { .. }
                if service.os.only_by_schedule && !self.ran(service, container) =>
            {
                Next::well()
            }
            State::Created => start("was never started"),
            State::Exited { .. } if !self.ran(service, container) => {
                start("was not started in this boot")
            }
            // The user's Docker keeps its own containers.
            State::Exited { .. } if service.os.scope == Scope::User => Next::well(),
            State::Exited { code } => self.after_exit(service, container, code),
        }
    }

    fn after_exit(&self, service: &Service, container: &Container, code: i64) -> Next {
        let again = match service.restart {
            Restart::Always | Restart::UnlessStopped => true,
            Restart::OnFailure(limit) => {
                code != 0
                    && limit.is_none_or(|limit| self.history.of(&service.name).failures <= limit)
            }
            Restart::No => false,
        };
        match (again, code) {
            (true, _) => Next::Do(
                Action::Start {
                    id: container.id.clone(),
                },
                format!("ended with code {code}"),
            ),
            (false, 0) => Next::well(),
            (false, _) => Next::Stand(Standing::Failed(format!("ended with code {code}"))),
        }
    }
}
