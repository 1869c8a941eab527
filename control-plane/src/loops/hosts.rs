//! Which hosts are heard of, and what those that were removed have left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::Id;
use api::container::ContainerKind;
use api::event::EventSpec;
use api::host::{HostKind, HostState};
use api::problem::Problem;
use futures_util::future::join_all;
use tokio::sync::broadcast::{self, error::TryRecvError};
use tokio::time::Instant;

use super::watched::{Known, Times, Watched};
use crate::events;
use crate::http::serve::UNNOTICED;
use crate::objects::{self, now};
use crate::server::Server;
use crate::store::{Batch, MAX_CHANGES, Transaction, Write};

/// How often it looks when nothing wakes it.
const PERIOD: Duration = Duration::from_secs(1);
/// Changes that come within this time are judged together.
const TOGETHER: Duration = Duration::from_millis(50);
/// Hosts whose states are written at a time: they share writes to the disk.
const AT_ONCE: usize = 64;

/// Runs while this server leads.
pub async fn run(server: Arc<Server>) {
    let mut silent = Silent::default();
    let (mut watched, mut followed) = Watched::begin(&server.mirror);
    loop {
        round(&server, &watched, &mut silent).await;
        if !follow(&mut watched, &mut followed.batches).await {
            (watched, followed) = Watched::begin(&server.mirror);
        }
    }
}

/// Waits for something to judge, and takes it. False: changes were missed.
async fn follow(watched: &mut Watched, batches: &mut broadcast::Receiver<Arc<Batch>>) -> bool {
    let until = Instant::now() + PERIOD;
    loop {
        match tokio::time::timeout_at(until, batches.recv()).await {
            Err(_) => return true,
            Ok(Err(_)) => return false,
            Ok(Ok(batch)) => {
                let concerns = batch
                    .changes
                    .iter()
                    .fold(false, |any, change| watched.take(change) | any);
                if concerns {
                    break;
                }
            }
        }
    }
    tokio::time::sleep(TOGETHER).await;
    loop {
        match batches.try_recv() {
            Ok(batch) => {
                for change in &batch.changes {
                    watched.take(change);
                }
            }
            Err(TryRecvError::Lagged(_)) => return false,
            Err(_) => return true,
        }
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

async fn round(server: &Server, watched: &Watched, silent: &mut Silent) {
    let at = Instant::now();
    let mut wanted: Vec<(&Id, &Known, HostState)> = Vec::new();
    for (id, host) in &watched.hosts {
        let time = silent.since(id, watched.is_heard(id), at);
        let Some(times) = watched.times.get(&host.project) else {
            continue;
        };
        let state = state(host.state, time, *times);
        if state != host.state {
            wanted.push((id, host, state));
        }
    }
    for part in wanted.chunks(AT_ONCE) {
        let set = part
            .iter()
            .map(|(id, host, state)| set(server, &host.project, id, *state));
        // What fails is tried again in a second.
        join_all(set).await;
    }
    silent.0.retain(|id, _| watched.hosts.contains_key(id));
    take_away(server, watched).await;
}

async fn set(server: &Server, project: &Id, id: &Id, state: HostState) -> Result<(), Problem> {
    let host = objects::find::<HostKind>(&server.mirror, Some(project), id);
    let Some(mut host) = host.filter(|host| host.status.state != state) else {
        return Ok(());
    };
    host.status.state = state;
    host.status.since = Some(now());
    let event = EventSpec {
        what: format!("host.{}", format!("{state:?}").to_lowercase()),
        object: Some(id.clone()),
        object_name: host.meta.name.clone(),
        ..EventSpec::default()
    };
    let beside = Transaction {
        writes: vec![events::write(Some(project), event)],
        ..Transaction::default()
    };
    let done = server.objects.update::<HostKind>(host, beside).await?;
    // The next look must not find it as it was.
    server.mirror.reach(done.meta.revision).await;
    Ok(())
}

/// Removes the containers of hosts that are no more.
async fn take_away(server: &Server, watched: &Watched) {
    // The streams may know of a host that this loop has not heard of yet; what they know the mirror shows.
    let is_known = |project: &Id, host: &Id| {
        watched.hosts.contains_key(host)
            || objects::find::<HostKind>(&server.mirror, Some(project), host).is_some()
    };
    let left: Vec<Write> = server
        .hub
        .strays(is_known)
        .into_iter()
        .map(|(project, container)| objects::removal_plain::<ContainerKind>(&project, &container))
        .take(MAX_CHANGES)
        .collect();
    // What fails is tried again in a second.
    server.objects.store().write_all(left).await.ok();
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
