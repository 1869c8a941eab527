//! What to do next: from what is wanted and what is, to steps with reasons. Pure; called again after every change, so a step is only
//! ever the next one of its service.

mod container;
mod order;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::desired::Desired;
use super::history::History;
use super::observe::{Container, Observed, State};
use super::preload;
use crate::compose::{Condition, Service};

/// A service that does not write its readiness file holds others up for so long and no longer.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// For so long after the manager's start, services let more urgent ones go first.
const HEAD_START: Duration = Duration::from_secs(15);
/// With so many processors nobody has to wait for one.
const MANY_PROCESSORS: usize = 8;
const LEAST_URGENT: u8 = 2;
/// Templates are made once everything is ready, or this long after the manager's start.
const SETTLED_AFTER: Duration = Duration::from_secs(20);
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
    /// Make the container of a template, after removing one that is there.
    Prepare {
        /// Id of the container to remove.
        replace: Option<String>,
    },
    /// Make its container, after removing one that is there, and start it.
    Create {
        /// Id of the container to remove.
        replace: Option<String>,
    },
    /// Make Docker see that its container has ended.
    Settle {
        /// Id of the container.
        id: String,
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
    /// Services whose turn by their schedule comes to nothing: they run, or take no part.
    pub passed: Vec<String>,
    /// All other services, with where they stand.
    pub standing: Vec<(String, Standing)>,
    /// Every service has come as far as it can without further attempts.
    pub up: bool,
    /// When to look again though nothing happens.
    pub wake: Option<Duration>,
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
        if planner.is_passed(service) {
            plan.passed.push(service.name.clone());
        }
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
    planner.give_head_start(&mut plan);
    let waiting = |(_, standing): &(String, Standing)| matches!(standing, Standing::Waiting(_));
    plan.up = plan.steps.is_empty() && !plan.standing.iter().any(waiting);
    plan.reload_after = planner.reload_after();
    if plan.up && planner.settled() {
        plan.steps.extend(planner.template());
    }
    plan
}

/// How soon a service is started among those that could be: what the user waits for comes first, since starting a container keeps
/// a processor busy for a while. Lower is sooner.
fn urgency(service: &str) -> u8 {
    match service {
        USER_DOCKER => 0,
        CONSOLE | NETWORK => 1,
        _ => LEAST_URGENT,
    }
}

fn preloading(service: &Service) -> String {
    let folder = preload::folder(service.os.scope);
    format!("waits until the images in {folder} are loaded")
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
            let made = self.made_only(service);
            return made.unwrap_or(Next::Stand(Standing::Out(reason)));
        }
        if let Some(circle) = self.desired.graph.broken.get(&service.name) {
            return Next::Stand(Standing::Failed(circle.clone()));
        }
        let Some(host) = self.observed.host(service.os.scope) else {
            return Next::Stand(self.without_docker());
        };
        if let Some(wait) = self.unmet(service) {
            return wait;
        }
        let wanted = self.wanted(service, host);
        match wanted {
            Next::Do(..) if self.awaits_preload(service) => Next::waiting(preloading(service)),
            // Its turn is its own time, whatever came of the one before.
            Next::Do(Action::Start { .. }, _) if self.is_due(service) => wanted,
            Next::Do(..) => self.not_too_soon(service, wanted),
            other => other,
        }
    }

    /// Early in the boot of a machine with few processors, a step waits for more urgent ones, and the least urgent also until the
    /// user's Docker has answered for a moment; then so many go at a time that one processor is left to the user's first command.
    fn give_head_start(&self, plan: &mut Plan) {
        plan.steps.sort_by_key(|step| urgency(&step.service));
        if self.now >= HEAD_START || self.observed.processors >= MANY_PROCESSORS {
            return;
        }
        let in_hand = self
            .busy
            .iter()
            .chain(plan.steps.iter().map(|step| &step.service));
        let first = in_hand.min_by_key(|service| urgency(service)).cloned();
        let docker = self.docker_is_starting().then(|| USER_DOCKER.to_owned());
        let is_least = |service: &String| urgency(service) == LEAST_URGENT;
        let at_a_time = self.observed.processors.saturating_sub(1).max(1);
        let mut room =
            at_a_time.saturating_sub(self.busy.iter().filter(|busy| is_least(busy)).count());
        let (now, later) = plan.steps.drain(..).partition(|step| {
            let more_urgent = |other: &String| urgency(other) < urgency(&step.service);
            if first.as_ref().is_some_and(more_urgent) {
                return false;
            }
            if !is_least(&step.service) {
                return true;
            }
            let goes = docker.is_none() && room > 0;
            room -= usize::from(goes);
            goes
        });
        plan.steps = now;
        for step in later {
            let other = first
                .as_ref()
                .filter(|other| urgency(other) < urgency(&step.service))
                .or(docker.as_ref());
            let reason = format!(
                "lets {} start first",
                other.map_or("others", String::as_str)
            );
            plan.standing
                .push((step.service, Standing::Waiting(reason)));
            plan.wake = Some(plan.wake.map_or(HEAD_START, |wake| wake.min(HEAD_START)));
        }
    }

    fn docker_is_starting(&self) -> bool {
        let docker = self.desired.project.services.get(USER_DOCKER);
        docker.is_some_and(|docker| {
            let ready = docker.os.ready.as_ref().is_none_or(|file| {
                self.observed.ready.contains(file) && !self.observed.fresh.contains(file)
            });
            let runs = self
                .container(docker)
                .is_some_and(|container| container.state == State::Running);
            runs && !ready
        })
    }

    /// Services of the user have nowhere to run while the user's Docker does not answer.
    fn without_docker(&self) -> Standing {
        match self.desired.project.services.get(USER_DOCKER) {
            Some(docker) if !self.will_not_come(docker) => {
                Standing::Waiting("waits until docker answers".into())
            }
            _ => Standing::Failed("docker does not run".into()),
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
        let unmet = |condition: &Condition| !self.desired.conditions.contains(condition);
        let condition = service.os.condition.filter(unmet)?;
        Some(condition.otherwise().into())
    }

    fn is_due(&self, service: &Service) -> bool {
        self.observed.due.contains(&service.name)
    }

    fn is_passed(&self, service: &Service) -> bool {
        let runs = || {
            self.container(service)
                .is_some_and(|container| container.state == State::Running)
        };
        self.is_due(service) && (self.out(service).is_some() || runs())
    }

    fn awaits_preload(&self, service: &Service) -> bool {
        self.desired.after_preload.contains(&service.name)
            && self.observed.preloading.contains(&service.os.scope)
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

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match &self.action {
            Action::Pull => "pull",
            Action::Prepare { .. } => "prepare",
            Action::Create { replace: None } => "create",
            Action::Create { replace: Some(_) } => "recreate",
            Action::Settle { .. } => "settle",
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
