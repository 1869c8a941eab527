//! The network of hosts that are network namespaces, each with a real dockerd: what is made, that packets get through, that a second look
//! changes nothing, and that nothing is left in the end.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod overlay_hosts;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use agent::Catalog;
use agent::catalog::Facts;
use api::Id;
use api::agent::{HostFact, NetworkFact};
use api::host::HostState;
use api::network::{Encapsulation, NetworkSpec};
use overlay_hosts::{Host, Switch, ask, can_run, connect, run, within};

/// Where the agent says that it is there.
const ALIVE: &str = "/proc/thread-self/net/xt_recent/ros-alive";

fn catalog(encapsulation: Encapsulation, hosts: &[u8]) -> Catalog {
    let network = NetworkFact {
        id: Id::from_bits("n", 1),
        name: "ros".into(),
        spec: NetworkSpec {
            encapsulation,
            ..NetworkSpec::default()
        },
    };
    let host = |number: &u8| HostFact {
        id: Id::from_bits("h", (*number).into()),
        name: format!("h{number}"),
        hostname: format!("h{number}"),
        address: Some(Ipv4Addr::new(192, 168, 77, *number).into()),
        block: Some(format!("10.42.{number}.0/24").parse().unwrap()),
        public_key: None,
        labels: BTreeMap::new(),
        state: HostState::Connected,
    };
    let hosts = hosts.iter().map(host).map(|host| (host.id.clone(), host));
    Catalog {
        store: "s".into(),
        revision: 1,
        networks: [(network.id.clone(), network)].into_iter().collect(),
        hosts: hosts.collect(),
        containers: Facts::default(),
    }
}

fn settle_all(hosts: &[Host], catalog: &Catalog) {
    for host in hosts {
        let (state, _) = host.settle(catalog);
        assert_eq!(state.problems, Vec::<String>::new(), "{}", host.own.name);
        assert_eq!(state.network.unwrap().name, "ros");
        let (_, steps) = host.settle(catalog);
        assert_eq!(
            steps, 0,
            "{}: a second look changes something",
            host.own.name
        );
    }
}

#[test]
fn containers_reach_each_other_by_vxlan() {
    if !can_run() {
        return;
    }
    let mut switch = Switch::new("ov");
    let hosts: Vec<Host> = (1..=3).map(|number| Host::new(&switch, number)).collect();
    let catalog = catalog(Encapsulation::Vxlan, &[1, 2, 3]);
    settle_all(&hosts, &catalog);
    let ends: Vec<String> = hosts
        .iter()
        .zip(1..)
        .map(|(host, number)| switch.container(host, &format!("10.42.{number}.7")))
        .collect();
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let seen = connect(&ends[from], &ends[to], &format!("10.42.{}.7", to + 1));
        assert_eq!(
            seen,
            Ok(Ipv4Addr::new(10, 42, from as u8 + 1, 7)),
            "{from} to {to}"
        );
    }
    // From the host itself, too, with its address in the network.
    assert_eq!(
        connect(&hosts[0].space, &ends[1], "10.42.2.7"),
        Ok(Ipv4Addr::new(10, 42, 1, 1))
    );
    // What leaves the network carries the host's address.
    assert_eq!(
        connect(&ends[0], &switch.space, "192.168.77.254"),
        Ok(Ipv4Addr::new(192, 168, 77, 1))
    );
    // The network alone does not draw questions here: whoever answers them says so.
    let tell = |word: &'static str| {
        within(&hosts[0].space, move || {
            std::fs::write(ALIVE, word).unwrap()
        });
    };
    let answer = ask(
        &ends[0],
        "192.168.77.254:53",
        &switch.space,
        "192.168.77.254:53",
    );
    assert_eq!(answer.as_deref(), Some("192.168.77.1"));
    // Questions for names come to this host, whomever they are for.
    tell("+0.0.0.0");
    let answer = ask(
        &ends[0],
        "8.8.8.8:53",
        &hosts[0].space,
        "169.254.169.250:53",
    );
    assert_eq!(answer.as_deref(), Some("10.42.1.7"));
    // When the agent has been gone for a while, they go where they were sent.
    tell("-0.0.0.0");
    let answer = ask(
        &ends[0],
        "192.168.77.254:53",
        &switch.space,
        "192.168.77.254:53",
    );
    assert_eq!(answer.as_deref(), Some("192.168.77.1"));
    tell("+0.0.0.0");
    let answer = ask(
        &ends[0],
        "192.168.77.254:53",
        &hosts[0].space,
        "169.254.169.250:53",
    );
    assert_eq!(answer.as_deref(), Some("10.42.1.7"));
    // From elsewhere, nobody may ask.
    run(&format!(
        "ip -n {} route add 169.254.169.250 via 192.168.77.1",
        switch.space
    ));
    let answer = ask(
        &switch.space,
        "169.254.169.250:53",
        &hosts[0].space,
        "169.254.169.250:53",
    );
    assert_eq!(answer, None);
    for host in &hosts {
        host.take_down();
        assert_nothing_left(host);
        host.take_down();
    }
}

#[test]
fn what_was_broken_is_mended() {
    if !can_run() {
        return;
    }
    let switch = Switch::new("om");
    let mut host = Host::new(&switch, 1);
    let catalog = catalog(Encapsulation::Vxlan, &[1, 2]);
    host.settle(&catalog);
    let mended = |host: &Host, what: &str| {
        let (state, steps) = host.settle(&catalog);
        assert_eq!(state.problems, Vec::<String>::new(), "{what}");
        assert!(steps > 0, "{what}: nothing is mended");
        assert_eq!(host.settle(&catalog).1, 0, "{what}: it is mended twice");
    };
    host.run("iptables -F DOCKER-USER");
    mended(&host, "a flushed chain of Docker");
    host.run("iptables -D ROS-SERVICES 1");
    mended(&host, "a rule of ours");
    host.run("iptables -t nat -F");
    mended(&host, "a flushed table");
    host.run("ip route del 10.42.2.0/24");
    mended(&host, "a route");
    host.run("ip link del ros-vx");
    mended(&host, "a link");
    host.run("ip address del 169.254.169.250/32 dev lo");
    mended(&host, "an address");
    host.stop_docker();
    // What Docker said last is not known to a new agent: it waits.
    let (state, steps) = host.settle(&catalog);
    assert!(
        state.problems[0].starts_with("Docker does not answer"),
        "{state:?}"
    );
    assert_eq!(steps, 0);
    host.start_docker();
    assert_eq!(host.settle(&catalog).0.problems, Vec::<String>::new());
    assert_eq!(host.settle(&catalog).1, 0);
    host.take_down();
    assert_nothing_left(&host);
}

fn assert_nothing_left(host: &Host) {
    let links = host.run("ip -o link");
    assert!(!links.contains("ros-"), "{links}");
    let routes = host.run("ip route show proto 83");
    assert!(routes.is_empty(), "{routes}");
    for family in ["iptables-save", "ip6tables-save", "iptables-legacy-save"] {
        let rules = host.run(family);
        assert!(!rules.contains("ROS-"), "{rules}");
    }
    assert!(!host.run("ip address show dev lo").contains("169.254"));
    let socket = host.folder.path().join("docker.sock");
    let networks = run(&format!("docker -H unix://{} network ls", socket.display()));
    assert!(!networks.contains("ros"), "{networks}");
}

#[test]
fn the_encapsulation_can_change_while_containers_run() {
    if !can_run() {
        return;
    }
    let mut switch = Switch::new("oe");
    let hosts: Vec<Host> = (1..=2).map(|number| Host::new(&switch, number)).collect();
    settle_all(&hosts, &catalog(Encapsulation::Vxlan, &[1, 2]));
    // What Docker has attached, running or not, keeps its network from being made anew.
    hosts.iter().for_each(Host::attach);
    let one = switch.container(&hosts[0], "10.42.1.7");
    let two = switch.container(&hosts[1], "10.42.2.7");
    let reached = Ok(Ipv4Addr::new(10, 42, 1, 7));
    assert_eq!(connect(&one, &two, "10.42.2.7"), reached);
    for encapsulation in [Encapsulation::Direct, Encapsulation::Vxlan] {
        settle_all(&hosts, &catalog(encapsulation, &[1, 2]));
        assert_eq!(
            connect(&one, &two, "10.42.2.7"),
            reached,
            "{encapsulation:?}"
        );
        let links = hosts[0].run("ip -o link");
        assert_eq!(
            links.contains("ros-vx"),
            encapsulation == Encapsulation::Vxlan,
            "{links}"
        );
    }
    hosts[0].take_down();
    assert_nothing_left(&hosts[0]);
}

#[test]
fn what_hinders_is_said() {
    if !can_run() {
        return;
    }
    let switch = Switch::new("oc");
    let host = Host::new(&switch, 1);
    let vxlan = catalog(Encapsulation::Vxlan, &[1, 2]);
    let socket = host.folder.path().join("docker.sock");
    let docker = |line: &str| host.run(&format!("docker -H unix://{} {line}", socket.display()));

    host.run("ip link add lan type bridge");
    host.run("ip address add 10.42.77.1/24 dev lan");
    let (state, steps) = host.settle(&vxlan);
    assert_eq!(steps, 0);
    assert!(
        state.problems[0].contains("clashes with the address 10.42.77.1/24 of link lan"),
        "{state:?}"
    );
    host.run("ip link del lan");

    docker("network create ros");
    let (state, _) = host.settle(&vxlan);
    assert!(
        state.problems[0].contains("docker network rm ros"),
        "{state:?}"
    );
    assert_eq!(state.network, None);
    docker("network rm ros");

    // The kernel of this machine may have it, too.
    let (state, _) = host.settle(&catalog(Encapsulation::Wireguard, &[1, 2]));
    if !state.wireguard {
        assert!(
            state
                .problems
                .iter()
                .any(|problem| problem.contains("--encapsulation vxlan")),
            "{state:?}"
        );
    }
    let (state, _) = host.settle(&vxlan);
    assert_eq!(state.problems, Vec::<String>::new());
    host.take_down();
    assert_nothing_left(&host);
}
