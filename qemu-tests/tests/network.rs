//! Networks: DHCP and static addresses on several cards, matched by name, glob and MAC; bonds, bridges and VLANs between two machines; name
//! servers; published by nobody else.

use qemu_tests::Result;
use qemu_tests::artefacts::direct_boot;
use qemu_tests::config_drive::{ConfigDrive, Content, Form};
use qemu_tests::error::HarnessError;
use qemu_tests::guest::{Guest, free_port, user_nic};
use qemu_tests::judge::{Judge, contains, ensure, equal};
use qemu_tests::machine::{Machine, Net, Nic};
use qemu_tests::ssh::Ssh;
use qemu_tests::stage::{Stage, on_stage};
use qemu_tests::wait::Patience;

/// eth0 keeps DHCP, eth1 is static by name, the third is static by its MAC, whatever its name, and has a larger MTU.
const NETWORK: &str = r#"hostname: net
rancher:
  network:
    interfaces:
      eth0:
        dhcp: true
      eth1:
        address: 192.168.77.5/24
      "mac=52:54:00:aa:bb:cc":
        addresses:
          - 192.168.78.5/24
          - 192.168.78.6/24
        mtu: 1400
        post_up:
          - touch /run/post-up-$iface
    dns:
      nameservers: [192.168.77.53, 10.0.2.3]
      search: [example.test]
"#;

fn isolated(network: &str, mac: &str) -> Nic {
    Nic {
        net: Net::Isolated {
            network: network.into(),
        },
        mac: Some(mac.into()),
    }
}

#[test]
fn static_and_dhcp_on_three_cards() -> Result<()> {
    on_stage("network", &[], |stage| {
        let machine = stage
            .direct()?
            .with_config_drive(&stage.config_drive(Form::Iso, NETWORK)?)
            .with_nic(isolated("192.168.77.0/24", "52:54:00:aa:bb:01"))
            .with_nic(isolated("192.168.78.0/24", "52:54:00:aa:bb:cc"));
        let guest = stage.boot(&machine)?;
        let mut judge = Judge::of(&stage.name);
        judge_addresses(&mut judge, &guest);
        judge_names(&mut judge, &guest);
        judge.verdict(&guest.vm.console.tail(40))
    })
}

fn judge_addresses(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("DHCP on eth0, with its default route", || {
        contains(&ssh.ok("ip -4 addr show eth0")?, "10.0.2.15/24")?;
        contains(&ssh.ok("ip route")?, "default via 10.0.2.2 dev eth0")
    });
    judge.check("one default route", || {
        equal(ssh.ok("ip -4 route | grep -c ^default")?, "1")
    });
    judge.check("static address by name, and nothing else", || {
        let text = ssh.ok("ip -4 addr show eth1")?;
        contains(&text, "192.168.77.5/24")?;
        equal(text.matches("inet ").count(), 1)
    });
    judge.check("static addresses and MTU by MAC", || {
        let text = ssh.ok("ip addr show eth2")?;
        contains(&text, "52:54:00:aa:bb:cc")?;
        contains(&text, "192.168.78.5/24")?;
        contains(&text, "192.168.78.6/24")?;
        contains(&text, "mtu 1400")
    });
    judge.check("post_up ran with the card's name", || {
        ssh.ok("sudo system-docker exec network ls /run/post-up-eth2")
            .map(drop)
    });
    judge.check("the static network carries packets", || {
        // QEMU's own network answers ARP and ping for its gateway.
        ssh.ok("sudo ping -c 1 -W 5 192.168.77.2").map(drop)
    });
}

fn judge_names(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("resolv.conf holds what the configuration says", || {
        let text = ssh.ok("cat /etc/resolv.conf")?;
        contains(&text, "nameserver 192.168.77.53")?;
        contains(&text, "nameserver 10.0.2.3")?;
        contains(&text, "search example.test")?;
        ensure(!text.contains("8.8.8.8"), || text.clone())
    });
    judge.check("the host's own name resolves", || {
        contains(&ssh.ok("cat /etc/hosts")?, "net")?;
        ssh.ok("sudo ping -c 1 -W 5 net").map(drop)
    });
}

#[test]
fn a_static_address_alone_is_enough() -> Result<()> {
    on_stage("network-static", &[], |stage| {
        let words = [
            "rancher.network.interfaces.eth0.address=10.0.3.77/24",
            "rancher.network.interfaces.eth0.gateway=10.0.3.2",
            "rancher.network.interfaces.eth0.dhcp=false",
            "rancher.network.dns.nameservers=[10.0.3.3]",
        ];
        let mut machine = stage
            .direct()?
            .with_config_drive(&stage.config_drive(Form::Iso, "")?);
        for word in words {
            machine = machine.with_word(word);
        }
        let forwards = vec![(stage.ssh_port, "10.0.3.77".to_owned(), 22)];
        machine.nics = vec![Nic {
            net: Net::User {
                network: "10.0.3.0/24".into(),
                forwards,
            },
            mac: None,
        }];
        let guest = stage.boot(&machine)?;
        let mut judge = Judge::of(&stage.name);
        judge.check("the login came over the static address", || {
            let text = guest.ssh.ok("ip -4 addr show eth0")?;
            contains(&text, "10.0.3.77/24")?;
            equal(text.matches("inet ").count(), 1)
        });
        judge.check("the gateway is the configured one", || {
            contains(&guest.ssh.ok("ip route")?, "default via 10.0.3.2")
        });
        judge.verdict(&guest.vm.console.tail(40))
    })
}

/// For what settles after the login: carriers, the choice among members, a link-local address.
const SETTLED: Patience = Patience::seconds(60);

/// Eight cards: a bond with VLANs on it and a bridge in networks shared with `west`, a bond by LACP without anybody who answers, a link-local
/// address. The second member of bond0 is given by its MAC, which bonds change.
const EAST: &str = r#"hostname: east
rancher:
  network:
    interfaces:
      eth0: {dhcp: true}
      eth1: {bond: bond0}
      "mac=52:54:00:81:00:12": {bond: bond0}
      bond0:
        address: 10.81.0.1/24
        bond_opts: {mode: active-backup, miimon: 50, primary: eth1}
        vlans: "100,200:guests"
      bond0.100: {address: 10.81.100.1/24}
      eth3: {bridge: br0}
      br0: {bridge: "true", address: 10.82.0.1/24}
      eth4: {bond: bond1}
      eth5: {bond: bond1}
      bond1:
        address: 192.168.85.9/24
        bond_opts: {mode: "4", lacp_rate: fast, xmit_hash_policy: layer3+4}
      eth6: {ipv4ll: true}
      eth7: {dhcp: false}
"#;

/// The other end: a VLAN on a card, under a name of its own, a bridge that only its member speaks of, and a bond0 that was there before, made
/// by the module when it was loaded as configurations of RancherOS 1.x do.
const WEST: &str = r#"hostname: west
rancher:
  modules: [bonding]
  network:
    interfaces:
      eth0: {dhcp: true}
      eth1: {address: 10.81.0.2/24, vlans: "100:blue"}
      blue: {address: 10.81.100.2/24}
      eth2: {bridge: br0}
      br0: {address: 10.82.0.2/24}
      eth3: {bond: bond0}
      bond0: {address: 192.168.88.9/24, bond_opts: {mode: broadcast}}
"#;

fn shared(port: u16, mac: &str) -> Nic {
    Nic {
        net: Net::Shared {
            group: format!("230.0.0.1:{port}"),
        },
        mac: Some(mac.into()),
    }
}

const BONDED: u16 = 12_381;
const BRIDGED: u16 = 12_382;

#[test]
fn bonds_bridges_and_vlans() -> Result<()> {
    on_stage("network-links", &[], |stage| {
        let machine = stage
            .direct()?
            .with_config_drive(&stage.config_drive(Form::Iso, EAST)?)
            .with_nic(shared(BONDED, "52:54:00:81:00:11"))
            .with_nic(shared(BONDED, "52:54:00:81:00:12"))
            .with_nic(shared(BRIDGED, "52:54:00:82:00:01"))
            .with_nic(isolated("192.168.85.0/24", "52:54:00:85:00:01"))
            .with_nic(isolated("192.168.85.0/24", "52:54:00:85:00:02"))
            .with_nic(isolated("192.168.86.0/24", "52:54:00:86:00:01"))
            .with_nic(isolated("192.168.87.0/24", "52:54:00:87:00:01"));
        let mut east = stage.boot(&machine)?;
        let mut judge = Judge::of(&stage.name);
        judge_bonds(&mut judge, &east);
        judge_stack(&mut judge, &east);
        let west = west(stage)?;
        judge_wires(&mut judge, &east, &west);
        judge_cables(&mut judge, &mut east);
        judge_changes(&mut judge, &east);
        judge.verdict(&east.vm.console.tail(60))
    })
}

fn west(stage: &Stage) -> Result<Guest> {
    let folder = stage.scratch().join("west");
    std::fs::create_dir_all(&folder).map_err(HarnessError::file("make folder", &folder))?;
    let content = Content {
        user_data: stage.cloud_config(WEST)?,
        ..Content::default()
    };
    let drive = ConfigDrive::create(&folder, Form::Iso, &content)?;
    let port = free_port()?;
    let machine = Machine::new(&format!("{}-west", stage.name), direct_boot()?)
        .with_nic(user_nic(port, &[]))
        .with_nic(shared(BONDED, "52:54:00:81:00:21"))
        .with_nic(shared(BRIDGED, "52:54:00:82:00:02"))
        .with_nic(isolated("192.168.88.0/24", "52:54:00:88:00:01"))
        .with_config_drive(&drive);
    Guest::boot(&machine, stage.key()?, port, &stage.logs())
}

fn judge_bonds(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("bond0 has its mode, options and both members", || {
        ssh.wait_for(
            "test $(ip -o link show master bond0 | grep -c LOWER_UP) = 2",
            SETTLED,
        )?;
        let members = ssh.ok("ip -o link show master bond0")?;
        contains(&members, "eth1:")?;
        contains(&members, "eth2:")?;
        ssh.wait_for("ip -d link show bond0 | grep 'active_slave eth1'", SETTLED)?;
        let text = ssh.ok("ip -d link show bond0")?;
        ["mode active-backup", "miimon 50", "primary eth1"]
            .iter()
            .try_for_each(|part| contains(&text, part))
    });
    judge.check("bond0 has the address, its members have none", || {
        contains(&ssh.ok("ip -4 addr show bond0")?, "10.81.0.1/24")?;
        equal(ssh.ok("ip -4 addr show eth1; ip -4 addr show eth2")?, "")
    });
    judge.check("bond1 is 802.3ad with its options", || {
        let text = ssh.ok("ip -d link show bond1")?;
        [
            "mode 802.3ad",
            "lacp_rate fast",
            "xmit_hash_policy layer3+4",
            "miimon 100",
        ]
        .iter()
        .try_for_each(|part| contains(&text, part))?;
        contains(&ssh.ok("ip -4 addr show bond1")?, "192.168.85.9/24")?;
        equal(ssh.ok("ip -o link show master bond1 | wc -l")?, "2")
    });
    judge.check(
        "802.3ad carries packets by one member when nobody answers",
        || {
            ssh.wait_for("sudo ping -c 1 -W 5 192.168.85.2", SETTLED)
                .map(drop)
        },
    );
    judge.check("no bond that nobody asked for", || {
        equal(ssh.ok("ip -o link show type bond | wc -l")?, "2")
    });
}

fn judge_stack(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("VLANs lie on the bond, one by its own name", || {
        contains(
            &ssh.ok("ip -d link show bond0.100")?,
            "vlan protocol 802.1Q id 100",
        )?;
        contains(&ssh.ok("ip -4 addr show bond0.100")?, "10.81.100.1/24")?;
        let guests = ssh.ok("ip -d link show guests")?;
        contains(&guests, "guests@bond0")?;
        contains(&guests, "id 200")?;
        contains(&guests, ",UP")
    });
    judge.check("the bridge has its member and the address", || {
        contains(&ssh.ok("ip -d link show br0")?, "bridge forward_delay")?;
        contains(&ssh.ok("ip -4 addr show br0")?, "10.82.0.1/24")?;
        contains(&ssh.ok("ip -o link show master br0")?, "eth3:")?;
        equal(ssh.ok("ip -4 addr show eth3")?, "")
    });
    judge.check("a link-local address", || {
        ssh.wait_for("ip -4 addr show eth6 | grep 'inet 169.254.'", SETTLED)
            .map(drop)
    });
    judge.check("nothing is complained of", || {
        let answer = ssh.run("sudo ros config validate")?;
        ensure(!answer.text().contains("interfaces"), || answer.text())
    });
}

fn judge_wires(judge: &mut Judge, east: &Guest, west: &Guest) {
    judge.check(
        "west has its VLAN and the bridge that its member made",
        || {
            contains(
                &west.ssh.ok("ip -d link show blue")?,
                "vlan protocol 802.1Q id 100",
            )?;
            contains(&west.ssh.ok("ip -o link show master br0")?, "eth2:")
        },
    );
    judge.check("the bond0 that the module made is taken over", || {
        let ssh = &west.ssh;
        ssh.wait_for("ip -o link show master bond0 | grep eth3:", SETTLED)?;
        let text = ssh.ok("ip -d link show bond0")?;
        contains(&text, "mode broadcast")?;
        contains(&text, "group 82")?;
        ssh.wait_for("sudo ping -c 1 -W 5 192.168.88.2", SETTLED)
            .map(drop)
    });
    for (what, address) in [
        ("the bond", "10.81.0.2"),
        ("the VLAN", "10.81.100.2"),
        ("the bridge", "10.82.0.2"),
    ] {
        judge.check(&format!("{what} reaches the other machine"), || {
            let ping = format!("sudo ping -c 1 -W 5 {address}");
            east.ssh.wait_for(&ping, SETTLED).map(drop)
        });
    }
}

fn judge_cables(judge: &mut Judge, guest: &mut Guest) {
    let Guest { vm, ssh, .. } = guest;
    judge.check("the other member takes over when a cable is pulled", || {
        vm.monitor.pull_cable(1)?;
        ssh.wait_for("ip -d link show bond0 | grep 'active_slave eth2'", SETTLED)?;
        ssh.wait_for("sudo ping -c 1 -W 5 10.81.100.2", SETTLED)
            .map(drop)
    });
    judge.check("the primary is back with its cable", || {
        vm.monitor.put_cable(1)?;
        ssh.wait_for("ip -d link show bond0 | grep 'active_slave eth1'", SETTLED)
            .map(drop)
    });
}

/// Restarts the service and waits until it says that the network is up.
fn restart(ssh: &Ssh) -> Result<()> {
    ssh.ok("sudo system-docker exec network rm /run/network-done")?;
    ssh.ok("sudo ros service restart network")?;
    let done = "sudo system-docker exec network ls /run/network-done";
    ssh.wait_for(done, SETTLED).map(drop)
}

fn judge_changes(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("a restart of the service leaves links as they are", || {
        let numbers = "cat /sys/class/net/bond0/ifindex /sys/class/net/br0/ifindex";
        let before = ssh.ok(numbers)?;
        restart(ssh)?;
        equal(ssh.ok(numbers)?, before)?;
        equal(ssh.ok("ip -o link show master bond0 | wc -l")?, "2")
    });
    judge.check("what is no longer configured goes, the rest stays", || {
        ssh.ok("sudo ros config set rancher.network.interfaces.bond0.vlans 100")?;
        ssh.ok("sudo ros config set rancher.network.interfaces.br0.bridge false")?;
        ssh.ok("sudo ros config set rancher.network.interfaces.eth3 '{bridge: \"false\", address: 10.82.0.3/24}'")?;
        ssh.ok("sudo ros config set rancher.network.interfaces.bond1.bond_opts.mode 0")?;
        restart(ssh)?;
        ssh.wait_for("! ip link show guests && ! ip link show br0", SETTLED)?;
        ssh.wait_for("ip -4 addr show eth3 | grep 10.82.0.3/24", SETTLED)?;
        ssh.wait_for("ip -d link show bond1 | grep 'mode balance-rr'", SETTLED)?;
        ssh.wait_for(
            "test $(ip -o link show master bond1 | wc -l) = 2 && ip -4 addr show bond1 | grep 192.168.85.9/24",
            SETTLED,
        )?;
        contains(&ssh.ok("ip -4 addr show bond0.100")?, "10.81.100.1/24")?;
        ssh.wait_for("sudo ping -c 1 -W 5 10.81.100.2", SETTLED)
            .map(drop)
    });
}
