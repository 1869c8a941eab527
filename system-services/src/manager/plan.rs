//! What to do next: from what is wanted and what is, to steps with reasons. Pure; called again after every change, so a step is only
//! ever the next one of its service.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::desired::Desired;
use super::graph::Strength;
use super::history::History;
use super::observe::{Container, Host, Observed, State};
use crate::compose::{Condition, Rebuild, Restart, Scope, Service};

/// A service that does not write its readiness file holds others up for so long and no longer.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// The service that fetches images when they are missing must come after this one.
const NETWORK: &str = "network";
/// The service the user waits for.
const USER_DOCKER: &str = "docker";
/// The service people are logged in to.
const CONSOLE: &str = "console";

/// What can be done for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Fetch its image.
    Pull,
    /// Make its container, after removing one that is there, and start it.
    Create {
        /// Id of the container to remove.
        replace: Option<String>,
    },
    /// Start its container.
    Start {
        /// Id of the container.
        id: String,
    },
}

/// The next step of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Name of the service.
    pub service: String,
    /// What to do.
    pub action: Action,
    /// Why.
    pub reason: String,
}

/// Where a service stands when there is nothing to do for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It runs, or has done its work.
    Well,
    /// It takes no part, for this reason.
    Out(String),
    /// It waits, for this reason.
    Waiting(String),
    /// It failed, with this error, and is tried again later if at all.
    Failed(String),
}

/// Everything that can be done now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Steps, the most urgent first. They do not depend on each other.
    pub steps: Vec<Step>,
    /// Services with `io.rancher.os.reloadconfig` that have come as far as others wait for.
    pub reload_after: Vec<String>,
    /// All other services, with where they stand.
    pub standing: Vec<(String, Standing)>,
    /// When to look again though nothing happens.
    pub wake: Option<Duration>,
}

impl Plan {
    /// Every service has come as far as it can without further attempts.
    #[must_use]
    pub fn is_up(&self) -> bool {
        // Without any service there is no plan at all: the machine goes down.
        self.steps.is_empty()
            && !self.standing.is_empty()
            && self
                .standing
                .iter()
                .all(|(_, standing)| !matches!(standing, Standing::Waiting(_)))
    }
}

/// Plans. `busy` are the services for which a step is being done; `now` is the time since the manager's start.
#[must_use]
pub fn plan(
    desired: &Desired,
    observed: &Observed,
    history: &History,
    busy: &BTreeSet<String>,
    now: Duration,
) -> Plan {
    let mut plan = Plan::default();
    if observed.marks.stopping {
        return plan;
    }
    let planner = Planner {
        desired,
        observed,
        history,
        busy,
        now,
    };
    for service in desired.project.runnable() {
        match planner.next(service) {
            Next::Do(action, reason) => plan.steps.push(Step {
                service: service.name.clone(),
                action,
                reason,
            }),
            Next::Stand(standing) => plan.standing.push((service.name.clone(), standing)),
            Next::Later(at, standing) => {
                plan.wake = Some(plan.wake.map_or(at, |wake| wake.min(at)));
                plan.standing.push((service.name.clone(), standing));
            }
        }
    }
    plan.reload_after = planner.reload_after();
    plan.steps.sort_by_key(|step| urgency(&step.service));
    plan
}

/// How soon a service is started among those that could be: what the user waits for comes first, since starting a container keeps
/// a processor busy for a while. Lower is sooner.
#[must_use]
pub fn urgency(service: &str) -> u8 {
    match service {
        USER_DOCKER | CONSOLE => 0,
        NETWORK => 1,
        _ => 2,
    }
}

enum Next {
    Do(Action, String),
    Stand(Standing),
    Later(Duration, Standing),
}

impl Next {
    fn well() -> Self {
        Self::Stand(Standing::Well)
    }

    fn waiting(reason: impl Into<String>) -> Self {
        Self::Stand(Standing::Waiting(reason.into()))
    }
}

struct Planner<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    history: &'a History,
    busy: &'a BTreeSet<String>,
    now: Duration,
}

impl<'a> Planner<'a> {
    fn next(&self, service: &Service) -> Next {
        if self.busy.contains(&service.name) {
            return Next::waiting("is being worked on");
        }
        if let Some(reason) = self.out(service) {
            return Next::Stand(Standing::Out(reason));
        }
        if let Some(circle) = self.desired.graph.broken.get(&service.name) {
            return Next::Stand(Standing::Failed(circle.clone()));
        }
        let Some(host) = self.observed.host(service.os.scope) else {
            return Next::waiting("waits until docker answers");
        };
        if let Some(wait) = self.unmet(service) {
            return wait;
        }
        let wanted = self.wanted(service, host);
        match wanted {
            Next::Do(..) => self.not_too_soon(service, wanted),
            other => other,
        }
    }

    fn container(&self, service: &Service) -> Option<&'a Container> {
        self.observed
            .host(service.os.scope)?
            .containers
            .get(&service.name)
    }

    /// The container was started in this boot. The mark is written after the start: what runs has been started, marked or not.
    fn ran(&self, service: &Service, container: &Container) -> bool {
        container.state == State::Running
            || self.observed.marks.ran.get(&service.name) == Some(&container.id)
    }

    /// Why a service takes no part.
    fn out(&self, service: &Service) -> Option<String> {
        if self.observed.marks.stopped.contains(&service.name) {
            return Some("was stopped by the administrator".into());
        }
        if self.desired.disabled.contains(&service.name) {
            return Some("is disabled".into());
        }
        match service.os.condition {
            Some(Condition::NetworkDatasource) if !self.desired.network_datasource => {
                Some("no datasource needs the network".into())
            }
            _ => None,
        }
    }

    /// What to wait for, when something that comes before is not there yet.
    fn unmet(&self, service: &Service) -> Option<Next> {
        self.desired
            .graph
            .after(&service.name)
            .find_map(|(name, strength)| {
                let other = self.desired.project.services.get(name)?;
                match self.reached(other, strength) {
                    Reached::Yes => None,
                    Reached::No(reason) => Some(Next::waiting(reason)),
                    Reached::Until(at, reason) => Some(Next::Later(at, Standing::Waiting(reason))),
                }
            })
    }

    /// Whether `service` has come as far as those that come after it want.
    fn reached(&self, service: &Service, strength: Strength) -> Reached {
        let name = &service.name;
        if strength == Strength::Soft && self.will_not_come(service) {
            return Reached::Yes;
        }
        let Some(container) = self
            .container(service)
            .filter(|container| self.ran(service, container))
        else {
            return Reached::No(format!("waits until {name} has started"));
        };
        let running = container.state == State::Running;
        if !service.os.detach {
            return if running {
                Reached::No(format!("waits until {name} has finished"))
            } else {
                Reached::Yes
            };
        }
        match &service.os.ready {
            Some(file) if running && !self.observed.ready.contains(file) => self.not_ready(service),
            _ if self.busy.contains(name) => Reached::No(format!("waits until {name} has started")),
            _ => Reached::Yes,
        }
    }

    fn not_ready(&self, service: &Service) -> Reached {
        // Without a time of start the manager was started anew while it ran: its time counts from the manager's start.
        let limit = self.history.of(&service.name).started.unwrap_or_default() + READY_LIMIT;
        if self.now >= limit {
            return Reached::Yes;
        }
        Reached::Until(limit, format!("waits until {} is ready", service.name))
    }

    /// It takes no part, is unusable, or failed at its first attempt: nobody waits for it.
    fn will_not_come(&self, service: &Service) -> bool {
        let started = self
            .container(service)
            .is_some_and(|container| self.ran(service, container));
        let failed = !started
            && self.history.of(&service.name).failures > 0
            && !self.busy.contains(&service.name);
        self.out(service).is_some()
            || self.desired.graph.broken.contains_key(&service.name)
            || failed
    }

    fn reload_after(&self) -> Vec<String> {
        let services = self
            .desired
            .project
            .runnable()
            .filter(|service| service.os.reloadconfig);
        let reached = services
            .filter(|service| matches!(self.reached(service, Strength::Hard), Reached::Yes));
        reached.map(|service| service.name.clone()).collect()
    }

    fn wanted(&self, service: &Service, host: &Host) -> Next {
        let image = host.image(&service.image);
        let Some(container) = self.container(service) else {
            return match image {
                Some(_) => Next::Do(Action::Create { replace: None }, "has no container".into()),
                None => self.pull(service),
            };
        };
        match (self.drift(service, container, image), image) {
            (Some(drift), None) if drift.definition => self.pull(service),
            (Some(drift), _) => Next::Do(
                Action::Create {
                    replace: Some(container.id.clone()),
                },
                drift.reason,
            ),
            (None, _) => self.keep(service, container),
        }
    }

    fn pull(&self, service: &Service) -> Next {
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

    fn not_too_soon(&self, service: &Service, wanted: Next) -> Next {
        let attempts = self.history.of(&service.name);
        if self.now >= attempts.not_before {
            return wanted;
        }
        let error = match (attempts.error, &wanted) {
            (Some(error), _) => error,
            (None, Next::Do(_, reason)) => reason.clone(),
            (None, _) => String::new(),
        };
        Next::Later(attempts.not_before, Standing::Failed(error))
    }
}

enum Reached {
    Yes,
    No(String),
    Until(Duration, String),
}

struct Drift {
    reason: String,
    /// A new container may need another image than the old one had.
    definition: bool,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match &self.action {
            Action::Pull => "pull",
            Action::Create { replace: None } => "create",
            Action::Create { replace: Some(_) } => "recreate",
            Action::Start { .. } => "start",
        };
        write!(f, "{verb} {}: {}", self.service, self.reason)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Well => f.write_str("well"),
            Self::Out(reason) => write!(f, "out: {reason}"),
            Self::Waiting(reason) => write!(f, "waiting: {reason}"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests;
