//! Networks: DHCP and static addresses on several cards, matched by name, glob and MAC; name servers; published by nobody else.

use qemu_tests::Result;
use qemu_tests::config_drive::Form;
use qemu_tests::guest::Guest;
use qemu_tests::judge::{Judge, contains, ensure, equal};
use qemu_tests::machine::{Net, Nic};
use qemu_tests::stage::on_stage;

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
