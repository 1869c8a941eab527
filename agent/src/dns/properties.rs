//! What must hold for every packet, however it is made: nothing panics, no answer is longer than its client takes, and hickory, which shares no
//! line with this, reads the same in it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::Duration;

use api::Id;
use api::agent::{ContainerFact, HostFact};
use api::container::ContainerState;
use api::host::HostState;
use hickory_proto::op::{Edns, Message as Judge, MessageType, Query as JudgedQuery, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, SOA, TXT};
use hickory_proto::rr::{Name as JudgedName, RData, Record, RecordType};
use proptest::collection::vec;
use proptest::prelude::*;

use super::answer::{Answerer, Outcome};
use super::message::Message;
use super::query::{Query, Transport, Unfit};
use super::reply;
use super::wire::Name;
use super::zone::{Found, Zone};
use crate::Catalog;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 42, 0, 9));

/// As the servers do it. `None`: silence, or somebody else's.
fn answer(packet: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let zone = Zone::build(&Catalog::default());
    let mut out = Vec::new();
    let query = match Query::read(packet) {
        Ok(query) => query,
        Err(Unfit::Ignore) => return None,
        Err(Unfit::Reply(rcode)) => {
            reply::refuse(&mut out, packet, rcode);
            return Some(out);
        }
    };
    let found = Answerer::new().answer(&zone, &query, (CLIENT, transport), &mut out);
    assert!(transport == Transport::Tcp || out.len() <= query.limit(transport));
    (found != Outcome::Foreign).then_some(out)
}

/// Labels of any bytes, ours among them.
fn labels() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let own = [
        "rancher",
        "internal",
        "in-addr",
        "arpa",
        "rancher-metadata",
        "10",
        "42",
    ];
    let own = proptest::sample::select(own.to_vec()).prop_map(|label| label.as_bytes().to_vec());
    vec(prop_oneof![vec(any::<u8>(), 1..=63), own], 0..6)
}

fn question(labels: &[Vec<u8>], kind: u16, class: u16) -> Vec<u8> {
    let mut packet = vec![0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in labels {
        packet.push(u8::try_from(label.len()).unwrap());
        packet.extend_from_slice(label);
    }
    packet.push(0);
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&class.to_be_bytes());
    packet
}

/// An answer as a resolver may give it, in hickory's words.
fn response() -> impl Strategy<Value = Judge> {
    let name = |text: &str| JudgedName::from_str(text).unwrap();
    let texts = vec("[a-z]{0,200}", 1..4).prop_map(|texts| RData::TXT(TXT::new(texts)));
    let address = any::<u32>().prop_map(|bits| RData::A(A(Ipv4Addr::from(bits))));
    let alias = Just(RData::CNAME(CNAME(name("b.example.test."))));
    let data = prop_oneof![texts, address, alias];
    let records = vec((data, 0_u32..400_000), 0..20);
    (records, any::<bool>(), any::<bool>()).prop_map(move |(records, has_edns, is_nothing)| {
        let mut message = Judge::query();
        message.metadata.message_type = MessageType::Response;
        message.add_query(JudgedQuery::query(name("a.example.test."), RecordType::A));
        for (data, ttl) in records {
            message.add_answer(Record::from_rdata(name("a.example.test."), ttl, data));
        }
        if is_nothing {
            let head = SOA::new(name("ns.test."), name("h.test."), 1, 2, 3, 4, 5);
            let head = Record::from_rdata(name("example.test."), 60, RData::SOA(head));
            message.add_authority(head);
            message.metadata.response_code = ResponseCode::NXDomain;
        }
        if has_edns {
            message.set_edns(Edns::new());
        }
        message
    })
}

/// A catalog of few names, addresses and hosts, so that they meet.
fn known() -> impl Strategy<Value = Catalog> {
    let states = [
        ContainerState::Running,
        ContainerState::Paused,
        ContainerState::Stopped,
    ];
    let container = (
        0_u64..8,
        0..3_usize,
        0_u64..3,
        0_u8..3,
        proptest::option::of(0..2_usize),
    );
    let containers = vec(container, 0..8);
    (containers, vec(any::<bool>(), 3)).prop_map(move |(containers, lost)| {
        let mut catalog = Catalog::default();
        for (bits, is_lost) in (0..).zip(lost) {
            let state = if is_lost {
                HostState::Disconnected
            } else {
                HostState::Connected
            };
            catalog
                .hosts
                .insert(Id::from_bits("h", bits), host(bits, state));
        }
        for (bits, name, on, state, service) in containers {
            let mut one = container_of(bits, ["a", "b", "c"][name], on);
            one.state = states[usize::from(state)];
            one.hostname = ["b", "x"][usize::from(bits % 2 == 0)].into();
            let labels = service.map(|at| [("service", ["web", "db"][at]), ("project", "c")]);
            let labels = labels.into_iter().flatten();
            let labels = labels.map(|(k, v)| (format!("com.docker.compose.{k}"), v.into()));
            one.labels.extend(labels);
            catalog.containers.insert(one.id.clone(), one);
        }
        catalog
    })
}

fn host(bits: u64, state: HostState) -> HostFact {
    HostFact {
        id: Id::from_bits("h", bits),
        name: String::new(),
        hostname: String::new(),
        address: (state == HostState::Connected || bits > 0).then(|| [192, 0, 2, 1].into()),
        block: None,
        public_key: None,
        labels: BTreeMap::new(),
        state,
    }
}

fn container_of(bits: u64, name: &str, host: u64) -> ContainerFact {
    ContainerFact {
        id: Id::from_bits("c", bits),
        name: name.into(),
        host: Id::from_bits("h", host),
        address: (bits % 4 != 3).then(|| [10, 42, 0, u8::try_from(bits).unwrap()].into()),
        state: ContainerState::Running,
        docker_id: format!("{bits:064}"),
        hostname: String::new(),
        mac: String::new(),
        labels: BTreeMap::new(),
        ports: Vec::new(),
        host_network: bits % 4 == 3,
    }
}

proptest! {
    #[test]
    fn a_zone_that_followed_changes_is_one_made_anew(all in vec(known(), 1..6)) {
        let (mut zone, mut shown) = (Zone::default(), Catalog::default());
        for catalog in all {
            zone = zone.next(&shown, &catalog);
            shown = catalog;
            prop_assert_eq!(&zone, &Zone::build(&shown));
        }
        // Nothing is left behind.
        prop_assert_eq!(zone.next(&shown, &Catalog::default()), Zone::default());
    }

    #[test]
    fn any_bytes(packet in vec(any::<u8>(), 0..600)) {
        for transport in [Transport::Udp, Transport::Tcp] {
            if let Some(answer) = answer(&packet, transport) {
                prop_assert_eq!(&answer[..2], &packet[..2]);
                prop_assert!(Judge::from_vec(&answer).is_ok(), "{:x?}", answer);
            }
        }
        drop(Message::read(&packet));
    }

    #[test]
    fn any_question(
        labels in labels(),
        kind in prop_oneof![Just(1_u16), Just(12), Just(6), any::<u16>()],
        class in prop_oneof![8 => Just(1_u16), 1 => any::<u16>()],
        rest in vec(any::<u8>(), 0..30),
        additional in 0_u8..3,
    ) {
        let mut packet = question(&labels, kind, class);
        packet.extend_from_slice(&rest);
        packet[11] = additional;
        if let Some(answer) = answer(&packet, Transport::Udp) {
            prop_assert!(Judge::from_vec(&answer).is_ok(), "{:x?}", answer);
        }
    }

    #[test]
    fn names_mean_the_same_in_any_case(labels in labels(), seed in any::<u64>()) {
        let packet = question(&labels, 1, 1);
        let mut mixed = packet.clone();
        for (place, byte) in mixed[12..].iter_mut().enumerate() {
            if byte.is_ascii_alphabetic() && seed >> (place % 64) & 1 == 1 {
                *byte ^= 0x20;
            }
        }
        // A label's length may be a letter, too.
        prop_assume!(Name::read(&mixed, 12).is_some_and(|(_, end)| end + 4 == mixed.len()));
        let zone = Zone::build(&Catalog::default());
        let read = |packet: &[u8]| Name::read(packet, 12).map(|(name, _)| {
            (name.as_bytes().to_vec(), zone.find(&name, CLIENT) == Found::Foreign)
        });
        prop_assert_eq!(read(&packet), read(&mixed));
    }

    #[test]
    fn answers_of_others_stay_what_they_are(
        message in response(),
        age in 0_u64..100,
        edns in proptest::option::of(any::<u16>()),
        transport in prop_oneof![Just(Transport::Udp), Just(Transport::Tcp)],
    ) {
        let read = Message::read(&message.to_vec().unwrap()).unwrap();
        let mut question = question(&[b"a".to_vec(), b"Example".to_vec(), b"test".to_vec()], 1, 1);
        if let Some(size) = edns {
            question[11] = 1;
            let [high, low] = size.to_be_bytes();
            question.extend_from_slice(&[0, 0, 41, high, low, 0, 0, 0, 0, 0, 0]);
        }
        let query = Query::read(&question).unwrap();
        let mut out = Vec::new();
        read.write(&mut out, &query, transport, Duration::from_secs(age));
        prop_assert!(out.len() <= query.limit(transport));
        prop_assert_eq!(&out[12..29], &question[12..29]);
        let judged = Judge::from_vec(&out).unwrap();
        prop_assert_eq!(judged.edns.is_some(), edns.is_some());
        if !judged.metadata.truncation {
            let mut expected = message.answers.clone();
            for record in &mut expected {
                record.ttl = record.ttl.saturating_sub(u32::try_from(age).unwrap());
            }
            prop_assert_eq!(&judged.answers, &expected);
            prop_assert_eq!(judged.authorities.len(), message.authorities.len());
        }
        let least = message.answers.iter().map(|record| record.ttl).min();
        let expected = match message.metadata.response_code {
            ResponseCode::NXDomain => Some(5.min(least.unwrap_or(5))),
            _ => least.map(|ttl| ttl.min(86_400)),
        };
        let expected = expected.filter(|ttl| *ttl > 0).map(|ttl| Duration::from_secs(ttl.into()));
        prop_assert_eq!(read.lifetime(), expected);
    }

    #[test]
    fn damaged_answers_of_others(
        message in response(),
        flips in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut packet = message.to_vec().unwrap();
        for (at, value) in flips {
            let at = at.index(packet.len());
            packet[at] = value;
        }
        packet.truncate(cut.index(packet.len()) + 1);
        if let Ok(read) = Message::read(&packet) {
            let labels = [b"a".to_vec(), b"example".to_vec(), b"test".to_vec()];
            let question = question(&labels, 1, 1);
            let query = Query::read(&question).unwrap();
            // What does not answer the question is never given to anybody.
            if read.answers(u16::from_be_bytes([packet[0], packet[1]]), query.question) {
                let mut out = Vec::new();
                read.write(&mut out, &query, Transport::Udp, Duration::from_secs(1));
                prop_assert!(out.len() <= 512);
            }
        }
    }
}
