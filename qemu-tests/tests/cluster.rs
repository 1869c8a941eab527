//! A cluster over WireGuard: two machines of the image, joined by three lines of cloud-config, one of them behind NAT, and a Debian that has
//! Docker and one program of ours, which is also the server.

use std::path::Path;

use qemu_tests::cluster::{Foreign, Place, SOON, ours};
use qemu_tests::guest::Guest;
use qemu_tests::judge::{Judge, contains, ensure, equal};
use qemu_tests::stage::{load_image, on_stage};
use qemu_tests::wait::Patience;
use qemu_tests::{HarnessError, Result};

const PROGRAM: &str = env!("CARGO_BIN_EXE_guest");
/// In each answer of a container: must not be seen on the wire.
const SECRET: &str = "a-word-that-nobody-else-says";

#[test]
fn two_rancheros_and_a_debian_are_one_cluster() -> Result<()> {
    on_stage("cluster", &["mmdebstrap"], |stage| {
        let wire = stage.scratch().join("wire.pcap");
        let debian = Foreign::boot(stage, Some(&wire))?;
        let mut judge = Judge::of(&stage.name);
        let mut join = None;
        judge.check("a server from nothing to its first host", || {
            join = Some(debian.found_cluster()?);
            Ok(())
        });
        let Some(join) = join else {
            return judge.verdict(&debian.guest.vm.console.tail(40));
        };
        let one = ours(stage, "one", Place::Shared(11), &join)?;
        let mut two = ours(stage, "two", Place::Behind(12), &join)?;
        judge_joined(&mut judge, &debian);
        judge_names(&mut judge, &debian, [&one, &two])?;
        judge_wire(&mut judge, &wire, &one);
        judge_loss(&mut judge, &debian);
        judge_check(&mut judge, &debian);
        judge_keys(&mut judge, &debian, [&one, &two]);
        judge_clock(&mut judge, &debian, &one);
        judge_without_server(&mut judge, &debian, (&one, &mut two));
        judge_leaving(&mut judge, &debian);
        judge.verdict(&format!(
            "{}\n{}",
            one.vm.console.tail(40),
            debian.guest.vm.console.tail(20)
        ))
    })
}

fn judge_joined(judge: &mut Judge, debian: &Foreign) {
    judge.check("all three are connected, over WireGuard", || {
        debian.wait_for_hosts(3)?;
        let table = debian.root.ok("ros hosts")?;
        ["foreign", "one", "two", "10.42."]
            .iter()
            .try_for_each(|part| contains(&table, part))?;
        contains(&debian.root.ok("ip -d link show ros-wg")?, "wireguard")
    });
}

fn judge_names(judge: &mut Judge, debian: &Foreign, [one, two]: [&Guest; 2]) -> Result<()> {
    for guest in [one, two, &debian.guest] {
        guest
            .ssh
            .wait_for("docker version", Patience::seconds(120))?;
        load_image(guest, "tool:1", Path::new(PROGRAM))?;
        guest.ssh.wait_for("docker network inspect ros", SOON)?;
    }
    let run = |name: &str, port: &str| {
        format!(
            "docker run -d --restart always --name {name} --network ros tool:1 http {port} {SECRET}-{name}"
        )
    };
    judge.check("a container on each answers by name on the others", || {
        one.ssh.ok(&run("web", "80"))?;
        two.ssh.ok(&run("db", "5432"))?;
        debian.guest.ssh.ok(&run("cache", "6379"))?;
        for (guest, name, port) in [
            (two, "web", 80),
            (&debian.guest, "web", 80),
            (&debian.guest, "db.rancher.internal", 5432),
            (one, "cache", 6379),
        ] {
            let fetch = fetch(name, port);
            let said = guest.ssh.wait_for(&fetch, SOON)?;
            contains(&said, SECRET)?;
        }
        Ok(())
    });
    judge.check("a label puts a container into the network", || {
        one.ssh.ok("docker run -d --name labelled --label io.rancher.container.network=true tool:1 http 81 labelled")?;
        let said = two.ssh.wait_for(&fetch("labelled", 81), SOON)?;
        equal(said, "labelled")
    });
    judge.check("ros ps shows the containers of all hosts", || {
        let table = debian.root.ok("ros ps")?;
        ["web", "db", "cache", "labelled"]
            .iter()
            .try_for_each(|name| contains(&table, name))
    });
    Ok(())
}

fn fetch(name: &str, port: u16) -> String {
    format!("docker run --rm --network ros tool:1 fetch {name} {port}")
}

fn judge_wire(judge: &mut Judge, wire: &Path, one: &Guest) {
    judge.check("what containers say cannot be read on the wire", || {
        one.ssh.ok(&fetch("cache", 6379))?;
        let packets = std::fs::read(wire).map_err(HarnessError::file("read capture", wire))?;
        let sees = |word: &[u8]| packets.windows(word.len()).any(|window| window == word);
        // Ethernet, IPv4 and UDP to WireGuard's port: the capture is of the right wire.
        ensure(sees(&51_820_u16.to_be_bytes()), || {
            "no packet of WireGuard in the capture".into()
        })?;
        ensure(packets.len() > 10_000, || {
            format!("{} bytes", packets.len())
        })?;
        ensure(!sees(SECRET.as_bytes()), || "it can be read".into())
    });
}

fn judge_loss(judge: &mut Judge, debian: &Foreign) {
    let root = &debian.root;
    let netem = |verb: &str| {
        format!(
            "dev=$(ip -o -4 addr show to 192.168.99.1 | awk '{{print $2}}'); tc qdisc {verb} dev $dev root netem loss 5% delay 20ms 5ms"
        )
    };
    judge.check(
        "five packets in a hundred lost: every answer still comes",
        || {
            root.ok(&netem("add"))?;
            for _ in 0..5 {
                contains(&root.ok(&fetch("web", 80))?, SECRET)?;
            }
            root.ok(&netem("del")).map(drop)
        },
    );
}

fn judge_check(judge: &mut Judge, debian: &Foreign) {
    judge.check("ros cluster check finds nothing wrong", || {
        debian
            .root
            .wait_for("ros cluster check", Patience::seconds(120))
            .map(drop)
    });
}

fn judge_keys(judge: &mut Judge, debian: &Foreign, [one, two]: [&Guest; 2]) {
    judge.check("keys are turned, and nobody is lost by it", || {
        for (name, guest) in [("one", one), ("two", two)] {
            let key = format!("ros inspect {name} --format json | grep public_key");
            let old = debian.root.ok(&key)?;
            // As after a month.
            guest.ssh.ok("sudo sed -i -E 's/\"made\": ?[0-9]+/\"made\":1/' /var/lib/rancher/agent/wireguard.key && sudo ros service restart agent")?;
            let new = format!("{key} | grep -v -F '{}'", old.trim());
            debian.root.wait_for(&new, SOON)?;
            for (from, to, port) in [(one, "db", 5432), (two, "web", 80), (&debian.guest, "db", 5432)] {
                contains(&from.ssh.wait_for(&fetch(to, port), SOON)?, SECRET)?;
            }
        }
        Ok(())
    });
}

fn shift_clock(hours: i64) -> String {
    format!("sudo date -s @$(($(date +%s) + {}))", hours * 3600)
}

fn judge_clock(judge: &mut Judge, debian: &Foreign, one: &Guest) {
    let is_told = |command: &str, expected: &str| {
        debian
            .root
            .wait_for(
                &format!("{command} 2>&1 | grep -F '{expected}'"),
                Patience::seconds(120),
            )
            .map(drop)
    };
    judge.check(
        "a clock that is hours ahead is found, and stops nothing",
        || {
            one.ssh.ok(&shift_clock(5))?;
            is_told("ros cluster check", "the clock of one")?;
            contains(&debian.root.ok(&fetch("web", 80))?, SECRET)
        },
    );
    judge.check(
        "a clock that is days behind: the host says so, and its network goes on",
        || {
            // Before the server's certificate begins, which is a day before it was made.
            one.ssh.ok(&format!(
                "{} && sudo ros service restart agent",
                shift_clock(-65)
            ))?;
            one.ssh.wait_for(
                "sudo ros agent status 2>&1 | grep -i 'the clock of this machine'",
                SOON,
            )?;
            contains(&debian.root.ok(&fetch("web", 80))?, SECRET)?;
            one.ssh.wait_for(&fetch("cache", 6379), SOON).map(drop)
        },
    );
    judge.check("the clock is right again, and so is everything", || {
        one.ssh.ok(&shift_clock(60))?;
        debian.wait_for_hosts(3)
    });
}

fn judge_without_server(judge: &mut Judge, debian: &Foreign, (one, two): (&Guest, &mut Guest)) {
    judge.check("without a server names and network go on", || {
        debian.root.ok("systemctl stop ros-server")?;
        contains(&two.ssh.ok(&fetch("web", 80))?, SECRET)?;
        one.ssh
            .ok("docker run -d --name later --network ros tool:1 http 82 later")?;
        equal(one.ssh.wait_for(&fetch("later", 82), SOON)?, "later")
    });
    judge.check("after a boot without a server, too", || {
        let boot = two.boot_id()?;
        drop(two.ssh.run("sudo reboot")?);
        two.wait_for_next_login(&boot)?;
        two.ssh.wait_for("docker version", Patience::seconds(120))?;
        contains(
            &two.ssh
                .wait_for(&fetch("web", 80), Patience::seconds(120))?,
            SECRET,
        )?;
        // Its own container is back, and is reached from the others, which have not heard of it anew.
        contains(&one.ssh.wait_for(&fetch("db", 5432), SOON)?, SECRET)
    });
    judge.check("the server comes back and hears of everything", || {
        debian.root.ok("systemctl start ros-server")?;
        let later = "ros ps | grep later && test $(ros hosts --format json | grep -c '\"state\": *\"connected\"') = 3";
        debian.root.wait_for(later, Patience::seconds(120)).map(drop)
    });
}

fn judge_leaving(judge: &mut Judge, debian: &Foreign) {
    judge.check("a host leaves and nothing of the cluster stays on it", || {
        debian.root.ok("ros agent leave")?;
        let left = "ip -o link; ip route show table all; iptables-save; docker network ls; ip addr show lo";
        let left = debian.root.ok(left)?;
        for mark in ["ros-", "ROS-", "10.42.", "169.254.169.250"] {
            ensure(!left.contains(mark), || format!("{mark} in\n{left}"))?;
        }
        let hosts = debian.root.ok("ros hosts")?;
        ensure(!hosts.contains("foreign"), || hosts.clone())?;
        // Its container runs on.
        contains(&debian.root.ok("docker ps")?, "cache")
    });
}
