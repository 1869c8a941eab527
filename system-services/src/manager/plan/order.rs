//! What comes before: whether a service may be started yet, and what it waits for.

use super::{Next, Planner, READY_LIMIT, Standing};
use crate::compose::Service;
use crate::manager::graph::Strength;
use crate::manager::observe::State;
use std::time::Duration;

/// Whether a service has come as far as another wants.
pub(super) enum Reached {
    Yes,
    /// Not yet, for this reason.
    No(String),
    /// Not yet, but nobody waits longer than that.
    Until(Duration, String),
}

impl Planner<'_> {
    /// What to wait for, when something that comes before is not there yet.
    pub(super) fn unmet(&self, service: &Service) -> Option<Next> {
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
    pub(super) fn reached(&self, service: &Service, strength: Strength) -> Reached {
        let name = &service.name;
        let awaited = !service.os.only_by_schedule;
        if strength == Strength::Soft && (!awaited || self.will_not_come(service)) {
            return Reached::Yes;
        }
        if service.os.only_by_schedule && self.container(service).is_some() {
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
    pub(super) fn will_not_come(&self, service: &Service) -> bool {
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

    pub(super) fn reload_after(&self) -> Vec<String> {
        let services = self
            .desired
            .project
            .runnable()
            .filter(|service| service.os.reloadconfig);
        let reached = services
            .filter(|service| matches!(self.reached(service, Strength::Hard), Reached::Yes));
        reached.map(|service| service.name.clone()).collect()
    }
}
