//! What agents are told: for each project one numbered sequence of frames, each encoded once, whoever listens. An agent that is a
//! little behind gets the frames it missed; one that is far behind, or new, gets everything.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use api::agent::{ContainerFact, Fact, Frame, HostFact, NetworkFact};
use api::container::ContainerKind;
use api::host::HostKind;
use api::network::NetworkKind;
use api::resource::Kind;
use api::{Container, Host, Id, Network};
use bytes::Bytes;

use crate::http::lines::line;
use crate::objects;
use crate::store::{Change, Entry, Revision};

/// Bytes of frames that are remembered for agents that come back.
const REMEMBERED: usize = 4 << 20;

/// What a fact is about: kind and id.
type About = (&'static str, Id);

/// One project's facts, each encoded once: frames are put together from them.
#[derive(Debug)]
pub struct Feed {
    store: String,
    revision: Revision,
    facts: BTreeMap<About, Known>,
    by_host: BTreeMap<Id, BTreeSet<Id>>,
    past: VecDeque<Past>,
    past_bytes: usize,
    whole: Option<(Revision, Bytes)>,
}

/// A fact as it is sent.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    text: Box<str>,
    /// Of a container: where it is.
    host: Option<Id>,
}

/// A frame that was sent.
#[derive(Debug)]
struct Past {
    /// The revision that it builds on.
    from: Revision,
    frame: Bytes,
}

/// What is to be told.
#[derive(Debug)]
pub struct News {
    /// As a frame, encoded.
    pub frame: Bytes,
    /// Hosts that are gone.
    pub gone: Vec<Id>,
}

impl Feed {
    /// Nothing is known of the project yet.
    #[must_use]
    pub fn new(store: &str, revision: Revision) -> Self {
        Self {
            store: store.to_owned(),
            revision,
            facts: BTreeMap::new(),
            by_host: BTreeMap::new(),
            past: VecDeque::new(),
            past_bytes: 0,
            whole: None,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Containers by the hosts they are on.
    #[must_use]
    pub fn by_host(&self) -> &BTreeMap<Id, BTreeSet<Id>> {
        &self.by_host
    }

    /// Takes changes of the store; gives the frame that tells them, if they concern agents.
    pub fn take<'c>(
        &mut self,
        revision: Revision,
        changes: impl IntoIterator<Item = &'c Change>,
    ) -> Option<News> {
        let mut told: BTreeMap<About, Box<str>> = BTreeMap::new();
        let mut gone = Vec::new();
        for change in changes {
            let Some((about, fact)) = fact_of(change) else {
                continue;
            };
            if let Fact::NoHost(host) = &fact {
                gone.push(host.clone());
            }
            if let Some(text) = self.learn(&about, &fact) {
                told.insert(about, text);
            }
        }
        if told.is_empty() {
            return None;
        }
        let from = self.revision;
        self.revision = revision;
        let head = format!("{{\"type\":\"changes\",\"from\":{from},\"to\":{revision}");
        let frame = assemble(&head, told.values().map(|text| &**text));
        self.remember(Past {
            from,
            frame: frame.clone(),
        });
        Some(News { frame, gone })
    }

    /// Takes a fact in; gives its text when it is news.
    fn learn(&mut self, about: &About, fact: &Fact) -> Option<Box<str>> {
        let host = match fact {
            Fact::NoNetwork(_) | Fact::NoHost(_) | Fact::NoContainer(_) => {
                let known = self.facts.remove(about)?;
                self.unplace(known.host.as_ref(), &about.1);
                return Some(encode(fact));
            }
            Fact::Container(container) => Some(container.host.clone()),
            _ => None,
        };
        let text = encode(fact);
        let known = Known {
            text: text.clone(),
            host,
        };
        if self.facts.get(about) == Some(&known) {
            return None;
        }
        if let Some(host) = &known.host {
            let place = self.by_host.entry(host.clone()).or_default();
            place.insert(about.1.clone());
        }
        self.facts.insert(about.clone(), known);
        Some(text)
    }

    fn unplace(&mut self, host: Option<&Id>, container: &Id) {
        if let Some(host) = host
            && let Some(place) = self.by_host.get_mut(host)
        {
            place.remove(container);
            if place.is_empty() {
                self.by_host.remove(host);
            }
        }
    }

    fn remember(&mut self, past: Past) {
        self.past_bytes += past.frame.len();
        self.past.push_back(past);
        while self.past_bytes > REMEMBERED
            && let Some(old) = self.past.pop_front()
        {
            self.past_bytes -= old.frame.len();
        }
        // One that cannot be gone on from is of no use.
        if let Some((at, _)) = &self.whole
            && self.past.front().is_none_or(|first| first.from > *at)
        {
            self.whole = None;
        }
    }

    /// What an agent must be told first, that knows the state `known` of the store `store`.
    pub fn first(&mut self, store: &str, known: Revision) -> Vec<Bytes> {
        if store == self.store {
            if known == self.revision {
                return vec![line(&Frame::Alive { revision: known })];
            }
            if let Some(missed) = self.since(known) {
                return missed;
            }
        }
        // One encoding serves all that come while the frames since then are remembered.
        let fresh = match &self.whole {
            Some((at, whole)) => self.since(*at).map(|missed| (whole.clone(), missed)),
            None => None,
        };
        let (whole, missed) = fresh.unwrap_or_else(|| (self.encode_whole(), Vec::new()));
        std::iter::once(whole).chain(missed).collect()
    }

    fn encode_whole(&mut self) -> Bytes {
        // The store's id has hexadecimal digits only.
        let head = format!(
            "{{\"type\":\"whole\",\"store\":\"{}\",\"revision\":{}",
            self.store, self.revision
        );
        let whole = assemble(&head, self.facts.values().map(|known| &*known.text));
        self.whole = Some((self.revision, whole.clone()));
        whole
    }

    fn since(&self, known: Revision) -> Option<Vec<Bytes>> {
        if known == self.revision {
            return Some(Vec::new());
        }
        // Their revisions grow.
        let start = self
            .past
            .binary_search_by(|past| past.from.cmp(&known))
            .ok()?;
        let missed = self.past.range(start..).map(|past| past.frame.clone());
        Some(missed.collect())
    }
}

fn encode(fact: &Fact) -> Box<str> {
    // Our own types, which serde_json takes.
    serde_json::to_string(fact).unwrap_or_default().into()
}

/// A frame with its facts, as serde would write it.
fn assemble<'t>(head: &str, facts: impl Iterator<Item = &'t str> + Clone) -> Bytes {
    let length: usize = facts.clone().map(|text| text.len() + 1).sum();
    let mut frame = String::with_capacity(head.len() + length + 16);
    frame.push_str(head);
    frame.push_str(",\"facts\":[");
    for (place, text) in facts.enumerate() {
        if place > 0 {
            frame.push(',');
        }
        frame.push_str(text);
    }
    frame.push_str("]}\n");
    frame.into()
}

/// The project that a key's object belongs to, if it is of a kind that agents are told of.
#[must_use]
pub fn project_of(key: &str) -> Option<Id> {
    let mut parts = key.strip_prefix("/objects/")?.split('/');
    let kind = parts.next()?;
    let kinds = [NetworkKind::PLURAL, HostKind::PLURAL, ContainerKind::PLURAL];
    kinds.contains(&kind).then(|| parts.next()?.parse().ok())?
}

fn fact_of(change: &Change) -> Option<(About, Fact)> {
    let mut parts = change.key().strip_prefix("/objects/")?.split('/');
    let kind = parts.next()?;
    let id: Id = parts.nth(1)?.parse().ok()?;
    let put = match change {
        Change::Put(entry) => Some(entry),
        Change::Delete { .. } => None,
    };
    match kind {
        NetworkKind::PLURAL => {
            let fact = put.map_or(Some(Fact::NoNetwork(id.clone())), network);
            Some(((NetworkKind::PLURAL, id), fact?))
        }
        HostKind::PLURAL => {
            let fact = put.map_or(Some(Fact::NoHost(id.clone())), host);
            Some(((HostKind::PLURAL, id), fact?))
        }
        ContainerKind::PLURAL => {
            let fact = put.map_or(Some(Fact::NoContainer(id.clone())), container);
            Some(((ContainerKind::PLURAL, id), fact?))
        }
        _ => None,
    }
}

fn network(entry: &Entry) -> Option<Fact> {
    let network: Network = objects::decode::<NetworkKind>(entry).ok()?;
    Some(Fact::Network(NetworkFact {
        id: network.meta.id,
        name: network.meta.name,
        spec: network.spec,
    }))
}

fn host(entry: &Entry) -> Option<Fact> {
    let host: Host = objects::decode::<HostKind>(entry).ok()?;
    Some(Fact::Host(HostFact {
        id: host.meta.id,
        name: host.meta.name,
        hostname: host.status.facts.hostname,
        address: host.spec.address.or(host.status.address),
        block: host.status.block,
        public_key: host.status.public_key,
        labels: host.meta.labels,
        state: host.status.state,
    }))
}

fn container(entry: &Entry) -> Option<Fact> {
    let container: Container = objects::decode::<ContainerKind>(entry).ok()?;
    Some(Fact::Container(ContainerFact {
        id: container.meta.id,
        name: container.meta.name,
        host: container.status.host?,
        address: container.status.address,
        host_network: container.status.host_network,
        state: container.status.state,
        docker_id: container.status.docker_id,
        hostname: container.status.hostname,
        mac: container.status.mac,
        labels: container.status.labels,
        ports: container.status.ports,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::resource::{Meta, Resource};

    fn put(name: &str, bits: u64, revision: Revision) -> Change {
        let project = Id::from_bits("p", 1);
        let container: Container = Resource {
            meta: Meta {
                id: Id::from_bits("c", bits),
                project: Some(project.clone()),
                name: name.into(),
                labels: BTreeMap::new(),
                created: objects::now(),
                revision: 0,
                generation: 1,
            },
            spec: Default::default(),
            status: api::container::ContainerStatus {
                host: Some(Id::from_bits("h", 1)),
                ..Default::default()
            },
        };
        Change::Put(Entry {
            key: format!("/objects/containers/{project}/{}", container.meta.id),
            value: serde_json::to_vec(&container).unwrap(),
            revision,
        })
    }

    fn frames(bytes: &[Bytes]) -> Vec<Frame> {
        bytes
            .iter()
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    #[test]
    fn an_agent_gets_what_it_missed() {
        let mut feed = Feed::new("s", 1);
        feed.take(2, [&put("a", 1, 2)]).unwrap();
        feed.take(3, [&put("b", 2, 3)]).unwrap();
        assert!(
            feed.take(4, [&put("b", 2, 4)]).is_none(),
            "nothing new in it"
        );
        let gone = Change::Delete {
            key: put("a", 1, 5).key().to_owned(),
            revision: 5,
        };
        feed.take(5, [&gone]).unwrap();
        let missed = frames(&feed.first("s", 2));
        let steps: Vec<(u64, u64)> = missed
            .iter()
            .map(|frame| match frame {
                Frame::Changes { from, to, .. } => (*from, *to),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(steps, [(2, 3), (3, 5)]);
        // As serde would write it.
        let text = &feed.first("s", 2)[0];
        assert_eq!(line(&frames(std::slice::from_ref(text))[0]), *text);
        assert_eq!(frames(&feed.first("s", 5)), [Frame::Alive { revision: 5 }]);
        for (store, known) in [("s", 4), ("s", 9), ("other", 5), ("", 0)] {
            let first = frames(&feed.first(store, known));
            let [
                Frame::Whole {
                    revision: 5, facts, ..
                },
            ] = &first[..]
            else {
                panic!("{first:?}")
            };
            assert_eq!(facts.len(), 1);
            assert_eq!(line(&first[0]), feed.first(store, known)[0]);
        }
    }

    #[test]
    fn a_whole_is_encoded_once_for_many() {
        let mut feed = Feed::new("s", 0);
        feed.take(1, [&put("a", 1, 1)]);
        let one = feed.first("", 0);
        feed.take(2, [&put("b", 2, 2)]);
        let other = feed.first("", 0);
        assert_eq!(other[0].as_ptr(), one[0].as_ptr());
        assert_eq!(other.len(), 2);
    }
}
