//! What the leader looks at to judge hosts, kept up by the changes alone: nothing is read again that has not changed. Pure but for
//! [`Watched::begin`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use api::Id;
use api::host::{HostKind, HostState};
use api::project::ProjectKind;
use api::resource::Kind;

use crate::mirror::{Followed, Mirror};
use crate::objects;
use crate::presence::{self, ALIVE};
use crate::store::{Change, Entry};

/// Times of a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Silent for so long, a host is reconnecting.
    pub reconnecting: Duration,
    /// Silent for so long, it is disconnected.
    pub disconnected: Duration,
}

/// What is known of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Its project.
    pub project: Id,
    /// The state that it has.
    pub state: HostState,
}

/// Hosts, the times of their projects, and who is heard of.
#[derive(Debug, Default)]
pub struct Watched {
    /// By id.
    pub hosts: BTreeMap<Id, Known>,
    /// By project.
    pub times: BTreeMap<Id, Times>,
    /// By host: the keys that say so, one a server.
    heard: BTreeMap<Id, BTreeSet<String>>,
}

impl Watched {
    /// As it is now, and what comes then.
    pub fn begin(mirror: &Mirror) -> (Self, Followed) {
        let followed = mirror.follow_from_here("/");
        let mut watched = Self::default();
        followed.entries.iter().for_each(|entry| watched.put(entry));
        (watched, followed)
    }

    /// Takes a change. False: it does not concern hosts.
    pub fn take(&mut self, change: &Change) -> bool {
        match change {
            _ if !concerns(change.key()) => return false,
            Change::Put(entry) => self.put(entry),
            Change::Delete { key, .. } => self.remove(key),
        }
        true
    }

    /// Whether a server hears a host.
    #[must_use]
    pub fn is_heard(&self, host: &Id) -> bool {
        self.heard.contains_key(host)
    }

    fn put(&mut self, entry: &Entry) {
        if let Some(host) = presence::heard_host(&entry.key) {
            let keys = self.heard.entry(host).or_default();
            keys.insert(entry.key.clone());
        } else if entry.key.starts_with(&objects::folder::<HostKind>(None))
            && let Ok(host) = objects::decode::<HostKind>(entry)
            && let Some(project) = host.meta.project
        {
            let state = host.status.state;
            self.hosts.insert(host.meta.id, Known { project, state });
        } else if entry.key.starts_with(&objects::folder::<ProjectKind>(None))
            && let Ok(project) = objects::decode::<ProjectKind>(entry)
        {
            let seconds = |number: u32| Duration::from_secs(number.into());
            let times = Times {
                reconnecting: seconds(project.spec.reconnecting_after),
                disconnected: seconds(project.spec.disconnected_after),
            };
            self.times.insert(project.meta.id, times);
        }
    }

    fn remove(&mut self, key: &str) {
        if let Some(host) = presence::heard_host(key) {
            if let Some(keys) = self.heard.get_mut(&host) {
                keys.remove(key);
                if keys.is_empty() {
                    self.heard.remove(&host);
                }
            }
        } else if let Some(id) = key.rsplit('/').next().and_then(|id| id.parse().ok()) {
            // Ids of hosts and projects differ in their first letter.
            self.hosts.remove(&id);
            self.times.remove(&id);
        }
    }
}

fn concerns(key: &str) -> bool {
    let kind = key
        .strip_prefix("/objects/")
        .and_then(|rest| rest.split('/').next());
    key.starts_with(ALIVE)
        || kind.is_some_and(|kind| [HostKind::PLURAL, ProjectKind::PLURAL].contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_heard_while_any_server_says_so() {
        let host = Id::from_bits("h", 1);
        let project = Id::from_bits("p", 1);
        let key = |server: &str| format!("{ALIVE}{project}/{host}/{server}");
        let put = |server: &str| {
            Change::Put(Entry {
                key: key(server),
                value: vec![],
                revision: 1,
            })
        };
        let gone = |server: &str| Change::Delete {
            key: key(server),
            revision: 2,
        };
        let mut watched = Watched::default();
        assert!(watched.take(&put("a")) && watched.take(&put("b")) && watched.take(&gone("a")));
        assert!(watched.is_heard(&host));
        watched.take(&gone("b"));
        assert!(!watched.is_heard(&host) && watched.heard.is_empty());
        let container = Change::Delete {
            key: format!("/objects/containers/{project}/c-aaaaaaaaaaaa"),
            revision: 3,
        };
        assert!(!watched.take(&container));
    }
}
