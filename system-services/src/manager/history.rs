//! What the manager remembers while it lives: when services were started, how often they failed, when to try again. Pure.
//!
//! Forgotten when the manager dies: then everything is tried at once, which is right, since all that counts is in Docker and the marks.

use std::collections::BTreeMap;
use std::time::Duration;

use super::observe::{Observed, State};

/// Pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Pause after the first failure to fetch an image; grows by as much with each further one.
const FIRST_PULL_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A service that ran so long starts with a clean slate.
const STABLE: Duration = Duration::from_secs(60);

/// Memory about every service. Times are since the manager's start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    services: BTreeMap<String, Attempts>,
}

/// Memory about one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Failures in a row: steps that failed, containers that ended soon.
    pub failures: u32,
    /// Nothing is tried before.
    pub not_before: Duration,
    /// When the container that runs now was started.
    pub started: Option<Duration>,
    /// What went wrong last.
    pub error: Option<String>,
}

impl History {
    /// What is known of a service.
    #[must_use]
    pub fn of(&self, service: &str) -> Attempts {
        self.services.get(service).cloned().unwrap_or_default()
    }

    /// A step for the service worked and left its container running.
    pub fn started(&mut self, service: &str, now: Duration) {
        let attempts = self.services.entry(service.to_owned()).or_default();
        attempts.started = Some(now);
        attempts.error = None;
    }

    /// A step for the service failed. Gives the number of failures in a row.
    pub fn failed(&mut self, service: &str, now: Duration, error: String) -> u32 {
        let attempts = self.services.entry(service.to_owned()).or_default();
        attempts.error = Some(error);
        attempts.count_failure(now);
        attempts.failures
    }

    /// Its image could not be fetched: the next attempt is not due soon.
    pub fn pull_failed(&mut self, service: &str, now: Duration, error: String) -> u32 {
        let failures = self.failed(service, now, error);
        if let Some(attempts) = self.services.get_mut(service) {
            attempts.not_before = now
                + pause(failures)
                    .max(FIRST_PULL_PAUSE * failures)
                    .min(LONGEST_PAUSE);
        }
        failures
    }

    /// Forgets a service: it begins anew.
    pub fn forget(&mut self, service: &str) {
        self.services.remove(service);
    }

    /// Forgets failures, so that everything is tried at once.
    pub fn clear_failures(&mut self) {
        for attempts in self.services.values_mut() {
            *attempts = Attempts {
                started: attempts.started,
                ..Attempts::default()
            };
        }
    }

    /// Takes note of containers that ended since the last look. Gives their names.
    pub fn note_exits(&mut self, observed: &Observed, now: Duration) -> Vec<String> {
        let mut ended = Vec::new();
        for (service, container) in &observed.system.containers {
            let Some(attempts) = self.services.get_mut(service) else {
                continue;
            };
            if let (State::Exited { .. }, Some(started)) = (container.state, attempts.started) {
                if now.saturating_sub(started) >= STABLE {
                    attempts.failures = 0;
                }
                attempts.started = None;
                attempts.count_failure(now);
                ended.push(service.clone());
            }
        }
        ended
    }
}

impl Attempts {
    fn count_failure(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + pause(self.failures);
    }
}

fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let seconds: Vec<f64> = [1, 2, 3, 9, 40]
            .map(|failures| pause(failures).as_secs_f64())
            .to_vec();
        assert_eq!(seconds, [0.2, 0.4, 0.8, 51.2, 60.0]);
    }
}
