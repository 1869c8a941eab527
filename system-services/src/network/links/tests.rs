//! What may be stacked on what.

use super::*;

fn read(text: &str) -> (Stack, Vec<String>) {
    let mut layers = os_config::layers::Layers::default();
    let file = format!("rancher:\n  network:\n    interfaces:\n{text}");
    layers.add_file(os_config::layers::Owner::User, file.as_bytes(), "c.yml");
    let loaded = layers.resolve();
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    let interfaces = &loaded.config.rancher.network.interfaces;
    let matchers: Vec<Matcher> = interfaces.keys().map(|name| Matcher::parse(name)).collect();
    let mut complaints = Vec::new();
    let stack = stack(interfaces, &matchers, &mut complaints);
    let complaints = complaints
        .iter()
        .map(|found| found.placed(&loaded).to_string())
        .collect();
    (stack, complaints)
}

#[test]
fn members_and_entries_make_bonds_and_bridges() {
    let (stack, complaints) = read(
        "
      eth0: {bond: bond0}
      eth1: {bond: bond0}
      bond0: {bond_opts: {mode: 802.3ad}, vlans: '100,200:guests', bridge: br0}
      br1: {bridge: true}
      guests: {bridge: br1}
",
    );
    assert!(complaints.is_empty(), "{complaints:?}");
    assert_eq!(
        stack.made.keys().collect::<Vec<_>>(),
        ["bond0", "br0", "br1"]
    );
    let Made::Bond(bond) = &stack.made["bond0"] else {
        panic!("{stack:?}");
    };
    assert_eq!(bond.mode.to_string(), "802.3ad");
    let names: Vec<_> = stack.entries[2]
        .vlans
        .iter()
        .map(|vlan| vlan.name_on("bond0"))
        .collect();
    assert_eq!(names, ["bond0.100", "guests"]);
    assert_eq!(stack.entries[4].member, Some(Member::Bridge("br1".into())));
}

#[test]
fn what_cannot_be_is_named_with_its_place() {
    let (stack, complaints) = read(
        "
      eth0: {bond: bond0, bridge: br0}
      eth1: {vlans: '5,5:twice'}
      averylongname: {vlans: 4000}
      br1: {bridge: true}
      br2: {bridge: true}
      eth2: {bond: br1}
      'eth*': {bond_opts: {mode: 1}}
      bond9: {bond_opts: {lacp_rate: fast}}
      eth3: {bond: bond0, address: 10.0.0.1/8}
      eth4: {vlans: '7:br1'}
",
    );
    assert_eq!(
        complaints,
        [
            "c.yml:11:27: rancher.network.interfaces.eth*.bond_opts: names no single link that could be made; ignored",
            "c.yml:12:38: rancher.network.interfaces.bond9.bond_opts.lacp_rate: has no effect in mode balance-rr; ignored",
            "c.yml:5:35: rancher.network.interfaces.eth0.bridge: is a member of bond bond0 already; br0 is ignored",
            "c.yml:6:21: rancher.network.interfaces.eth1.vlans: 5 is there twice; the first counts",
            "c.yml:7:30: rancher.network.interfaces.averylongname.vlans: `averylongname.4000` is too long: names of links have at most 15 characters; ignored",
            "c.yml:10:20: rancher.network.interfaces.eth2.bond: br1 is a bridge; ignored",
            "c.yml:13:20: rancher.network.interfaces.eth3.bond: a member of a bond has no addresses; give them to bond0",
            "c.yml:14:21: rancher.network.interfaces.eth4.vlans: another link is called br1; VLAN 7 is ignored",
            "c.yml:12:26: rancher.network.interfaces.bond9.bond_opts: no entry is a member of it; write `bond: bond9` at its links",
        ]
    );
    assert_eq!(stack.entries[0].member, Some(Member::Bond("bond0".into())));
    assert_eq!(stack.entries[5].member, None);
}

#[test]
fn circles_are_cut() {
    let (stack, complaints) = read(
        "
      bond0: {bond: bond1}
      bond1: {bond: bond0}
      br0: {bridge: true, vlans: 10}
      br0.10: {bridge: br0}
      bond2: {bond: bond2}
",
    );
    assert_eq!(
        complaints,
        [
            "c.yml:6:21: rancher.network.interfaces.bond1.bond: bond1 would be a member of itself through bond0; ignored",
            "c.yml:8:24: rancher.network.interfaces.br0.10.bridge: br0.10 would be a member of itself through br0; ignored",
            "c.yml:9:21: rancher.network.interfaces.bond2.bond: bond2 would be a member of itself through bond2; ignored",
        ]
    );
    assert_eq!(stack.entries[0].member, Some(Member::Bond("bond1".into())));
    assert!(stack.entries[1].member.is_none() && stack.entries[3].member.is_none());
}
