//! Which hosts are heard of, and what those that were removed have left.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::container::ContainerKind;
use api::event::EventSpec;
use api::host::{HostKind, HostState};
use api::project::ProjectKind;
use api::{Host, Id};

use crate::agents::ALIVE;
use crate::events;
use crate::http::tls::UNNOTICED;
use crate::objects::{self, now};
use crate::server::Server;
use crate::store::{MAX_CHANGES, Transaction, Write};

/// How often it looks when nothing wakes it.
const PERIOD: Duration = Duration::from_secs(1);

/// Runs while this server leads.
pub async fn run(server: Arc<Server>) {
    let mut silent = Silent::default();
    loop {
        round(&server, &mut silent).await;
        tokio::time::sleep(PERIOD).await;
    }
}

/// Since when hosts have been silent, as far as this leader knows: from its first look on, at the latest.
#[derive(Debug, Default)]
struct Silent(BTreeMap<Id, Instant>);

impl Silent {
    /// How long a host has been silent; `None`: it is heard of.
    fn since(&mut self, host: &Id, is_heard: bool, at: Instant) -> Option<Duration> {
        if is_heard {
            self.0.remove(host);
            return None;
        }
        Some(at - *self.0.entry(host.clone()).or_insert(at))
    }
}

/// Times of a project.
#[derive(Debug, Clone, Copy)]
struct Times {
    reconnecting: Duration,
    disconnected: Duration,
}

/// The state that a host is to have. A host that has joined stays so until it is first heard of.
fn state(now: HostState, silent: Option<Duration>, times: Times) -> HostState {
    match silent {
        None => HostState::Connected,
        Some(_) if now == HostState::Joining => HostState::Joining,
        Some(time) if time >= times.disconnected => HostState::Disconnected,
        // The server that has lost the connection has waited for an answer already: this counts from the loss.
        Some(_) if now == HostState::Disconnected => HostState::Disconnected,
        Some(time) if time + UNNOTICED >= times.reconnecting => HostState::Reconnecting,
        Some(_) => now,
    }
}

async fn round(server: &Server, silent: &mut Silent) {
    let heard: BTreeSet<Id> = server
        .mirror
        .list(ALIVE, None, usize::MAX)
        .iter()
        .filter_map(|entry| entry.key.rsplit('/').next()?.parse().ok())
        .collect();
    let times: BTreeMap<Id, Times> = objects::all::<ProjectKind>(&server.mirror, None)
        .into_iter()
        .map(|project| {
            let seconds = |number: u32| Duration::from_secs(number.into());
            let times = Times {
                reconnecting: seconds(project.spec.reconnecting_after),
                disconnected: seconds(project.spec.disconnected_after),
            };
            (project.meta.id, times)
        })
        .collect();
    let hosts: Vec<Host> = objects::all::<HostKind>(&server.mirror, None);
    let at = Instant::now();
    for host in &hosts {
        let time = silent.since(&host.meta.id, heard.contains(&host.meta.id), at);
        let project = host.meta.project.as_ref().and_then(|id| times.get(id));
        let Some(times) = project else { continue };
        let wanted = state(host.status.state, time, *times);
        if wanted != host.status.state {
            // What fails is tried again in a second.
            set(server, host, wanted).await.ok();
        }
    }
    let known: BTreeSet<&Id> = hosts.iter().map(|host| &host.meta.id).collect();
    silent.0.retain(|id, _| known.contains(id));
    take_away(server, &known).await;
}

async fn set(server: &Server, host: &Host, state: HostState) -> Result<(), api::Problem> {
    let mut changed = host.clone();
    changed.status.state = state;
    changed.status.since = Some(now());
    let name = format!("{state:?}").to_lowercase();
    let event = EventSpec {
        what: format!("host.{name}"),
        object: Some(host.meta.id.clone()),
        object_name: host.meta.name.clone(),
        ..EventSpec::default()
    };
    let beside = Transaction {
        writes: vec![events::write(host.meta.project.as_ref(), event)],
        ..Transaction::default()
    };
    server
        .objects
        .update::<HostKind>(changed, beside)
        .await
        .map(drop)
}

/// Removes the containers of hosts that are no more.
async fn take_away(server: &Server, known: &BTreeSet<&Id>) {
    let left: Vec<Write> = server
        .hub
        .strays(|host| known.contains(host))
        .into_iter()
        .map(|(project, container)| objects::removal_plain::<ContainerKind>(&project, &container))
        .take(MAX_CHANGES)
        .collect();
    if !left.is_empty() {
        let transaction = Transaction {
            writes: left,
            ..Transaction::default()
        };
        // What fails is tried again in a second.
        server.objects.store().commit(transaction).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_has_consequences_in_time() {
        let seconds = Duration::from_secs;
        let times = Times {
            reconnecting: seconds(12),
            disconnected: seconds(180),
        };
        use HostState::{Connected, Disconnected, Joining, Reconnecting};
        assert_eq!(state(Connected, None, times), Connected);
        assert_eq!(state(Disconnected, None, times), Connected);
        assert_eq!(state(Connected, Some(seconds(1)), times), Connected);
        assert_eq!(state(Connected, Some(seconds(2)), times), Reconnecting);
        assert_eq!(state(Reconnecting, Some(seconds(179)), times), Reconnecting);
        assert_eq!(state(Reconnecting, Some(seconds(180)), times), Disconnected);
        // A new leader has not heard of it for long enough itself.
        assert_eq!(state(Disconnected, Some(seconds(0)), times), Disconnected);
        assert_eq!(state(Joining, Some(seconds(500)), times), Joining);
    }

    #[test]
    fn silence_begins_with_the_first_look() {
        let (mut silent, host, start) = (Silent::default(), Id::from_bits("h", 1), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(silent.since(&host, false, at(0)), Some(Duration::ZERO));
        assert_eq!(
            silent.since(&host, false, at(9)),
            Some(Duration::from_secs(9))
        );
        assert_eq!(silent.since(&host, true, at(10)), None);
        assert_eq!(silent.since(&host, false, at(11)), Some(Duration::ZERO));
    }
}
