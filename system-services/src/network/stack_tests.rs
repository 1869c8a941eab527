//! Golden plans of bonds, bridges and VLANs: configuration and state in, steps as text out.

use netlink_packet_route::link::{BondLacpRate, BondMode, InfoBond};
use os_config::types::Interface;

use super::observe::{JOINED, Kind, Link, MADE, Observed};
use super::plan::{Known, plan};
use super::plan_tests::{address, desired, fixed, interface, known, link, text};

fn with_bond(options: &[(&str, &str)]) -> Vec<(&'static str, Interface)> {
    let member = || interface(|entry| entry.bond = Some("bond0".into()));
    let bond = interface(|entry| {
        entry.address = Some("10.0.0.5/24".into());
        entry.vlans = Some("100,200:guests".into());
        for (name, value) in options {
            let options = &mut entry.bond_opts;
            options.insert((*name).into(), (*value).into());
        }
    });
    vec![
        ("eth*", interface(|entry| entry.dhcp = Some(true))),
        ("mac:52:54:00:00:00:02", member()),
        ("eth1", member()),
        ("bond0", bond),
    ]
}

fn up(link: Link) -> Link {
    Link { up: true, ..link }
}

fn made(index: u32, name: &str, kind: Kind) -> Link {
    Link {
        kind,
        group: MADE,
        // As the kernel gives it: that of a link below.
        mac: "52:54:00:00:00:02".into(),
        ..link(index, name)
    }
}

fn joined(master: u32, link: Link) -> Link {
    Link {
        master: Some(master),
        group: JOINED,
        ..up(link)
    }
}

fn bond_of(mode: BondMode) -> Kind {
    Kind::Bond(vec![InfoBond::Mode(mode), InfoBond::MiiMon(100)])
}

fn seen(links: Vec<Link>) -> Observed {
    Observed {
        links,
        ..Observed::default()
    }
}

#[test]
fn a_bond_is_made_then_joined_then_carries_vlans() {
    let desired = desired(with_bond(&[("mode", "802.3ad"), ("lacp_rate", "fast")]));
    let fresh = seen(vec![link(2, "eth0"), link(3, "eth1"), link(4, "eth2")]);
    assert_eq!(
        text(&plan(&desired, &fresh, &Known::default())),
        "\
bond0: make bond 802.3ad, miimon 100, lacp_rate fast
eth2: set up
dhcp eth2"
    );
    let mut options = vec![InfoBond::Mode(BondMode::Ieee8023Ad), InfoBond::MiiMon(100)];
    options.push(InfoBond::AdLacpRate(BondLacpRate::Fast));
    let mut next = fresh;
    next.links.push(made(5, "bond0", Kind::Bond(options)));
    let second = plan(&desired, &next, &known(&[4]));
    assert_eq!(
        text(&second),
        "\
bond0.100: make VLAN 100 on bond0
guests: make VLAN 200 on bond0
eth0: member of bond0
eth1: member of bond0
bond0: set up
bond0: add 10.0.0.5/24
dhcp eth2"
    );
    next.links[0] = joined(5, link(2, "eth0"));
    next.links[1] = joined(5, link(3, "eth1"));
    next.links[3].up = true;
    let vlan = |id| Kind::Vlan { id, parent: 5 };
    next.links.push(made(6, "bond0.100", vlan(100)));
    next.links.push(made(7, "guests", vlan(200)));
    next.addresses.push(address(5, "10.0.0.5/24", true));
    assert_eq!(
        text(&plan(&desired, &next, &known(&[2, 3, 4, 5]))),
        "bond0.100: set up\nguests: set up\ndhcp eth2"
    );
    next.links[4].up = true;
    next.links[5].up = true;
    assert_eq!(
        text(&plan(&desired, &next, &known(&[2, 3, 4, 5, 6, 7]))),
        "dhcp eth2"
    );
}

#[test]
fn another_mode_makes_the_bond_again_once() {
    let desired = desired(with_bond(&[("mode", "1"), ("primary", "eth1")]));
    let bond = |mode| up(made(5, "bond0", bond_of(mode)));
    let vlan = made(6, "bond0.100", Kind::Vlan { id: 100, parent: 5 });
    let mut observed = seen(vec![
        joined(5, link(2, "eth0")),
        joined(5, link(3, "eth1")),
        bond(BondMode::BalanceRr),
        vlan,
    ]);
    let again = plan(&desired, &observed, &Known::default());
    assert_eq!(
        text(&again),
        "\
bond0: remove (to be made again with mode active-backup)
bond0.100: remove (no longer configured)
bond0: make bond active-backup, miimon 100"
    );
    // The kernel has refused the mode: what was made with this configuration is not made again for ever.
    let mut known = known(&[2, 3, 5]);
    known.made.insert("bond0".into());
    observed.links.pop();
    observed.addresses.push(address(5, "10.0.0.5/24", true));
    assert!(text(&plan(&desired, &observed, &known)).starts_with("bond0: primary eth1\n"));
}

#[test]
fn a_bond_of_somebody_else_is_set_and_never_made_again() {
    let desired = desired(with_bond(&[("mode", "802.3ad")]));
    let mut theirs = up(made(5, "bond0", bond_of(BondMode::BalanceRr)));
    theirs.group = 0;
    let of_the_module = Link {
        up: false,
        ..theirs.clone()
    };
    let fresh = plan(&desired, &seen(vec![of_the_module]), &Known::default());
    let taken = "bond0: make bond 802.3ad, miimon 100\n";
    assert!(text(&fresh).starts_with(taken), "{}", text(&fresh));
    let observed = seen(vec![theirs]);
    let steps = text(&plan(&desired, &observed, &Known::default()));
    assert!(steps.starts_with("bond0: mode 802.3ad\n"), "{steps}");
    assert!(!text(&plan(&desired, &observed, &known(&[5]))).contains("mode"));
}

#[test]
fn what_is_no_longer_configured_is_released_and_removed() {
    let desired = desired(vec![
        ("eth0", fixed("10.0.0.6/24", "10.0.0.1")),
        ("eth1", interface(|entry| entry.bridge = Some("br1".into()))),
    ]);
    let mut others = made(8, "br9", Kind::Bridge);
    others.group = 0;
    let observed = seen(vec![
        joined(5, link(2, "eth0")),
        joined(5, link(3, "eth1")),
        joined(5, link(4, "usb0")),
        up(made(5, "bond0", bond_of(BondMode::BalanceRr))),
        up(made(6, "bond0.100", Kind::Vlan { id: 100, parent: 5 })),
        up(made(7, "br1", Kind::Bridge)),
        others,
        Link {
            master: Some(8),
            ..up(link(9, "veth7"))
        },
    ]);
    assert_eq!(
        text(&plan(&desired, &observed, &Known::default())),
        "\
eth0: no longer a member
eth0: set up
eth1: no longer a member
usb0: no longer a member
bond0: remove (no longer configured)
bond0.100: remove (no longer configured)
eth0: add 10.0.0.6/24
eth0: default route via 10.0.0.1 metric 102
eth1: member of br1"
    );
}

#[test]
fn a_member_loses_its_addresses_and_a_globs_members_are_cards_only() {
    let desired = desired(vec![
        ("e*", interface(|entry| entry.bridge = Some("br0".into()))),
        ("eth1", interface(|entry| entry.vlans = Some("7".into()))),
    ]);
    let mut observed = seen(vec![
        up(link(2, "eth0")),
        up(link(3, "eth1")),
        up(made(4, "br0", Kind::Bridge)),
        made(5, "eth1.7", Kind::Vlan { id: 7, parent: 3 }),
    ]);
    observed.addresses = vec![
        address(2, "10.0.2.15/24", false),
        address(2, "10.0.0.5/24", true),
    ];
    assert_eq!(
        text(&plan(&desired, &observed, &Known::default())),
        "\
eth0: remove 10.0.2.15/24 (not configured)
eth0: remove 10.0.0.5/24 (no longer configured)
eth0: member of br0
eth1.7: set up"
    );
    // Somebody has moved it since: it is his.
    observed.addresses.clear();
    observed.links[0].master = Some(77);
    assert_eq!(text(&plan(&desired, &observed, &known(&[2, 3, 4, 5]))), "");
}

#[test]
fn names_that_others_have_are_said_and_left() {
    let desired = desired(vec![
        ("br0", interface(|entry| entry.bridge = Some("true".into()))),
        ("eth0", interface(|entry| entry.bridge = Some("br0".into()))),
        (
            "e*",
            interface(|entry| entry.vlans = Some("7:seven".into())),
        ),
        (
            "enp0s31f6",
            interface(|entry| entry.vlans = Some("4000:x".into())),
        ),
    ]);
    let observed = seen(vec![
        up(link(2, "eth0")),
        up(link(3, "br0")),
        up(link(4, "eth1")),
        up(link(5, "eth2")),
    ]);
    let plan = plan(&desired, &observed, &Known::default());
    assert_eq!(text(&plan), "seven: make VLAN 7 on eth1");
    assert_eq!(
        plan.obstacles,
        [
            "seven: two links would have a VLAN of this name",
            "br0: another link has this name; no bridge is made. Remove it, or choose another name",
        ]
    );
}

#[test]
fn made_links_are_not_met_by_mac() {
    let desired = desired(vec![(
        "mac:52:54:00:00:00:*",
        fixed("10.0.0.5/24", "10.0.0.1"),
    )]);
    let observed = seen(vec![made(5, "bond7", bond_of(BondMode::BalanceRr))]);
    assert_eq!(
        text(&plan(&desired, &observed, &Known::default())),
        "bond7: remove (no longer configured)"
    );
    assert_eq!(desired.missing(&observed).len(), 1);
}

#[test]
fn the_network_is_not_up_without_members_and_parents() {
    let desired = desired(with_bond(&[]));
    let observed = seen(vec![
        link(2, "eth0"),
        made(5, "bond0", bond_of(BondMode::BalanceRr)),
    ]);
    assert_eq!(desired.missing(&observed), ["eth1"]);
}
