//! The network service against the kernel: real links in network namespaces, dhcpcd and dnsmasq from Debian.
//!
//! Needs root, `ip`, `dnsmasq` and `dhcpcd`; without them a visible skip, or an error where `CI` is set.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests; clippy knows only functions marked #[test]"
)]

mod links;
mod world;

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use os_config::types::Interface;
use system_services::network::reload;

use world::{Service, World, config, dhcp, fixed, until};

#[test]
fn a_lease_brings_address_route_and_name_servers_quickly() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:77:00:01");
    world.dhcp_server();
    let start = Instant::now();
    let service = Service::start(&world, config(vec![("eth*", dhcp())]));
    until(
        "network-done",
        || service.is_done().to_string(),
        |seen| seen == "true",
    );
    let took = start.elapsed();
    let addresses = world.machine(&["-4", "addr", "show", "dev", "eth0"]);
    assert!(addresses.contains("inet 10.77.0.1"), "{addresses}");
    let routes = world.machine(&["route"]);
    assert_eq!(
        routes.matches("default via 10.77.0.1 dev eth0").count(),
        1,
        "{routes}"
    );
    until(
        "resolv.conf",
        || service.file("resolv.conf"),
        |text| text.ends_with("search lan.test\nnameserver 10.77.0.53\n"),
    );
    assert!(service.file("hosts").contains("127.0.1.1\trancher\n"));
    // No random delay, no ARP probe, no waiting for udev.
    assert!(took < Duration::from_secs(8), "the lease took {took:?}");

    // Stopping the service, as a restart of its container does, leaves the network up.
    service.stop();
    let addresses = world.machine(&["-4", "addr", "show", "dev", "eth0"]);
    assert!(addresses.contains("inet 10.77.0.1"), "{addresses}");
}

#[test]
fn the_users_own_client_arguments_are_used_and_its_leases_count() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:77:07:01");
    world.plug("eth1", "52:54:00:77:07:02");
    world.dhcp_server();
    let own = Interface {
        dhcp_args: Some("dhcpcd -MA4 --clientid=chosen --noipv4ll".into()),
        ..dhcp()
    };
    let service = Service::start(&world, config(vec![("eth0", own), ("eth1", dhcp())]));
    for link in ["eth0", "eth1"] {
        until(
            "a lease",
            || world.machine(&["-4", "addr", "show", "dev", link]),
            |seen| seen.contains("inet 10.77.0.1"),
        );
    }
    until(
        "network-done",
        || service.is_done().to_string(),
        |seen| seen == "true",
    );
    let leases = fs::read_to_string(world.folder.path().join("dns")).unwrap();
    // "chosen", as dnsmasq writes client ids.
    assert!(leases.contains("00:63:68:6f:73:65:6e"), "{leases}");
}

#[test]
fn static_and_dhcp_links_side_by_side_have_ordered_default_routes() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:77:01:01");
    world.plug("eth1", "52:54:00:77:01:02");
    world.dhcp_server();
    let mut settings = config(vec![
        ("eth*", dhcp()),
        (
            "mac:52:54:00:77:01:02",
            fixed("10.78.0.2/24", Some("10.78.0.1")),
        ),
    ]);
    settings.rancher.network.dns.nameservers = vec!["1.1.1.1".into()];
    settings.hostname = Some("web.example.org".into());
    let service = Service::start(&world, settings);
    until(
        "network-done",
        || service.is_done().to_string(),
        |seen| seen == "true",
    );
    let eth1 = world.machine(&["-4", "-o", "addr", "show", "dev", "eth1"]);
    assert_eq!(
        eth1.matches("inet ").count(),
        1,
        "no second address: {eth1}"
    );
    assert!(eth1.contains("10.78.0.2/24"), "{eth1}");
    let routes = until(
        "two default routes",
        || world.machine(&["route", "show", "default"]),
        |seen| seen.lines().count() == 2,
    );
    let first = routes.lines().next().unwrap();
    assert!(
        first.starts_with("default via 10.78.0.1 dev eth1"),
        "{routes}"
    );
    assert!(
        service
            .file("resolv.conf")
            .ends_with("\nnameserver 1.1.1.1\n")
    );
    assert!(
        service
            .file("hosts")
            .contains("127.0.1.1\tweb.example.org web\n")
    );
}

#[test]
fn a_card_plugged_in_later_is_set_up() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.dhcp_server();
    let service = Service::start(
        &world,
        config(vec![
            ("eth*", dhcp()),
            ("eth1", fixed("10.78.0.3/24", None)),
        ]),
    );
    std::thread::sleep(Duration::from_millis(300));
    assert!(!service.is_done(), "done without any link");
    world.plug("eth1", "52:54:00:77:02:02");
    until(
        "the static address",
        || world.machine(&["-4", "addr", "show", "dev", "eth1"]),
        |seen| seen.contains("10.78.0.3/24"),
    );
    world.plug("eth0", "52:54:00:77:02:01");
    until(
        "the lease",
        || world.machine(&["-4", "addr", "show", "dev", "eth0"]),
        |seen| seen.contains("inet 10.77.0.1"),
    );
    until(
        "network-done",
        || service.is_done().to_string(),
        |seen| seen == "true",
    );
}

#[test]
fn a_restart_with_another_configuration_leaves_nothing_behind() {
    let Some(world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:77:03:01");
    let first = Service::start(
        &world,
        config(vec![("eth0", fixed("10.78.0.5/24", Some("10.78.0.1")))]),
    );
    until(
        "network-done",
        || first.is_done().to_string(),
        |seen| seen == "true",
    );
    first.stop();
    world.machine(&["addr", "add", "10.99.0.1/24", "dev", "eth0"]);

    let second = Service::start(
        &world,
        config(vec![("eth0", fixed("10.78.0.6/24", Some("10.78.0.254")))]),
    );
    until(
        "network-done",
        || second.is_done().to_string(),
        |seen| seen == "true",
    );
    let addresses = world.machine(&["-4", "-o", "addr", "show", "dev", "eth0"]);
    assert_eq!(addresses.matches("inet ").count(), 1, "{addresses}");
    assert!(addresses.contains("10.78.0.6/24"), "{addresses}");
    let routes = world.machine(&["route", "show", "default"]);
    assert_eq!(routes.lines().count(), 1, "{routes}");
    assert!(routes.contains("via 10.78.0.254"), "{routes}");
}

#[test]
fn a_changed_configuration_is_taken_up_when_told() {
    let Some(world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:77:06:01");
    let settings = Arc::new(Mutex::new(config(vec![(
        "eth0",
        fixed("10.78.0.5/24", Some("10.78.0.1")),
    )])));
    let service = Service::start_with(&world, Arc::clone(&settings));
    until(
        "network-done",
        || service.is_done().to_string(),
        |seen| seen == "true",
    );
    {
        let mut settings = settings.lock().unwrap();
        *settings = config(vec![("eth0", fixed("10.78.0.9/24", Some("10.78.0.1")))]);
        settings.hostname = Some("renamed".into());
    }
    reload(&service.paths).unwrap();
    let addresses = until(
        "the new address",
        || world.machine(&["-4", "-o", "addr", "show", "dev", "eth0"]),
        |seen| seen.contains("10.78.0.9/24"),
    );
    assert!(!addresses.contains("10.78.0.5"), "{addresses}");
    // The kernel takes it with the last address.
    until(
        "the default route",
        || world.machine(&["route", "show", "default"]),
        |seen| seen.contains("via 10.78.0.1 "),
    );
    until(
        "hosts",
        || service.file("hosts"),
        |text| text.contains("renamed"),
    );
}

#[test]
fn a_leased_address_that_is_configured_outlives_its_lease() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:77:08:01");
    world.dhcp_server();
    let settings = Arc::new(Mutex::new(config(vec![("eth0", dhcp())])));
    let service = Service::start_with(&world, Arc::clone(&settings));
    let show = || world.machine(&["-4", "-o", "addr", "show", "dev", "eth0"]);
    let leased = until("the lease", show, |seen| seen.contains("inet 10.77.0.1"));
    let mut words = leased.split_whitespace().skip_while(|word| *word != "inet");
    let address = words.nth(1).unwrap().to_owned();
    *settings.lock().unwrap() = config(vec![("eth0", fixed(&address, None))]);
    reload(&service.paths).unwrap();
    let kept = until("an address without an end", show, |seen| {
        seen.contains("valid_lft forever")
    });
    assert!(kept.contains(&address), "{kept}");
}

#[test]
fn a_cable_pulled_and_put_back_heals() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:77:04:01");
    world.plug("eth1", "52:54:00:77:04:02");
    world.dhcp_server();
    let service = Service::start(
        &world,
        config(vec![
            ("eth0", dhcp()),
            ("eth1", fixed("10.78.0.7/24", Some("10.78.0.1"))),
        ]),
    );
    let routes = || world.machine(&["route", "show", "default"]);
    until("two default routes", routes, |seen| {
        seen.lines().count() == 2
    });
    for cable in ["c-eth0", "c-eth1"] {
        world.outside(&["link", "set", cable, "down"]);
    }
    std::thread::sleep(Duration::from_millis(500));
    for cable in ["c-eth0", "c-eth1"] {
        world.outside(&["link", "set", cable, "up"]);
    }
    until("both default routes again", routes, |seen| {
        seen.lines()
            .filter(|line| !line.contains("linkdown"))
            .count()
            == 2
    });
    drop(service);
}

#[test]
fn hooks_run_and_a_failing_one_stops_nothing() {
    let Some(world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:77:05:01");
    let log = Arc::new(Mutex::new(world.folder.path().join("hooks")));
    let note = |text: &str| {
        let path = log.lock().unwrap().display().to_string();
        format!("sh -c 'echo {text} >> {path}'")
    };
    let mut interface = fixed("10.78.0.8/24", None);
    interface.mtu = 1400;
    interface.pre_up = vec![note("pre $iface"), "false".into()];
    interface.post_up = vec![note("post $iface")];
    let mut settings = config(vec![("eth0", interface)]);
    settings.rancher.network.pre_cmds = vec![note("first")];
    settings.rancher.network.post_cmds = vec!["/no/such/program".into(), note("last")];
    let service = Service::start(&world, settings);
    until(
        "network-done",
        || service.is_done().to_string(),
        |seen| seen == "true",
    );
    let text = fs::read_to_string(log.lock().unwrap().as_path()).unwrap();
    assert_eq!(text, "first\npre eth0\npost eth0\nlast\n");
    assert!(
        world
            .machine(&["link", "show", "eth0"])
            .contains("mtu 1400")
    );
}
