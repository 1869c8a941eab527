//! Bridges, bonds and VLANs as the kernel has them. Where the kernel of this machine cannot make bonds or VLANs, the tests in QEMU judge them.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use os_config::Config;
use os_config::types::Interface;
use system_services::network::reload;

use crate::world::{Service, World, config, dhcp, fixed, until};

fn member_of_bridge(name: &str) -> Interface {
    Interface {
        bridge: Some(name.into()),
        ..Interface::default()
    }
}

fn member_of_bond(name: &str) -> Interface {
    Interface {
        bond: Some(name.into()),
        ..Interface::default()
    }
}

fn bridge(rest: Interface) -> Interface {
    Interface {
        bridge: Some("true".into()),
        ..rest
    }
}

/// The machine's configuration, which a test changes under the running service.
struct Settings(Arc<Mutex<Config>>);

impl Settings {
    fn new(entries: Vec<(&str, Interface)>) -> Self {
        Self(Arc::new(Mutex::new(config(entries))))
    }

    fn start(&self, world: &World) -> Service {
        Service::start_with(world, Arc::clone(&self.0))
    }

    fn set(&self, service: &Service, entries: Vec<(&str, Interface)>) {
        let mut present: MutexGuard<'_, Config> = self.0.lock().unwrap();
        *present = config(entries);
        drop(present);
        reload(&service.paths).unwrap();
    }
}

fn until_done(service: &Service) {
    until(
        "network-done",
        || service.is_done().to_string(),
        |seen| seen == "true",
    );
}

/// All about one link; empty when there is none.
fn link(world: &World, name: &str) -> String {
    let all = world.machine(&["-d", "-o", "link", "show"]);
    let is_it = |line: &&str| {
        let words = [format!(": {name}:"), format!(": {name}@")];
        words.iter().any(|word| line.contains(word))
    };
    all.lines().find(is_it).unwrap_or_default().to_owned()
}

fn addresses(world: &World, name: &str) -> String {
    world.machine(&["-4", "-o", "addr", "show", "dev", name])
}

/// Whether the kernel makes links of this kind.
fn kernel_makes(world: &World, words: &[&str]) -> bool {
    let all = [&["link", "add", "probe"], words].concat();
    let made = world.tries(&all);
    if made {
        world.machine(&["link", "del", "probe"]);
    } else {
        eprintln!(
            "skipped: this kernel cannot `ip link add {}`",
            words.join(" ")
        );
    }
    made
}

#[test]
fn a_bridge_gets_its_members_and_a_lease() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:78:00:01");
    world.dhcp_server();
    let service = Service::start(
        &world,
        config(vec![
            ("eth*", dhcp()),
            ("eth0", member_of_bridge("br-lan")),
            ("br-lan", bridge(dhcp())),
        ]),
    );
    until_done(&service);
    until(
        "the lease",
        || addresses(&world, "br-lan"),
        |seen| seen.contains("inet 10.77.0.1"),
    );
    let member = link(&world, "eth0");
    assert!(member.contains("master br-lan"), "{member}");
    assert!(member.contains("group 83"), "{member}");
    assert_eq!(addresses(&world, "eth0"), "");
    let made = link(&world, "br-lan");
    assert!(
        made.contains("group 82") && made.contains("bridge"),
        "{made}"
    );
    // One that comes later is a member then; one that was pulled out and is put in again is one again.
    world.machine(&["link", "del", "eth0"]);
    until("eth0 gone", || link(&world, "eth0"), str::is_empty);
    world.plug("eth0", "52:54:00:78:00:01");
    until(
        "eth0 a member again",
        || link(&world, "eth0"),
        |seen| seen.contains("master br-lan") && seen.contains(",UP"),
    );
}

#[test]
fn a_changed_configuration_moves_addresses_between_card_and_bridge() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:78:01:01");
    world.dhcp_server();
    let settings = Settings::new(vec![("eth0", dhcp())]);
    let service = settings.start(&world);
    let lease = |name: &'static str| {
        until(
            "a lease",
            || {
                let all = world.machine(&["-4", "-o", "addr"]);
                let own = |line: &&str| line.contains(&format!(" {name} "));
                all.lines().filter(own).collect::<Vec<_>>().join("\n")
            },
            |seen| seen.contains("inet 10.77.0.1"),
        )
    };
    lease("eth0");
    settings.set(
        &service,
        vec![("eth0", member_of_bridge("br0")), ("br0", bridge(dhcp()))],
    );
    lease("br0");
    assert_eq!(addresses(&world, "eth0"), "");
    // The client must not come back to the member, as at a change of its carrier.
    world.outside(&["link", "set", "c-eth0", "down"]);
    std::thread::sleep(Duration::from_millis(300));
    world.outside(&["link", "set", "c-eth0", "up"]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(addresses(&world, "eth0"), "");

    settings.set(&service, vec![("eth0", dhcp())]);
    lease("eth0");
    until("the bridge gone", || link(&world, "br0"), str::is_empty);
    let freed = link(&world, "eth0");
    assert!(
        freed.contains("group default") && !freed.contains("master"),
        "{freed}"
    );
}

#[test]
fn links_of_others_are_used_and_left() {
    let Some(world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:78:02:01");
    world.plug("eth1", "52:54:00:78:02:02");
    for own in ["mine", "br0"] {
        world.machine(&["link", "add", own, "type", "bridge"]);
    }
    world.machine(&["link", "set", "eth1", "master", "mine"]);
    let settings = Settings::new(vec![
        ("eth0", member_of_bridge("br0")),
        ("br0", bridge(fixed("10.79.0.1/24", None))),
    ]);
    let service = settings.start(&world);
    until_done(&service);
    assert!(link(&world, "eth0").contains("master br0"));
    assert!(addresses(&world, "br0").contains("10.79.0.1/24"));
    settings.set(&service, vec![("eth0", fixed("10.79.0.2/24", None))]);
    until(
        "eth0 by itself",
        || link(&world, "eth0") + &addresses(&world, "eth0"),
        |seen| !seen.contains("master") && seen.contains("10.79.0.2/24") && seen.contains(",UP"),
    );
    assert!(link(&world, "br0").contains("bridge"), "not ours to remove");
    assert!(link(&world, "eth1").contains("master mine"));
}

#[test]
fn a_restart_of_the_service_changes_nothing() {
    let Some(world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:78:03:01");
    let entries = || {
        config(vec![
            ("eth0", member_of_bridge("br0")),
            ("br0", fixed("10.79.1.1/24", None)),
        ])
    };
    let service = Service::start(&world, entries());
    until_done(&service);
    // Number, name, state and address; what follows counts time.
    let look = || {
        link(&world, "br0")
            .split("promiscuity")
            .next()
            .unwrap()
            .to_owned()
    };
    let before = look();
    service.stop();
    let service = Service::start(&world, entries());
    until_done(&service);
    assert_eq!(look(), before);
    assert!(link(&world, "eth0").contains("master br0"));
    service.stop();
    // Another configuration at the next start: nothing of the old one stays.
    let service = Service::start(&world, config(vec![("eth0", fixed("10.79.1.2/24", None))]));
    until_done(&service);
    until("the bridge gone", || link(&world, "br0"), str::is_empty);
    assert!(addresses(&world, "eth0").contains("10.79.1.2/24"));
}

#[test]
fn what_the_kernel_refuses_keeps_nothing_else_down_and_ends_no_boot() {
    let Some(world) = World::new() else {
        return;
    };
    if kernel_makes(&world, &["link", "eth0", "type", "vlan", "id", "7"]) {
        return;
    }
    world.plug("eth0", "52:54:00:78:04:01");
    let with_vlan = Interface {
        vlans: Some("7".into()),
        ..fixed("10.79.2.1/24", None)
    };
    let service = Service::start(&world, config(vec![("eth0", with_vlan)]));
    until_done(&service);
    assert!(addresses(&world, "eth0").contains("10.79.2.1/24"));
}

#[test]
fn a_link_local_address_until_there_is_a_lease() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:78:05:01");
    let both = Interface {
        ipv4ll: true,
        ..dhcp()
    };
    let _service = Service::start(&world, config(vec![("eth0", both)]));
    until(
        "a link-local address",
        || addresses(&world, "eth0"),
        |seen| seen.contains("inet 169.254."),
    );
    world.dhcp_server();
    until(
        "a lease instead",
        || addresses(&world, "eth0"),
        |seen| seen.contains("inet 10.77.0.1") && !seen.contains("169.254."),
    );
}

#[test]
fn a_bond_with_a_vlan_on_it() {
    let Some(world) = World::new() else {
        return;
    };
    if !kernel_makes(&world, &["type", "bond"]) {
        return;
    }
    world.plug("eth0", "52:54:00:78:06:01");
    let bond = |mode: &str| {
        let mut bond = fixed("10.79.3.1/24", None);
        for (name, value) in [("mode", mode), ("primary", "eth1")] {
            bond.bond_opts.insert(name.into(), value.into());
        }
        bond.vlans = Some("100,200:guests".into());
        bond
    };
    let entries = |mode| {
        vec![
            ("mac:52:54:00:78:06:01", member_of_bond("bond0")),
            ("eth1", member_of_bond("bond0")),
            ("bond0", bond(mode)),
            ("guests", fixed("10.79.4.1/24", None)),
        ]
    };
    let settings = Settings::new(entries("active-backup"));
    let service = settings.start(&world);
    world.plug("eth1", "52:54:00:78:06:02");
    until_done(&service);
    for member in ["eth0", "eth1"] {
        assert!(link(&world, member).contains("master bond0"));
    }
    let seen = link(&world, "bond0");
    for part in ["mode active-backup", "miimon 100", "primary eth1"] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    assert!(link(&world, "guests").contains("id 200"));
    assert!(addresses(&world, "guests").contains("10.79.4.1/24"));
    settings.set(&service, entries("balance-rr"));
    until(
        "another mode",
        || link(&world, "bond0") + &link(&world, "eth0") + &link(&world, "guests"),
        |seen| {
            seen.contains("mode balance-rr")
                && seen.contains("master bond0")
                && seen.contains("id 200")
        },
    );
    settings.set(&service, vec![("eth0", fixed("10.79.3.2/24", None))]);
    until("the bond gone", || link(&world, "bond0"), str::is_empty);
}
