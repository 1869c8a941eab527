//! What this host knows of its project: built from the server's frames, kept on disk. Pure but for [`Catalog::load`] and [`Catalog::save`].

mod facts;

use std::path::Path;

use api::agent::{ContainerFact, Fact, Frame, HostFact, NetworkFact};
use serde::{Deserialize, Serialize};

use crate::disk;

pub use facts::Facts;

/// The file, below the agent's folder.
const FILE: &str = "catalog.json";

/// What is known of the project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// Name of the store's history that the revision is of.
    pub store: String,
    /// The state that this shows.
    pub revision: u64,
    /// Networks.
    pub networks: Facts<NetworkFact>,
    /// Hosts, this one among them.
    pub hosts: Facts<HostFact>,
    /// Containers.
    pub containers: Facts<ContainerFact>,
}

/// What a frame has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Something is new.
    Changed,
    /// Nothing is.
    Same,
    /// This host was removed from the cluster.
    Removed,
}

/// A frame that does not follow what is known: something was missed, or comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server tells what follows revision {from}, which does not fit what is known here, revision {known}"
)]
pub struct Gap {
    /// Where the frame begins.
    pub from: u64,
    /// What is known.
    pub known: u64,
}

impl Catalog {
    /// What was known last. A damaged file counts as none: the server tells everything again.
    #[must_use]
    pub fn load(folder: &Path) -> Self {
        disk::read(&folder.join(FILE))
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    /// Keeps it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), disk::Error> {
        disk::write(&folder.join(FILE), self)
    }

    /// Forgets it.
    ///
    /// # Errors
    /// When the file stays.
    pub fn forget(folder: &Path) -> Result<(), disk::Error> {
        disk::remove(&folder.join(FILE))
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// When something was missed: connect anew.
    pub fn take(&mut self, frame: Frame) -> Result<Taken, Gap> {
        match frame {
            Frame::Whole {
                store,
                revision,
                facts,
            } => {
                let mut fresh = Self {
                    store,
                    revision,
                    ..Self::default()
                };
                facts.into_iter().for_each(|fact| fresh.learn(fact));
                let is_same = *self == fresh;
                *self = fresh;
                Ok(if is_same { Taken::Same } else { Taken::Changed })
            }
            Frame::Changes { from, to, facts } => {
                self.lies_between(from, to)?;
                facts.into_iter().for_each(|fact| self.learn(fact));
                self.revision = to;
                Ok(Taken::Changed)
            }
            Frame::Alive { revision, store } => {
                self.lies_between(revision, u64::MAX)?;
                let Some(store) = store.filter(|store| *store != self.store) else {
                    return Ok(Taken::Same);
                };
                self.store = store;
                Ok(Taken::Changed)
            }
            // Concerns the session.
            Frame::Servers { .. } => Ok(Taken::Same),
            Frame::Removed => Ok(Taken::Removed),
        }
    }

    /// What is told again of a part that is known already does no harm: facts are as they are at the end.
    fn lies_between(&self, from: u64, to: u64) -> Result<(), Gap> {
        if (from..=to).contains(&self.revision) {
            return Ok(());
        }
        Err(Gap {
            from,
            known: self.revision,
        })
    }

    fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::Network(network) => self.networks.insert(network.id.clone(), network),
            Fact::Host(host) => self.hosts.insert(host.id.clone(), host),
            Fact::Container(one) => self.containers.insert(one.id.clone(), one),
            Fact::NoNetwork(id) => self.networks.remove(&id),
            Fact::NoHost(id) => self.hosts.remove(&id),
            Fact::NoContainer(id) => self.containers.remove(&id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Id;
    use api::host::HostState;

    fn host(bits: u64) -> Fact {
        Fact::Host(HostFact {
            id: Id::from_bits("h", bits),
            name: format!("h{bits}"),
            hostname: String::new(),
            address: None,
            block: None,
            public_key: None,
            labels: Default::default(),
            state: HostState::Connected,
        })
    }

    #[test]
    fn frames_build_on_each_other() {
        let mut catalog = Catalog::default();
        let whole = Frame::Whole {
            store: "s".into(),
            revision: 3,
            facts: vec![host(1), host(2)],
        };
        assert_eq!(catalog.take(whole.clone()), Ok(Taken::Changed));
        assert_eq!(catalog.take(whole), Ok(Taken::Same));
        let alive = |revision, store: Option<&str>| Frame::Alive {
            revision,
            store: store.map(str::to_owned),
        };
        let changes = |from, to, facts| Frame::Changes { from, to, facts };
        let gone = Fact::NoHost(Id::from_bits("h", 1));
        assert_eq!(catalog.take(changes(3, 5, vec![gone])), Ok(Taken::Changed));
        assert_eq!((catalog.revision, catalog.hosts.len()), (5, 1));
        assert_eq!(catalog.take(alive(5, None)), Ok(Taken::Same));
        // The store's history has another name now: what is known stays.
        assert_eq!(catalog.take(alive(5, Some("t"))), Ok(Taken::Changed));
        assert_eq!(catalog.take(alive(5, Some("t"))), Ok(Taken::Same));
        assert_eq!((&*catalog.store, catalog.hosts.len()), ("t", 1));
        // Another server has put other changes together, and has seen nothing since.
        assert_eq!(catalog.take(alive(4, None)), Ok(Taken::Same));
        let again = changes(4, 6, vec![host(2), host(3)]);
        assert_eq!(catalog.take(again), Ok(Taken::Changed));
        assert_eq!((catalog.revision, catalog.hosts.len()), (6, 2));
        // Something was missed: nothing is taken.
        let before = catalog.clone();
        assert_eq!(
            catalog.take(changes(7, 8, vec![host(9)])),
            Err(Gap { from: 7, known: 6 })
        );
        assert_eq!(
            catalog.take(alive(7, Some("u"))),
            Err(Gap { from: 7, known: 6 })
        );
        // Facts of before would be taken for new ones.
        assert_eq!(
            catalog.take(changes(3, 5, vec![host(1)])),
            Err(Gap { from: 3, known: 6 })
        );
        assert_eq!(catalog, before);
        assert_eq!(catalog.take(Frame::Removed), Ok(Taken::Removed));
    }

    #[test]
    fn it_outlives_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Catalog::load(folder.path()), Catalog::default());
        let mut catalog = Catalog::default();
        let whole = Frame::Whole {
            store: "s".into(),
            revision: 3,
            facts: vec![host(1)],
        };
        catalog.take(whole).unwrap();
        catalog.save(folder.path()).unwrap();
        assert_eq!(Catalog::load(folder.path()), catalog);
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(Catalog::load(folder.path()), Catalog::default());
    }
}
