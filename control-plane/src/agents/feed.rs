//! What the agents of a project are told: one numbered sequence of frames, each encoded and packed once, whoever listens. An agent that is a
//! little behind gets the frames it missed; one that is far behind, or new, gets everything. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use api::Id;
use api::agent::{Fact, Frame};
use bytes::Bytes;

use super::facts::{About, encode, fact_of, key};
use super::pack::{pack, pack_frame};
use crate::store::{Batch, Change, Entry, Revision};

/// Bytes of packed frames that are remembered for agents that come back.
const REMEMBERED: usize = 4 << 20;
/// Changes of the past that share a frame.
const TOGETHER: usize = 256;

/// One project's facts, each encoded once: frames are put together from them.
#[derive(Debug)]
pub struct Feed {
    store: String,
    revision: Revision,
    facts: BTreeMap<About, Known>,
    by_host: BTreeMap<Id, BTreeSet<Id>>,
    past: VecDeque<Past>,
    past_bytes: usize,
    /// Whoever knows this state, or a later one, has missed nothing but `past`.
    oldest: Revision,
    whole: Option<Whole>,
}

/// A fact as it is sent.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    text: Arc<str>,
    /// Of a container: where it is.
    host: Option<Id>,
}

/// A frame that was sent.
#[derive(Debug)]
struct Past {
    /// The revision that it leads to.
    to: Revision,
    frame: Bytes,
}

/// A frame that tells everything.
#[derive(Debug, Clone)]
pub struct Whole {
    revision: Revision,
    frame: Bytes,
}

/// What an agent knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// Name of the store's history.
    pub store: String,
    /// State of it.
    pub revision: Revision,
}

impl Feed {
    /// What is there at first. Of what has led to it nothing is known.
    #[must_use]
    pub fn new<'e>(
        store: &str,
        revision: Revision,
        entries: impl IntoIterator<Item = &'e Entry>,
    ) -> Self {
        let mut feed = Self {
            store: store.to_owned(),
            revision,
            facts: BTreeMap::new(),
            by_host: BTreeMap::new(),
            past: VecDeque::new(),
            past_bytes: 0,
            oldest: revision,
            whole: None,
        };
        for entry in entries {
            if let Some((about, fact)) = fact_of(&Change::Put(entry.clone())) {
                feed.learn(&about, &fact);
            }
        }
        feed
    }

    /// Takes in what has led to its state: all changes of the project after `from`.
    pub fn recall(&mut self, from: Revision, batches: &[Batch]) {
        self.oldest = from;
        self.revision = from;
        let mut told: BTreeMap<About, Box<str>> = BTreeMap::new();
        for (place, batch) in batches.iter().enumerate() {
            let facts = batch.changes.iter().filter_map(fact_of);
            told.extend(facts.map(|(about, fact)| (about, encode(&fact))));
            let is_last = place + 1 == batches.len();
            if told.len() >= TOGETHER || (is_last && !told.is_empty()) {
                let texts = std::mem::take(&mut told);
                self.tell(batch.revision, texts.values().map(|text| &**text));
            }
        }
    }

    /// Containers by the hosts they are on.
    #[must_use]
    pub fn by_host(&self) -> &BTreeMap<Id, BTreeSet<Id>> {
        &self.by_host
    }

    /// Takes changes of the store. Gives the hosts that are gone, if there is news for agents.
    pub fn take<'c>(
        &mut self,
        revision: Revision,
        changes: impl IntoIterator<Item = &'c Change>,
    ) -> Option<Vec<Id>> {
        let mut told: BTreeMap<About, Arc<str>> = BTreeMap::new();
        let mut gone = Vec::new();
        for change in changes {
            let Some((about, fact)) = fact_of(change) else {
                continue;
            };
            if let Some(text) = self.learn(&about, &fact) {
                if let Fact::NoHost(host) = &fact {
                    gone.push(host.clone());
                }
                told.insert(about, text);
            }
        }
        if told.is_empty() {
            return None;
        }
        self.tell(revision, told.values().map(|text| &**text));
        Some(gone)
    }

    /// The changes that lead from what it knows to a state that holds nothing but `keys`.
    #[must_use]
    pub fn surplus(&self, project: &Id, keys: &BTreeSet<&str>, revision: Revision) -> Vec<Change> {
        let known = self.facts.keys().map(|about| key(about, project));
        known
            .filter(|key| !keys.contains(&**key))
            .map(|key| Change::Delete { key, revision })
            .collect()
    }

    /// Takes a fact in; gives its text when it is news.
    fn learn(&mut self, about: &About, fact: &Fact) -> Option<Arc<str>> {
        let host = match fact {
            Fact::NoNetwork(_) | Fact::NoHost(_) | Fact::NoContainer(_) => {
                let known = self.facts.remove(about)?;
                self.unplace(known.host.as_ref(), &about.1);
                return Some(encode(fact).into());
            }
            Fact::Container(container) => Some(container.host.clone()),
            _ => None,
        };
        let text: Arc<str> = encode(fact).into();
        let known = Known {
            text: Arc::clone(&text),
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

    /// Makes the frame that leads to `revision`.
    fn tell<'t>(&mut self, revision: Revision, texts: impl Iterator<Item = &'t str>) {
        let from = self.revision;
        let head = format!("{{\"type\":\"changes\",\"from\":{from},\"to\":{revision}");
        let frame = assemble(&head, texts);
        self.revision = revision;
        self.past_bytes += frame.len();
        self.past.push_back(Past {
            to: revision,
            frame,
        });
        while self.past_bytes > REMEMBERED
            && let Some(old) = self.past.pop_front()
        {
            self.past_bytes -= old.frame.len();
            self.oldest = old.to;
        }
        // One that cannot be gone on from is of no use.
        let oldest = self.oldest;
        self.whole.take_if(|whole| whole.revision < oldest);
    }

    /// The frames that lead from `known` here, where the store is known to have nothing new up to `shown`. `None`: it takes a whole one.
    pub fn missed(&self, known: &mut Position, shown: Revision) -> Option<Vec<Bytes>> {
        let missed = if known.store == self.store && known.revision <= shown.max(self.revision) {
            self.since(known.revision)
        } else {
            None
        };
        let missed = missed.or_else(|| {
            let whole = self.whole.as_ref()?;
            let after = self.since(whole.revision)?;
            known.store.clone_from(&self.store);
            known.revision = self.revision;
            Some(std::iter::once(whole.frame.clone()).chain(after).collect())
        })?;
        known.revision = known.revision.max(self.revision);
        Some(missed)
    }

    fn since(&self, known: Revision) -> Option<Vec<Bytes>> {
        if known < self.oldest {
            return None;
        }
        let start = self.past.partition_point(|past| past.to <= known);
        let missed = self.past.range(start..).map(|past| past.frame.clone());
        Some(missed.collect())
    }

    /// Everything, to be made a frame of.
    #[must_use]
    pub fn draft(&self) -> Draft {
        let texts = self.facts.values().map(|known| Arc::clone(&known.text));
        Draft {
            store: self.store.clone(),
            revision: self.revision,
            texts: texts.collect(),
        }
    }

    /// Keeps a frame for all who need one.
    pub fn keep(&mut self, whole: Whole) {
        if whole.revision >= self.oldest {
            self.whole = Some(whole);
        }
    }
}

/// Everything that is known at a revision.
#[derive(Debug)]
pub struct Draft {
    store: String,
    revision: Revision,
    texts: Vec<Arc<str>>,
}

impl Draft {
    /// Makes the frame: a second's work when there are many facts.
    #[must_use]
    pub fn encode(self) -> Whole {
        // The name has hexadecimal digits only.
        let head = format!(
            "{{\"type\":\"whole\",\"store\":\"{}\",\"revision\":{}",
            self.store, self.revision
        );
        Whole {
            revision: self.revision,
            frame: assemble(&head, self.texts.iter().map(|text| &**text)),
        }
    }
}

/// The frame that says that nothing has happened.
pub fn alive(known: &Position) -> Bytes {
    let revision = known.revision;
    let store = None;
    pack_frame(&Frame::Alive { revision, store })
}

/// The same to an agent that knows it by an earlier name of the store's history.
pub fn renamed(known: &Position) -> Bytes {
    let (revision, store) = (known.revision, Some(known.store.clone()));
    pack_frame(&Frame::Alive { revision, store })
}

/// A frame with its facts, as serde would write it.
fn assemble<'t>(head: &str, texts: impl Iterator<Item = &'t str>) -> Bytes {
    let facts = texts
        .enumerate()
        .flat_map(|(place, text)| [if place > 0 { "," } else { "" }, text]);
    let head = [head, ",\"facts\":["].into_iter();
    pack(head.chain(facts).chain(["]}\n"]))
}

#[cfg(test)]
mod tests;
