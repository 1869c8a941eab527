//! Verdicts as people read them, of clusters that are well and that are not.

use std::net::Ipv4Addr;
use std::time::Duration;

use api::host::Reach;
use api::network::{Encapsulation, NetworkSpec};
use api::resource::{Meta, Resource};

use super::*;
use crate::cluster::check::words::{Length, text};

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn before(seconds: u64) -> Timestamp {
    now() - Duration::from_secs(seconds)
}

fn meta(prefix: &str, bits: u64, name: &str) -> Meta {
    Meta {
        id: Id::from_bits(prefix, bits),
        project: None,
        name: name.into(),
        labels: Default::default(),
        created: before(7_200),
        revision: 0,
        generation: 1,
    }
}

fn network(encapsulation: Encapsulation) -> Network {
    Resource {
        meta: meta("n", 1, "ros"),
        spec: NetworkSpec {
            encapsulation,
            ..NetworkSpec::default()
        },
        status: Default::default(),
    }
}

/// Hosts `h1`, `h2` …, each connected and reaching all others.
fn hosts(count: u64) -> Vec<Host> {
    (1..=count)
        .map(|number| {
            let mut host: Host = Resource {
                meta: meta("h", number, &format!("h{number}")),
                spec: Default::default(),
                status: Default::default(),
            };
            let last = u8::try_from(number).unwrap();
            host.status.state = HostState::Connected;
            host.status.since = Some(before(3_600));
            host.status.address = Some(Ipv4Addr::new(10, 0, 0, last).into());
            host.status.block = Some(format!("10.42.{last}.0/24").parse().unwrap());
            host.status.facts.agent = "2.0.0".into();
            host.status.facts.mtu = 1500;
            host.status.reach = Reach {
                at: Some(before(20)),
                clock_skew_ms: Some(12),
                peers: (1..=count)
                    .filter(|other| *other != number)
                    .map(reached)
                    .collect(),
            };
            host
        })
        .collect()
}

fn reached(bits: u64) -> PeerReach {
    PeerReach {
        host: Id::from_bits("h", bits),
        reachable: true,
        rtt_us: Some(430),
        mtu_ok: Some(true),
        outside: Some(true),
        since: before(3_000),
    }
}

/// `from` does not reach `to` any more.
fn cut(hosts: &mut [Host], from: usize, to: usize, outside: bool) {
    let id = hosts[to - 1].meta.id.clone();
    let peers = &mut hosts[from - 1].status.reach.peers;
    let peer = peers.iter_mut().find(|peer| peer.host == id).unwrap();
    *peer = PeerReach {
        reachable: false,
        rtt_us: None,
        mtu_ok: None,
        outside: Some(outside),
        since: before(180),
        ..peer.clone()
    };
}

fn told(hosts: &[Host], network: &Network) -> String {
    let verdict = judge(hosts, Some(network), now());
    text(&verdict, Length::Readable, now())
}

#[test]
fn all_is_well() {
    insta::assert_snapshot!(told(&hosts(3), &network(Encapsulation::Wireguard)));
}

#[test]
fn a_port_is_closed_between_two() {
    let mut all = hosts(3);
    cut(&mut all, 1, 2, true);
    cut(&mut all, 2, 1, true);
    insta::assert_snapshot!(told(&all, &network(Encapsulation::Wireguard)));
}

#[test]
fn one_way_only_and_no_way_at_all() {
    let mut all = hosts(3);
    cut(&mut all, 1, 2, true);
    cut(&mut all, 3, 1, false);
    insta::assert_snapshot!(told(&all, &network(Encapsulation::Direct)));
}

#[test]
fn nobody_reaches_one_of_many() {
    let mut all = hosts(9);
    for other in 1..=8 {
        cut(&mut all, other, 9, true);
        cut(&mut all, 9, other, true);
    }
    insta::assert_snapshot!(told(&all, &network(Encapsulation::Vxlan)));
}

#[test]
fn hosts_that_are_away_and_clocks_that_are_off() {
    let mut all = hosts(4);
    all[0].status.state = HostState::Disconnected;
    cut(&mut all, 2, 1, false);
    cut(&mut all, 3, 1, false);
    cut(&mut all, 4, 1, false);
    all[1].status.reach.clock_skew_ms = Some(-90_000);
    all[2].status.reach.clock_skew_ms = Some(400_000_000);
    all[3].status.problems = vec!["the subnet 10.42.0.0/16 is in use on eth1; choose another: `ros networks set ros --subnet`".into()];
    insta::assert_snapshot!(told(&all, &network(Encapsulation::Vxlan)));
}

#[test]
fn large_packets_addresses_and_what_is_new() {
    let mut all = hosts(4);
    all[0].status.reach.peers[0].mtu_ok = Some(false);
    all[1].status.reach.peers[0].mtu_ok = Some(false);
    all[2].status.reach.peers[0].mtu_ok = Some(false);
    all[2].status.facts.mtu = 1300;
    all[2].status.address = Some(Ipv4Addr::LOCALHOST.into());
    all[3].status.address = all[1].status.address;
    all[3].status.facts.agent = "2.0.1".into();
    all[3].status.reach = Reach::default();
    insta::assert_snapshot!(told(&all, &network(Encapsulation::Wireguard)));
}

#[test]
fn of_many_hosts_those_are_shown_that_differ() {
    let mut all = hosts(40);
    all[1].status.state = HostState::Reconnecting;
    all[2].status.reach.clock_skew_ms = Some(-5_500);
    all[3].status.facts.mtu = 1400;
    all[4].status.facts.mtu = 0;
    all.iter_mut()
        .for_each(|host| host.status.reach.peers.clear());
    insta::assert_snapshot!(told(&all, &network(Encapsulation::Wireguard)));
}

#[test]
fn the_mtu_of_a_host_is_what_its_link_and_the_network_leave() {
    let mtu = |hosts: &[Host], network: &Network| {
        let verdict = judge(hosts, Some(network), now());
        (verdict.hosts[0].link_mtu, verdict.hosts[0].mtu)
    };
    let mut wireguard = network(Encapsulation::Wireguard);
    let mut all = hosts(2);
    assert_eq!(mtu(&all, &wireguard), (Some(1500), Some(1440)));
    wireguard.spec.mtu = Some(1400);
    assert_eq!(mtu(&all, &wireguard), (Some(1500), Some(1400)));
    wireguard.spec.mtu = Some(9000);
    all[1].spec.address = Some("fd00::2".parse().unwrap());
    assert_eq!(mtu(&all, &wireguard), (Some(1500), Some(1420)));
    all[0].status.facts.mtu = 0;
    assert_eq!(mtu(&all, &wireguard), (None, None));
    assert_eq!(
        mtu(&hosts(2), &network(Encapsulation::Direct)),
        (Some(1500), Some(1500))
    );
}

#[test]
fn one_host_and_none() {
    let network = network(Encapsulation::Wireguard);
    assert!(told(&hosts(1), &network).ends_with("\n1 host, 0 ways: nothing to reach yet.\n"));
    assert!(told(&[], &network).ends_with("\n0 hosts, 0 ways: nothing to reach yet.\n"));
}
