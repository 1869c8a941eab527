//! What comes over the wire may be anything: it is understood or refused, and never more than that.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use api::agent::{ContainerFact, Fact, Frame, HostFact, JoinRequest, Report, Seen};
use api::container::{ContainerState, ContainerStatus, Port};
use api::host::{HostFacts, HostState};
use api::list::{Change, List};
use api::secret::{JoinToken, Key, Secret};
use api::{Container, Host, Id, Problem, Project, Role, name};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// For each property.
const CASES: u32 = 2000;

fn id(prefix: &'static str) -> impl Strategy<Value = Id> {
    any::<u64>().prop_map(move |bits| Id::from_bits(prefix, bits))
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(".{0,12}", ".{0,20}", 0..4)
}

fn ports() -> impl Strategy<Value = Vec<Port>> {
    let port =
        (any::<u16>(), any::<u16>(), "[a-z]{0,4}").prop_map(|(public, private, protocol)| Port {
            host_ip: String::new(),
            public,
            private,
            protocol,
        });
    prop::collection::vec(port, 0..3)
}

fn state() -> impl Strategy<Value = ContainerState> {
    use ContainerState::{Created, Paused, Restarting, Running, Stopped};
    prop::sample::select(vec![Created, Running, Paused, Restarting, Stopped])
}

fn seen() -> impl Strategy<Value = Seen> {
    let parts = (
        ".{0,20}",
        "[0-9a-f]{1,64}",
        any::<Option<[u8; 4]>>(),
        state(),
        labels(),
        ports(),
    );
    parts.prop_map(|(name, docker_id, address, state, labels, ports)| Seen {
        name,
        status: ContainerStatus {
            docker_id,
            state,
            address: address.map(Ipv4Addr::from),
            labels,
            ports,
            ..ContainerStatus::default()
        },
    })
}

fn report() -> impl Strategy<Value = Report> {
    let parts = (
        ".{0,20}",
        any::<u64>(),
        any::<Option<[u8; 16]>>(),
        any::<bool>(),
        prop::collection::vec(seen(), 0..4),
        prop::collection::vec("[0-9a-f]{1,64}", 0..3),
        (".{0,20}", any::<u64>()),
    );
    parts.prop_map(
        |(instance, sequence, address, whole, containers, gone, (hostname, memory))| Report {
            instance,
            sequence,
            facts: Some(HostFacts {
                hostname,
                memory,
                ..HostFacts::default()
            }),
            address: address.map(IpAddr::from),
            whole,
            containers,
            gone,
            ..Report::default()
        },
    )
}

fn fact() -> impl Strategy<Value = Fact> {
    let container = (id("c"), id("h"), seen()).prop_map(|(id, host, seen)| {
        Fact::Container(ContainerFact {
            id,
            name: seen.name,
            host,
            address: seen.status.address,
            host_network: false,
            state: seen.status.state,
            docker_id: seen.status.docker_id,
            hostname: String::new(),
            mac: String::new(),
            labels: seen.status.labels,
            ports: seen.status.ports,
        })
    });
    let host = (id("h"), ".{0,20}", labels()).prop_map(|(id, name, labels)| {
        Fact::Host(HostFact {
            id,
            name,
            hostname: String::new(),
            address: None,
            block: None,
            public_key: None,
            labels,
            state: HostState::Connected,
        })
    });
    prop_oneof![
        container,
        host,
        id("c").prop_map(Fact::NoContainer),
        id("h").prop_map(Fact::NoHost)
    ]
}

fn frame() -> impl Strategy<Value = Frame> {
    let facts = || prop::collection::vec(fact(), 0..4);
    prop_oneof![
        ("[0-9a-f]{0,32}", any::<u64>(), facts()).prop_map(|(store, revision, facts)| {
            Frame::Whole {
                store,
                revision,
                facts,
            }
        }),
        (any::<u64>(), any::<u64>(), facts()).prop_map(|(from, to, facts)| Frame::Changes {
            from,
            to,
            facts
        }),
        (any::<u64>(), proptest::option::of("[0-9a-f]{0,4}"))
            .prop_map(|(revision, store)| Frame::Alive { revision, store }),
        prop::collection::vec(".{0,20}", 0..3).prop_map(|urls| Frame::Servers { urls }),
        Just(Frame::Removed),
    ]
}

/// Reads bytes as everything that is read from the wire. What is understood can be said again, and is the same then.
fn read_all(bytes: &[u8]) {
    fn read<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
        if let Ok(value) = serde_json::from_slice::<T>(bytes) {
            let again = serde_json::to_vec(&value).unwrap();
            assert_eq!(serde_json::from_slice::<T>(&again).unwrap(), value);
        }
    }
    read::<Frame>(bytes);
    read::<Report>(bytes);
    read::<JoinRequest>(bytes);
    read::<Change<Container>>(bytes);
    read::<List<Host>>(bytes);
    read::<Project>(bytes);
    read::<Problem>(bytes);
    read::<Role>(bytes);
}

/// Bytes of which some were changed, left out or put in.
fn harmed(mut bytes: Vec<u8>, harm: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    for (place, byte, way) in harm {
        if bytes.is_empty() {
            break;
        }
        let place = place.index(bytes.len());
        match way % 4 {
            0 => bytes[place] = *byte,
            1 => drop(bytes.remove(place)),
            2 => bytes.insert(place, *byte),
            _ => bytes.truncate(place),
        }
    }
    bytes
}

fn harm() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u8)>> {
    prop::collection::vec(any::<(prop::sample::Index, u8, u8)>(), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
    }

    #[test]
    fn frames_come_back_and_may_be_harmed(frame in frame(), harm in harm()) {
        let bytes = serde_json::to_vec(&frame).unwrap();
        // One line, whatever names and labels hold.
        prop_assert!(!bytes.contains(&b'\n'));
        prop_assert_eq!(&serde_json::from_slice::<Frame>(&bytes).unwrap(), &frame);
        read_all(&harmed(bytes, &harm));
    }

    #[test]
    fn reports_come_back_and_may_be_harmed(report in report(), harm in harm()) {
        let bytes = serde_json::to_vec(&report).unwrap();
        prop_assert_eq!(&serde_json::from_slice::<Report>(&bytes).unwrap(), &report);
        read_all(&harmed(bytes, &harm));
    }

    #[test]
    fn secrets_have_one_form(bits in any::<u64>(), secret in any::<[u8; 16]>(), ca in any::<[u8; 32]>(), harm in harm()) {
        let secret = Secret::new(secret);
        let key = Key { id: Id::from_bits("k", bits), secret: secret.clone() };
        let token = JoinToken { id: Id::from_bits("t", bits), secret, ca };
        prop_assert_eq!(key.reveal().parse::<Key>(), Ok(key.clone()));
        prop_assert_eq!(token.reveal().parse::<JoinToken>(), Ok(token.clone()));
        for whole in [key.reveal(), token.reveal()] {
            let text = String::from_utf8_lossy(&harmed(whole.into_bytes(), &harm)).into_owned();
            // What is read says itself in one way only.
            if let Ok(read) = text.parse::<Key>() {
                prop_assert_eq!(read.reveal(), text.trim());
            }
            if let Ok(read) = text.parse::<JoinToken>() {
                prop_assert_eq!(read.reveal(), text.trim());
            }
        }
    }

    #[test]
    fn any_text_is_an_id_or_not(text in ".{0,40}", bits in any::<u64>(), harm in harm()) {
        let near = Id::from_bits("h", bits).to_string();
        let near = String::from_utf8_lossy(&harmed(near.into_bytes(), &harm)).into_owned();
        for text in [text, near] {
            if let Ok(id) = text.parse::<Id>() {
                prop_assert_eq!(id.as_str(), &text);
                prop_assert!(!text.contains('/') && text.is_ascii());
            }
            // Keys of the store are made of names.
            if name::check(&text).is_ok() {
                prop_assert!(!text.contains(['/', '.', '\0']) && text.len() <= 63);
            }
            if let Some(label) = name::label(&text) {
                prop_assert_eq!(name::check(&label), Ok(()));
            }
        }
    }

    #[test]
    fn labels_that_pass_can_be_asked_for(labels in prop::collection::btree_map(".{0,300}", ".{0,30}", 0..3)) {
        if name::check_labels(&labels).is_ok() {
            for key in labels.keys() {
                prop_assert!(!key.is_empty() && !key.contains([',', '=']));
            }
        }
    }
}
