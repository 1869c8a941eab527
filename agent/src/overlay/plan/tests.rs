//! Plans from what there is to what should be, in words.

use super::*;
use crate::overlay::desired::desired;
use crate::overlay::desired::tests::{catalog, container, own};
use crate::overlay::docker_network::Member;
use crate::overlay::kernel::Vxlan;
use crate::overlay::tunnel::Tunnel;
use api::network::Encapsulation;

fn link(index: u32, name: &str, mtu: u32) -> Link {
    Link {
        index,
        name: name.into(),
        mtu,
        up: true,
        ..Link::default()
    }
}

fn route(to: &str, link: u32, gateway: Option<&str>) -> Route {
    Route {
        to: to.parse().unwrap(),
        link,
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        source: None,
        onlink: false,
        metric: 0,
        protocol: 2,
    }
}

/// A host with one link, Docker, and nothing of ours.
fn bare() -> Observed {
    let mut observed = Observed::default();
    observed.kernel.links = vec![link(1, "lo", 65_536), link(2, "eth0", 1500)];
    observed.kernel.addresses = vec![
        (1, "127.0.0.1/8".parse().unwrap()),
        (2, "192.0.2.1/24".parse().unwrap()),
    ];
    observed.kernel.routes = vec![
        route("0.0.0.0/0", 2, Some("192.0.2.254")),
        route("192.0.2.0/24", 2, None),
    ];
    observed.engine.major = 20;
    observed.settings = [(FORWARD.to_owned(), "0".to_owned())].into();
    observed.firewall = [(
        Family::V4,
        Loaded {
            docker_user: true,
            ..Loaded::default()
        },
    )]
    .into();
    observed
}

fn words(plan: &Plan) -> String {
    plan.steps.iter().map(|step| format!("{step}\n")).collect()
}

fn plan_for(encapsulation: Encapsulation, observed: &Observed) -> Plan {
    plan(&desired(&catalog(encapsulation, 2), &own()), observed)
}

/// The bridge is there, as Docker makes it.
fn with_bridge(observed: &mut Observed, mtu: u32) {
    observed.kernel.links.push(Link {
        kind: "bridge".into(),
        ..link(3, BRIDGE, mtu)
    });
    observed
        .kernel
        .addresses
        .push((3, "10.42.1.1/16".parse().unwrap()));
    observed.kernel.routes.push(route("10.42.0.0/16", 3, None));
    let made = docker_network::Made {
        link: BRIDGE.into(),
        subnet: "10.42.0.0/16".into(),
        range: "10.42.1.0/24".into(),
        gateway: "10.42.1.1".into(),
        mtu,
    };
    let mark = Some(
        catalog(Encapsulation::Vxlan, 1)
            .networks
            .values()
            .next()
            .unwrap()
            .id
            .to_string(),
    );
    observed.engine.bridges.push(Bridge {
        id: "d1".into(),
        name: "ros".into(),
        mark,
        made,
    });
}

fn attach(observed: &mut Observed, address: &str) {
    let address = Some(address.parse().unwrap());
    observed.engine.members.push(Member {
        id: "c".into(),
        name: "web".into(),
        address,
        dns: true,
    });
}

#[test]
fn the_first_plan_of_a_host() {
    let first = plan_for(Encapsulation::Vxlan, &bare());
    assert_eq!(first.problems, Vec::<String>::new());
    assert_eq!(first.mtu, 1500);
    assert_eq!(
        words(&first),
        "set net/ipv4/ip_forward to 1: packets between containers and hosts need it\n\
         make Docker's network ros (10.42.1.0/24 of 10.42.0.0/16, mtu 1450): it is not there\n\
         add 169.254.169.250 to the loopback link: names and metadata are there\n\
         make link ros-vx (id 42, port 4789, mtu 1450): it is not there\n\
         load 31 lines of firewall rules (V4): ours are not as they should be\n\
         load 6 lines of firewall rules (V4): ours are not as they should be\n"
    );
}

#[test]
fn routes_come_when_the_links_are_there() {
    let mut observed = bare();
    with_bridge(&mut observed, 1450);
    let vxlan = Vxlan {
        id: 42,
        port: 4789,
        local: Some("192.0.2.1".parse().unwrap()),
        learning: false,
    };
    let mac = Some(wanted::mac("10.42.1.1".parse().unwrap()));
    observed.kernel.links.push(Link {
        vxlan,
        mac,
        kind: "vxlan".into(),
        ..link(4, VXLAN, 1450)
    });
    // A host that has gone, and somebody else's route.
    observed.kernel.routes.push(Route {
        protocol: kernel::PROTOCOL,
        ..route("10.42.9.0/24", 4, Some("10.42.9.1"))
    });
    observed.kernel.routes.push(Route {
        protocol: 4,
        ..route("172.30.0.0/16", 2, Some("192.0.2.254"))
    });
    let next = plan_for(Encapsulation::Vxlan, &observed);
    let words = words(&next);
    for part in [
        "add gateway 10.42.2.1 at 02:52:0a:2a:02:01 to ros-vx: a host is there",
        "add 02:52:0a:2a:02:01 behind 192.0.2.2 to ros-vx: a host is there",
        "route 10.42.2.0/24 by ros-vx: containers are there",
        "remove the route 10.42.9.0/24 by ros-vx: nothing is there any more",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
    assert!(!words.contains("172.30"), "{words}");
    let added = next.steps.iter().find_map(|step| match step {
        Step::AddRoute { route, .. } => Some(route.clone()),
        _ => None,
    });
    let added = added.unwrap();
    assert_eq!(
        (added.gateway, added.source),
        (
            Some("10.42.2.1".parse().unwrap()),
            Some("10.42.1.1".parse().unwrap())
        )
    );
    assert!(added.onlink);
}

#[test]
fn direct_hosts_must_share_a_link() {
    let mut observed = bare();
    with_bridge(&mut observed, 1500);
    assert!(
        words(&plan_for(Encapsulation::Direct, &observed)).contains("route 10.42.2.0/24 by eth0")
    );
    observed.kernel.routes.remove(1);
    let far = plan_for(Encapsulation::Direct, &observed);
    assert!(
        far.problems[0].contains("host h2 (192.0.2.2) is not on a link of this host"),
        "{:?}",
        far.problems
    );
    assert!(!words(&far).contains("route 10.42.2.0/24"));
}

#[test]
fn a_clash_stops_everything() {
    for (net, says) in [
        ("10.42.77.0/24", "the route to 10.42.77.0/24 on link eth0"),
        ("10.0.0.0/8", "the route to 10.0.0.0/8 on link eth0"),
    ] {
        let mut observed = bare();
        observed
            .kernel
            .routes
            .push(route(net, 2, Some("192.0.2.254")));
        let found = plan_for(Encapsulation::Vxlan, &observed);
        assert_eq!(found.steps, []);
        assert!(
            found.problems[0].contains(says)
                && found.problems[0].contains("ros networks set ros --subnet"),
            "{:?}",
            found.problems
        );
    }
    // What a VPN lays over the default route does not count.
    let mut observed = bare();
    observed
        .kernel
        .routes
        .push(route("0.0.0.0/1", 2, Some("192.0.2.254")));
    assert_eq!(
        plan_for(Encapsulation::Vxlan, &observed).problems,
        Vec::<String>::new()
    );
}

#[test]
fn the_network_is_made_anew_only_when_nobody_is_attached() {
    let mut observed = bare();
    with_bridge(&mut observed, 1500);
    let found = plan_for(Encapsulation::Vxlan, &observed);
    assert!(
        words(&found).contains(
            "remove Docker's network: it was made for packets of 1500 bytes, and 1450 fit"
        ),
        "{}",
        words(&found)
    );
    attach(&mut observed, "10.42.1.7");
    let found = plan_for(Encapsulation::Vxlan, &observed);
    assert!(!words(&found).contains("remove Docker's network"));
    assert!(
        found.problems[0].contains("docker network disconnect ros NAME")
            && found.problems[0].ends_with("for web"),
        "{:?}",
        found.problems
    );
    // Smaller than it could be works as well.
    observed.engine.bridges[0].made.mtu = 1400;
    let found = plan_for(Encapsulation::Vxlan, &observed);
    assert_eq!(found.problems, Vec::<String>::new());
    assert!(
        words(&found).contains("set the mtu of ros-br from 1500 to 1400"),
        "{}",
        words(&found)
    );
}

#[test]
fn a_foreign_network_of_that_name_is_left_alone() {
    let mut observed = bare();
    observed.engine.others.push("ros".into());
    let found = plan_for(Encapsulation::Vxlan, &observed);
    assert!(
        found.problems[0].contains("docker network rm ros"),
        "{:?}",
        found.problems
    );
    assert!(!words(&found).contains("Docker's network"));
}

#[test]
fn own_containers_outside_the_block_have_a_route() {
    let mut observed = bare();
    with_bridge(&mut observed, 1450);
    attach(&mut observed, "10.42.2.9");
    let vxlan = Vxlan {
        id: 42,
        port: 4789,
        local: Some("192.0.2.1".parse().unwrap()),
        learning: false,
    };
    let mac = Some(wanted::mac("10.42.1.1".parse().unwrap()));
    observed.kernel.links.push(Link {
        vxlan,
        mac,
        ..link(4, VXLAN, 1450)
    });
    let route = "route 10.42.2.9/32 by ros-br";
    assert!(words(&plan_for(Encapsulation::Vxlan, &observed)).contains(route));
    // Not when the address is that of a container over there.
    let mut catalog = catalog(Encapsulation::Vxlan, 2);
    container(&mut catalog, 1, 1, "10.42.2.9");
    container(&mut catalog, 2, 2, "10.42.2.9");
    let refused = words(&plan(&desired(&catalog, &own()), &observed));
    assert!(!refused.contains(route), "{refused}");
    assert!(refused.contains("route 10.42.2.0/24"), "{refused}");
}

#[test]
fn a_kernel_without_wireguard_is_told_of() {
    let without = plan_for(Encapsulation::Wireguard, &bare());
    assert!(
        without.problems[0].contains("ros networks set ros --encapsulation vxlan"),
        "{:?}",
        without.problems
    );
    let mut with = bare();
    (with.wireguard, with.public) = (true, Some([1; 32]));
    let first = plan_for(Encapsulation::Wireguard, &with);
    assert_eq!(first.problems, Vec::<String>::new());
    assert!(
        words(&first).contains("make link ros-wg (mtu 1440)"),
        "{}",
        words(&first)
    );
    with.kernel.links.push(Link {
        kind: "wireguard".into(),
        up: false,
        ..link(5, WIREGUARD, 1440)
    });
    with.tunnel = Some(Tunnel::default());
    let second = words(&plan_for(Encapsulation::Wireguard, &with));
    let set = second
        .find("ros-wg: use this host's key, listen on port 51820, set 1 hosts")
        .unwrap();
    // A link that is up before it has a key answers nobody, and one with a key but down sends nothing.
    assert!(second.find("set link ros-wg up").unwrap() > set, "{second}");
}

#[test]
fn everything_of_ours_goes_with_the_network() {
    let mut observed = bare();
    with_bridge(&mut observed, 1450);
    observed.kernel.links.push(Link {
        kind: "vxlan".into(),
        ..link(4, VXLAN, 1450)
    });
    observed
        .kernel
        .addresses
        .push((1, "169.254.169.250/32".parse().unwrap()));
    let gone = words(&plan(&Wish::Nothing, &observed));
    for part in [
        "remove Docker's network",
        "remove link ros-vx",
        "remove 169.254.169.250",
    ] {
        assert!(gone.contains(part), "{part}: {gone}");
    }
    // Docker removes its bridge itself.
    assert!(!gone.contains("ros-br"), "{gone}");
}

#[test]
fn without_docker_what_is_there_stays() {
    let mut observed = bare();
    (observed.engine, observed.engine_down) = (Engine::default(), Some("refused".into()));
    let found = plan_for(Encapsulation::Vxlan, &observed);
    assert_eq!(found.steps, []);
    assert!(found.problems[0].contains("Docker does not answer (refused)"));
}

#[test]
fn a_turned_key_is_used_whatever_hinders_the_rest() {
    let mut clash = bare();
    (clash.wireguard, clash.public) = (true, Some([1; 32]));
    clash.kernel.links.push(Link {
        kind: "wireguard".into(),
        ..link(5, WIREGUARD, 1440)
    });
    clash.tunnel = Some(Tunnel::default());
    let mut down = clash.clone();
    (down.engine, down.engine_down) = (Engine::default(), Some("refused".into()));
    clash
        .kernel
        .routes
        .push(route("10.42.77.0/24", 2, Some("192.0.2.254")));
    for (observed, says) in [(clash, "clashes with"), (down, "Docker does not answer")] {
        let found = plan_for(Encapsulation::Wireguard, &observed);
        assert_eq!(
            words(&found),
            "ros-wg: use this host's key, listen on port 51820, set 1 hosts that are new or have changed\n"
        );
        assert!(found.problems[0].contains(says), "{:?}", found.problems);
        assert_eq!(found.told.len(), 1);
        // Of another encapsulation, nothing is touched.
        assert_eq!(plan_for(Encapsulation::Vxlan, &observed).steps, []);
    }
}

#[test]
fn a_resolver_on_loopback_is_asked_from_the_host_by_every_docker() {
    let asked = |major: u32| {
        let mut observed = bare();
        observed.engine.major = major;
        observed.resolvers = [[192, 0, 2, 53], [127, 0, 0, 53]]
            .map(std::net::Ipv4Addr::from)
            .into();
        words_of_firewall(&plan_for(Encapsulation::Vxlan, &observed))
    };
    for (major, far) in [(20, 0), (26, 0), (27, 2), (28, 2)] {
        let text = asked(major);
        let count = |resolver: &str| {
            text.matches(&format!("-A ROS-OUTPUT -d {resolver}/32"))
                .count()
        };
        assert_eq!(count("127.0.0.53"), 2, "{major}: {text}");
        assert_eq!(count("192.0.2.53"), far, "{major}: {text}");
    }
}

fn words_of_firewall(plan: &Plan) -> String {
    let text = |step: &Step| match step {
        Step::Firewall { text, .. } => text.clone(),
        _ => String::new(),
    };
    plan.steps.iter().map(text).collect()
}
