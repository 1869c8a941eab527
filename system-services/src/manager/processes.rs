//! Are the processes of running containers there? Docker misses the end of a container when containerd and the container's shim die
//! together. Reads `/proc`; asks Docker only for what it does not know yet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bollard::query_parameters::InspectContainerOptions;

use super::engine::Engine;
use super::observe::{Host, State};

/// Docker learns of an end a moment later than the kernel.
const GRACE: Duration = Duration::from_secs(5);

/// Processes of running containers, by the container's id.
#[derive(Debug, Default)]
pub struct Processes {
    known: BTreeMap<String, Process>,
}

#[derive(Debug)]
struct Process {
    pid: i64,
    missing_since: Option<Instant>,
}

impl Processes {
    /// Marks the containers as lost whose process has been gone for a while.
    pub async fn check(&mut self, engine: &Engine, host: &mut Host) {
        self.known.retain(|id, _| {
            host.containers
                .values()
                .any(|container| container.id == *id)
        });
        for container in host
            .containers
            .values_mut()
            .filter(|container| container.state == State::Running)
        {
            let known = self.known.get_mut(&container.id);
            if let Some(process) = known.filter(|process| process.is_there()) {
                process.missing_since = None;
                continue;
            }
            // Not known yet, or perhaps started anew in the meantime.
            let Some(pid) = pid(engine, &container.id).await else {
                continue;
            };
            let process = self.known.entry(container.id.clone()).or_insert(Process {
                pid,
                missing_since: None,
            });
            if process.is_lost(pid) {
                container.state = State::Lost;
            }
        }
    }
}

impl Process {
    /// A process that has ended and waits for its parent is gone (proc(5): state Z or X after the name in brackets).
    fn is_there(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let state = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
    }

    fn is_lost(&mut self, pid: i64) -> bool {
        let another = std::mem::replace(&mut self.pid, pid) != pid;
        if another || self.is_there() {
            self.missing_since = None;
            return false;
        }
        self.missing_since
            .get_or_insert_with(Instant::now)
            .elapsed()
            >= GRACE
    }
}

async fn pid(engine: &Engine, id: &str) -> Option<i64> {
    let details = engine
        .docker
        .inspect_container(id, None::<InspectContainerOptions>)
        .await
        .ok()?;
    details.state?.pid.filter(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_lost_when_it_has_been_gone_for_a_while() {
        // Above the kernel's largest number of a process.
        let gone = i64::from(u32::MAX);
        let mut process = Process {
            pid: gone,
            missing_since: None,
        };
        assert!(!process.is_lost(gone));
        process.missing_since = Instant::now().checked_sub(GRACE);
        assert!(process.is_lost(gone));
        assert!(!process.is_lost(i64::from(std::process::id())));
        assert_eq!(process.missing_since, None);
    }
}
