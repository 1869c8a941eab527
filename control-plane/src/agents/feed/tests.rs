//! What agents are told, frame by frame.

use super::*;
use crate::agents::pack::tests::unpack;
use crate::objects;
use api::Container;
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

fn gone(name: &str, bits: u64, revision: Revision) -> Change {
    let key = put(name, bits, revision).key().to_owned();
    Change::Delete { key, revision }
}

fn at(store: &str, revision: Revision) -> Position {
    let store = store.to_owned();
    Position { store, revision }
}

/// What an agent is told that knows this, and what it knows then.
fn told(feed: &mut Feed, mut known: Position) -> (Vec<Frame>, Revision) {
    let shown = feed.revision;
    let missed = feed.missed(&mut known, shown).or_else(|| {
        feed.keep(feed.draft().encode());
        feed.missed(&mut known, shown)
    });
    let missed = missed.unwrap();
    let frames = if missed.is_empty() {
        Vec::new()
    } else {
        unpack(&missed)
    };
    (frames, known.revision)
}

/// From where to where frames lead, and how many facts they hold.
fn steps(frames: &[Frame]) -> Vec<(u64, u64, usize)> {
    let steps = frames.iter().map(|frame| match frame {
        Frame::Changes { from, to, facts } => (*from, *to, facts.len()),
        other => panic!("{other:?}"),
    });
    steps.collect()
}

#[test]
fn an_agent_gets_what_it_missed() {
    let mut feed = Feed::new("s", 1, []);
    feed.take(2, [&put("a", 1, 2)]).unwrap();
    feed.take(3, [&put("b", 2, 3)]).unwrap();
    assert!(
        feed.take(4, [&put("b", 2, 4)]).is_none(),
        "nothing new in it"
    );
    feed.take(5, [&gone("a", 1, 5)]).unwrap();
    let (missed, known) = told(&mut feed, at("s", 2));
    assert_eq!((steps(&missed), known), (vec![(2, 3, 1), (3, 5, 1)], 5));
    // Another server may have put other changes together.
    let (missed, known) = told(&mut feed, at("s", 4));
    assert_eq!((steps(&missed), known), (vec![(3, 5, 1)], 5));
    assert_eq!(told(&mut feed, at("s", 5)), (vec![], 5));
    for (store, known) in [("s", 0), ("s", 9), ("other", 5), ("", 0)] {
        let (first, known) = told(&mut feed, at(store, known));
        let [
            Frame::Whole {
                revision: 5, facts, ..
            },
        ] = &first[..]
        else {
            panic!("{first:?}")
        };
        assert_eq!((facts.len(), known), (1, 5));
    }
}

#[test]
fn what_concerns_nobody_is_not_missed() {
    let mut feed = Feed::new("s", 5, []);
    // The store has gone on to 9 without news; an agent has heard so from another server.
    let mut known = at("s", 8);
    assert_eq!(feed.missed(&mut known, 9), Some(vec![]));
    assert_eq!(known, at("s", 8));
    feed.take(12, [&put("a", 1, 12)]).unwrap();
    let missed = feed.missed(&mut known, 12).unwrap();
    assert_eq!(steps(&unpack(&missed)), [(5, 12, 1)]);
    assert_eq!(known, at("s", 12));
}

#[test]
fn a_whole_is_encoded_once_for_many() {
    let mut feed = Feed::new("s", 0, []);
    feed.take(1, [&put("a", 1, 1)]);
    assert_eq!(feed.missed(&mut at("", 0), 1), None);
    feed.keep(feed.draft().encode());
    let one = feed.missed(&mut at("", 0), 1).unwrap();
    feed.take(2, [&put("b", 2, 2)]);
    let mut known = at("", 0);
    let other = feed.missed(&mut known, 2).unwrap();
    assert_eq!(other[0].as_ptr(), one[0].as_ptr());
    assert_eq!((other.len(), known), (2, at("s", 2)));
}

#[test]
fn what_is_too_long_ago_is_forgotten() {
    let mut feed = Feed::new("s", 0, []);
    // Names that cannot be packed.
    let noise = |_| char::from(rand::random_range(b'a'..=b'z'));
    for revision in 1..=8 {
        let name: String = (0..1 << 20).map(noise).collect();
        feed.take(revision, [&put(&name, 1, revision)]);
    }
    assert!(feed.past_bytes <= REMEMBERED && feed.past.len() > 3);
    let oldest = feed.oldest;
    assert_eq!(feed.missed(&mut at("s", oldest - 1), 8), None);
    let missed = feed.missed(&mut at("s", oldest), 8).unwrap();
    assert_eq!(missed.len(), feed.past.len());
}

#[test]
fn a_server_that_has_started_knows_what_has_happened() {
    let batch = |revision, changes: Vec<Change>| Batch { revision, changes };
    let history = [
        batch(11, vec![put("a", 1, 11), put("b", 2, 11)]),
        batch(13, vec![gone("a", 1, 13)]),
    ];
    let Change::Put(entry) = put("b", 2, 11) else {
        panic!()
    };
    let mut feed = Feed::new("s", 20, [&entry]);
    feed.recall(10, &history);
    assert_eq!(told(&mut feed, at("s", 13)), (vec![], 13));
    let (missed, known) = told(&mut feed, at("s", 12));
    assert_eq!((steps(&missed), known), (vec![(10, 13, 2)], 13));
    let (missed, _) = told(&mut feed, at("s", 9));
    assert!(matches!(&missed[..], [Frame::Whole { .. }]), "{missed:?}");
    // It goes on from there.
    feed.take(22, [&put("c", 3, 22)]).unwrap();
    let (missed, known) = told(&mut feed, at("s", 13));
    assert_eq!((steps(&missed), known), (vec![(13, 22, 1)], 22));
}

#[test]
fn what_is_not_there_any_more_is_found_out() {
    let mut feed = Feed::new("s", 0, []);
    feed.take(1, [&put("a", 1, 1), &put("b", 2, 1)]);
    let keep = put("b", 2, 1);
    let project = Id::from_bits("p", 1);
    let surplus = feed.surplus(&project, &BTreeSet::from([keep.key()]), 4);
    assert_eq!(surplus, [gone("a", 1, 4)]);
}
