//! Golden plans: configuration and state in, steps as text out.

use os_config::Config;
use os_config::types::Interface;

use super::desired::Desired;
use super::observe::{Address, Link, Observed, Route};
use super::plan::{Known, Plan, plan};

pub(super) fn interface(change: impl FnOnce(&mut Interface)) -> Interface {
    let mut interface = Interface::default();
    change(&mut interface);
    interface
}

pub(super) fn desired(entries: Vec<(&str, Interface)>) -> Desired {
    let mut config = Config::default();
    for (name, interface) in entries {
        config
            .rancher
            .network
            .interfaces
            .insert(name.to_owned(), interface);
    }
    Desired::of(&config)
}

pub(super) fn fixed(address: &str, gateway: &str) -> Interface {
    interface(|entry| {
        entry.address = Some(address.into());
        entry.gateway = Some(gateway.into());
    })
}

pub(super) fn link(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.into(),
        mac: format!("52:54:00:00:00:{index:02x}"),
        mtu: 1500,
        carrier: true,
        ..Link::default()
    }
}

pub(super) fn address(link: u32, cidr: &str, ours: bool) -> Address {
    Address {
        link,
        cidr: cidr.parse().unwrap(),
        ours,
        lasting: true,
        settled: true,
    }
}

fn route(link: u32, gateway: &str, metric: u32, ours: bool) -> Route {
    Route {
        link,
        gateway: gateway.parse().unwrap(),
        metric,
        ours,
        by_hand: !ours,
    }
}

pub(super) fn known(links: &[u32]) -> Known {
    Known {
        links: links.iter().copied().collect(),
        ..Known::default()
    }
}

pub(super) fn text(plan: &Plan) -> String {
    let mut lines: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    lines.extend(plan.dhcp.iter().map(|link| format!("dhcp {}", link.name)));
    lines.join("\n")
}

#[test]
fn a_fresh_machine_with_static_and_dhcp_links() {
    let desired = desired(vec![
        ("eth*", interface(|entry| entry.dhcp = Some(true))),
        (
            "mac:52:54:00:00:00:03",
            interface(|entry| {
                entry.addresses = vec!["10.0.0.5/24".into(), "fd00::5/64".into()];
                entry.gateway = Some("10.0.0.1".into());
                entry.gateway_ipv6 = Some("fd00::1".into());
                entry.mtu = 9000;
                entry.pre_up = vec!["ethtool -K $iface tso off".into()];
                entry.post_up = vec!["logger $iface up".into()];
            }),
        ),
    ]);
    let observed = Observed {
        links: vec![
            link(1, "lo"),
            link(2, "eth0"),
            link(3, "eth1"),
            link(4, "docker0"),
        ],
        ..Observed::default()
    };
    assert_eq!(
        text(&plan(&desired, &observed, &Known::default())),
        "\
eth0: set up
eth1: run ethtool -K eth1 tso off
eth1: MTU 9000
eth1: set up
eth1: add 10.0.0.5/24
eth1: add fd00::5/64
eth1: default route via 10.0.0.1 metric 103
eth1: default route via fd00::1 metric 103
eth1: run logger eth1 up
dhcp eth0"
    );
}

#[test]
fn what_is_right_is_left_alone() {
    let desired = desired(vec![("eth0", fixed("10.0.0.5/24", "10.0.0.1"))]);
    let observed = Observed {
        links: vec![Link {
            up: true,
            ..link(2, "eth0")
        }],
        addresses: vec![address(2, "10.0.0.5/24", true)],
        routes: vec![route(2, "10.0.0.1", 102, true)],
    };
    assert_eq!(text(&plan(&desired, &observed, &Known::default())), "");
    assert_eq!(text(&plan(&desired, &observed, &known(&[2]))), "");
}

#[test]
fn a_changed_configuration_removes_what_the_old_one_set() {
    let desired = desired(vec![("eth0", fixed("10.0.0.6/24", "10.0.0.254"))]);
    let observed = Observed {
        links: vec![Link {
            up: true,
            ..link(2, "eth0")
        }],
        addresses: vec![
            address(2, "10.0.0.5/24", true),
            address(2, "192.168.1.1/24", false),
            Address {
                settled: false,
                ..address(2, "fe80::1/64", false)
            },
        ],
        routes: vec![
            route(2, "10.0.0.1", 102, true),
            route(2, "10.0.0.9", 0, false),
        ],
    };
    assert_eq!(
        text(&plan(&desired, &observed, &Known::default())),
        "\
eth0: remove 10.0.0.5/24 (no longer configured)
eth0: remove 192.168.1.1/24 (not configured)
eth0: add 10.0.0.6/24
eth0: remove default route via 10.0.0.1 metric 102 (not configured)
eth0: remove default route via 10.0.0.9 metric 0 (not configured)
eth0: default route via 10.0.0.254 metric 102"
    );
}

#[test]
fn later_only_our_own_is_repaired() {
    let desired = desired(vec![("eth0", fixed("10.0.0.5/24", "10.0.0.1"))]);
    let observed = Observed {
        links: vec![Link {
            up: true,
            ..link(2, "eth0")
        }],
        addresses: vec![address(2, "192.168.1.1/24", false)],
        routes: Vec::new(),
    };
    assert_eq!(
        text(&plan(&desired, &observed, &known(&[2]))),
        "eth0: add 10.0.0.5/24\neth0: default route via 10.0.0.1 metric 102"
    );
}

#[test]
fn a_link_that_was_set_down_stays_down() {
    let desired = desired(vec![("eth0", fixed("10.0.0.5/24", "10.0.0.1"))]);
    let observed = Observed {
        links: vec![link(2, "eth0")],
        addresses: vec![address(2, "10.0.0.5/24", true)],
        routes: Vec::new(),
    };
    assert_eq!(text(&plan(&desired, &observed, &known(&[2]))), "");
}

#[test]
fn addresses_of_dhcp_and_of_hooks_stay() {
    let desired = desired(vec![
        ("eth0", interface(|entry| entry.dhcp = Some(true))),
        ("eth1", interface(|entry| entry.mtu = 1500)),
    ]);
    let observed = Observed {
        links: vec![
            Link {
                up: true,
                ..link(2, "eth0")
            },
            Link {
                up: true,
                ..link(3, "eth1")
            },
        ],
        addresses: vec![
            address(2, "10.0.2.15/24", false),
            address(2, "10.9.9.9/24", true),
            address(3, "10.0.3.1/24", false),
        ],
        routes: vec![route(2, "10.0.2.2", 1002, false)],
    };
    assert_eq!(
        text(&plan(&desired, &observed, &Known::default())),
        "eth0: remove 10.9.9.9/24 (no longer configured)\ndhcp eth0"
    );
}

#[test]
fn a_gateway_outside_the_networks_is_reached_directly() {
    let desired = desired(vec![("eth0", fixed("203.0.113.7/32", "203.0.112.1"))]);
    let observed = Observed {
        links: vec![link(2, "eth0")],
        ..Observed::default()
    };
    assert_eq!(
        text(&plan(&desired, &observed, &Known::default())),
        "\
eth0: set up
eth0: add 203.0.113.7/32
eth0: default route via 203.0.112.1 metric 102 (outside the link's networks)"
    );
}

#[test]
fn links_that_are_named_and_not_there_are_missing() {
    let desired = desired(vec![
        ("eth*", interface(|entry| entry.dhcp = Some(true))),
        ("eth1", fixed("10.0.0.5/24", "10.0.0.1")),
        ("mac:52:54:00:00:00:02", fixed("10.0.1.5/24", "10.0.1.1")),
    ]);
    let mut observed = Observed {
        links: vec![link(2, "eth0")],
        ..Observed::default()
    };
    assert_eq!(desired.missing(&observed), ["eth1"]);
    observed.links.push(link(3, "eth1"));
    assert!(desired.missing(&observed).is_empty());
}
