//! What facts ask for, and what is said about facts that cannot be.

use super::*;
use api::network::NetworkSpec;

pub(crate) fn own() -> Own {
    Own {
        host: Id::from_bits("h", 1),
        name: "h1".into(),
        project: Id::from_bits("p", 1),
        project_name: "default".into(),
    }
}

/// A project of hosts 1 to `hosts`, with blocks 10.42.N.0/24 and addresses 192.0.2.N.
pub(crate) fn catalog(encapsulation: Encapsulation, hosts: u8) -> Catalog {
    let network = NetworkFact {
        id: Id::from_bits("n", 1),
        name: "ros".into(),
        spec: NetworkSpec {
            encapsulation,
            ..NetworkSpec::default()
        },
    };
    let host = |number: u8| HostFact {
        id: Id::from_bits("h", number.into()),
        name: format!("h{number}"),
        hostname: String::new(),
        address: Some(Ipv4Addr::new(192, 0, 2, number).into()),
        block: Some(format!("10.42.{number}.0/24").parse().unwrap()),
        public_key: Some(BASE64_STANDARD.encode([number; 32])),
        labels: BTreeMap::new(),
        state: HostState::Connected,
    };
    Catalog {
        store: "s".into(),
        revision: 1,
        networks: [(network.id.clone(), network)].into_iter().collect(),
        hosts: (1..=hosts)
            .map(host)
            .map(|host| (host.id.clone(), host))
            .collect(),
        ..Catalog::default()
    }
}

fn change(catalog: &mut Catalog, number: u64, change: impl FnOnce(&mut HostFact)) {
    let mut host = catalog
        .hosts
        .get(&Id::from_bits("h", number))
        .unwrap()
        .clone();
    change(&mut host);
    catalog.hosts.insert(host.id.clone(), host);
}

pub(crate) fn container(catalog: &mut Catalog, number: u64, host: u64, address: &str) {
    let container = ContainerFact {
        name: format!("c{number}"),
        host: Id::from_bits("h", host),
        address: Some(address.parse().unwrap()),
        state: ContainerState::Running,
        ..serde_json::from_value(serde_json::json!({
            "id": Id::from_bits("c", number), "name": "", "host": Id::from_bits("h", host), "address": null, "state": "running", "docker_id": "",
        }))
        .unwrap()
    };
    catalog.containers.insert(container.id.clone(), container);
}

fn network(catalog: &Catalog) -> Desired {
    match desired(catalog, &own()) {
        Wish::Network(desired) => *desired,
        other => panic!("{other:?}"),
    }
}

fn waits(catalog: &Catalog) -> String {
    match desired(catalog, &own()) {
        Wish::Wait(why) => why.join("\n"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_other_host_with_a_block_is_a_peer() {
    let mut catalog = catalog(Encapsulation::Wireguard, 3);
    change(&mut catalog, 3, |host| host.block = None);
    let desired = network(&catalog);
    assert_eq!(
        (desired.block.to_string(), desired.port),
        ("10.42.1.0/24".into(), 51_820)
    );
    assert_eq!(gateway(desired.block).to_string(), "10.42.1.1");
    assert_eq!(desired.told_key, Some([1; 32]));
    let peer = Peer {
        name: "h2".into(),
        address: "192.0.2.2".parse().unwrap(),
        block: "10.42.2.0/24".parse().unwrap(),
        strays: Vec::new(),
        key: Some([2; 32]),
    };
    assert_eq!(desired.peers, [peer]);
    assert_eq!(desired.problems, Vec::<String>::new());
}

#[test]
fn nothing_is_done_before_the_server_has_spoken() {
    assert_eq!(desired(&Catalog::default(), &own()), Wish::default());
    let mut told = catalog(Encapsulation::Vxlan, 2);
    change(&mut told, 1, |host| host.block = None);
    assert!(
        waits(&told).contains("no block of network ros yet"),
        "{}",
        waits(&told)
    );
    let mut told = catalog(Encapsulation::Vxlan, 2);
    change(&mut told, 1, |host| host.address = None);
    assert!(
        waits(&told).contains("ros hosts set h1 --address A"),
        "{}",
        waits(&told)
    );
    let mut told = catalog(Encapsulation::Vxlan, 2);
    change(&mut told, 1, |host| {
        host.block = Some("10.99.0.0/24".parse().unwrap())
    });
    assert!(
        waits(&told).contains("10.99.0.0/24 of this host is not a part"),
        "{}",
        waits(&told)
    );
    let mut told = catalog(Encapsulation::Vxlan, 2);
    told.hosts.remove(&own().host);
    assert!(
        waits(&told).contains("has not told of this host"),
        "{}",
        waits(&told)
    );
    let mut told = catalog(Encapsulation::Vxlan, 2);
    told.networks = [].into_iter().collect();
    assert_eq!(desired(&told, &own()), Wish::Nothing);
}

#[test]
fn a_bad_host_does_not_hinder_the_others() {
    let mut catalog = catalog(Encapsulation::Wireguard, 6);
    change(&mut catalog, 2, |host| {
        host.block = Some("10.42.1.128/25".parse().unwrap())
    });
    change(&mut catalog, 3, |host| host.address = None);
    change(&mut catalog, 4, |host| {
        host.public_key = Some("not a key".into())
    });
    change(&mut catalog, 5, |host| {
        host.address = Some("192.0.2.6".parse().unwrap())
    });
    let desired = network(&catalog);
    let names: Vec<&str> = desired
        .peers
        .iter()
        .map(|peer| peer.name.as_str())
        .collect();
    assert_eq!(names, ["h5", "h6"]);
    let problems = desired.problems.join("\n");
    for part in [
        "block 10.42.1.128/25 of host h2 is not its alone",
        "address of host h3 is not known",
        "host h4 has not told a WireGuard key",
        "h5 and host h6 have the same address 192.0.2.6",
    ] {
        assert!(problems.contains(part), "{part}: {problems}");
    }
    assert_eq!(desired.problems.len(), 4, "{problems}");
    // One that has left for a while is not complained about.
    change(&mut catalog, 4, |host| host.state = HostState::Disconnected);
    assert_eq!(network(&catalog).problems.len(), 3);
}

#[test]
fn containers_outside_their_hosts_blocks_are_known() {
    let mut catalog = catalog(Encapsulation::Vxlan, 3);
    container(&mut catalog, 1, 2, "10.42.2.9");
    container(&mut catalog, 2, 2, "10.42.3.9");
    container(&mut catalog, 3, 2, "10.42.3.10");
    // Who is first among those that are not at home, has it.
    container(&mut catalog, 4, 3, "10.42.3.10");
    container(&mut catalog, 5, 2, "10.42.1.11");
    container(&mut catalog, 6, 3, "10.42.1.11");
    let desired = network(&catalog);
    let at = |text: &str| text.parse::<Ipv4Addr>().unwrap();
    assert_eq!(desired.peers[0].strays, [at("10.42.3.9"), at("10.42.1.11")]);
    assert_eq!(desired.peers[1].strays, Vec::<Ipv4Addr>::new());
    assert_eq!(desired.refused, BTreeSet::new());
    let problems = desired.problems.join("\n");
    for says in [
        "containers c4 and c3 both have the address 10.42.3.10",
        "containers c5 and c6 both have the address 10.42.1.11",
    ] {
        assert!(problems.contains(says), "{says}: {problems}");
    }
    assert_eq!(desired.problems.len(), 2, "{problems}");
}

#[test]
fn a_container_cannot_take_what_is_anothers() {
    let mut catalog = catalog(Encapsulation::Vxlan, 3);
    // Ahead by its id, and not at home.
    container(&mut catalog, 1, 1, "10.42.2.7");
    container(&mut catalog, 2, 2, "10.42.2.7");
    container(&mut catalog, 3, 1, "10.42.2.1");
    container(&mut catalog, 4, 2, "10.42.3.1");
    container(&mut catalog, 5, 2, "10.42.1.0");
    container(&mut catalog, 6, 1, "10.42.3.7");
    let desired = network(&catalog);
    for peer in &desired.peers {
        assert_eq!(peer.strays, Vec::<Ipv4Addr>::new(), "{}", peer.name);
    }
    let at = |text: &str| text.parse::<Ipv4Addr>().unwrap();
    assert_eq!(desired.refused, [at("10.42.2.1"), at("10.42.2.7")].into());
    let problems = desired.problems.join("\n");
    for says in [
        "container c3 has the address 10.42.2.1, which is host h2's own",
        "containers c2 and c1 both have the address 10.42.2.7",
    ] {
        assert!(problems.contains(says), "{says}: {problems}");
    }
    // What is refused on other hosts is told there.
    assert_eq!(desired.problems.len(), 2, "{problems}");
}

#[test]
fn hosts_of_both_ip_versions_need_wireguard() {
    let six = |catalog: &mut Catalog| {
        change(catalog, 2, |host| {
            host.address = Some("2001:db8::2".parse().unwrap())
        })
    };
    let mut vxlan = catalog(Encapsulation::Vxlan, 2);
    six(&mut vxlan);
    let desired = network(&vxlan);
    assert!(
        desired.peers.is_empty() && desired.problems[0].contains("addresses of different kinds"),
        "{desired:?}"
    );
    let mut wireguard = catalog(Encapsulation::Wireguard, 2);
    six(&mut wireguard);
    assert_eq!(network(&wireguard).peers.len(), 1);
}
