//! A cluster over WireGuard: two machines of the image, joined by three lines of cloud-config, and a Debian that has Docker and one
//! program of ours, which is also the server.

use std::path::Path;

use qemu_tests::config_drive::Form;
use qemu_tests::debian_vm::{Content, Debian};
use qemu_tests::disk::{FileSystem, STATE_LABEL};
use qemu_tests::guest::{Guest, free_port, user_nic};
use qemu_tests::judge::{Judge, contains, ensure, equal};
use qemu_tests::machine::{Boot, Machine, Net, Nic};
use qemu_tests::ssh::Ssh;
use qemu_tests::stage::{Stage, load_image, on_stage};
use qemu_tests::wait::Patience;
use qemu_tests::{HarnessError, Result, program};

const PROGRAM: &str = env!("CARGO_BIN_EXE_guest");
/// The Debian in the network that all share.
const SERVER: &str = "192.168.99.1";
/// In each answer of a container: must not be seen on the wire.
const SECRET: &str = "a-word-that-nobody-else-says";
/// For what is to happen at once, by machines that are emulated.
const SOON: Patience = Patience::seconds(60);

#[test]
fn two_rancheros_and_a_debian_are_one_cluster() -> Result<()> {
    on_stage("cluster", &["mmdebstrap"], |stage| {
        let wire = stage.scratch().join("wire.pcap");
        let debian = Foreign::boot(stage, &wire)?;
        let mut judge = Judge::of(&stage.name);
        let Some(join) = debian.found_cluster(&mut judge) else {
            return judge.verdict(&debian.guest.vm.console.tail(40));
        };
        let one = ours(stage, "one", &join)?;
        let mut two = ours(stage, "two", &join)?;
        judge_joined(&mut judge, &debian);
        judge_names(&mut judge, &debian, [&one, &two])?;
        judge_wire(&mut judge, &wire, &one);
        judge_loss(&mut judge, &debian);
        judge_check(&mut judge, &debian);
        judge_without_server(&mut judge, &debian, (&one, &mut two));
        judge_leaving(&mut judge, &debian);
        judge.verdict(&format!(
            "{}\n{}",
            one.vm.console.tail(40),
            debian.guest.vm.console.tail(20)
        ))
    })
}

/// A Debian with Docker and `ros`.
struct Foreign {
    guest: Guest,
    root: Ssh,
}

const NETWORK: &str = "[Match]\nMACAddress=52:54:00:99:00:01\n[Network]\nAddress=192.168.99.1/24\n";

impl Foreign {
    fn boot(stage: &Stage, wire: &Path) -> Result<Self> {
        let ros = program::ros()?;
        let bytes = std::fs::read(&ros).map_err(HarnessError::file("read", &ros))?;
        let debian = Debian::prepare()?;
        let key = stage.key()?;
        let content = Content {
            hostname: "foreign",
            files: &[
                (
                    "etc/systemd/network/10-shared.network",
                    NETWORK.as_bytes(),
                    0o644,
                ),
                ("usr/local/bin/ros", &bytes, 0o755),
            ],
            units: &[],
            key: key.public(),
        };
        let disk = debian.disk(&stage.scratch().join("foreign.img"), &content)?;
        let port = free_port()?;
        let boot = Boot::Direct {
            kernel: debian.kernel(),
            initrd: debian.initrd(),
        };
        let machine = Machine::new("cluster-foreign", boot)
            .with_disk(&disk)
            .with_nic(user_nic(port, &[]))
            .with_nic(shared("52:54:00:99:00:01"))
            .with_capture(wire)
            .with_word("root=/dev/vda")
            .with_word("rw");
        let guest = Guest::boot(&machine, key, port, &stage.logs())?;
        let root = Ssh::new(key, "root", port, guest.vm.scratch());
        Ok(Self { guest, root })
    }

    /// As the README says it; gives address and token for the other hosts.
    fn found_cluster(&self, judge: &mut Judge) -> Option<(String, String)> {
        let mut join = None;
        judge.check("a server from nothing to its first host", || {
            self.root
                .wait_for("ip addr show | grep -F 192.168.99.1/24", SOON)?;
            let said = self
                .root
                .ok(&format!("ros server install --name {SERVER}"))?;
            let words: Vec<&str> = said.split_whitespace().collect();
            let after = |word: &str| {
                let place = words.iter().position(|one| *one == word)?;
                Some((
                    words.get(place + 1)?.to_string(),
                    words.get(place + 2)?.to_string(),
                ))
            };
            let context = said
                .lines()
                .find(|line| line.trim().starts_with("ros context add"));
            self.root.ok(context.unwrap_or("false"))?;
            let (url, token) = after("join").ok_or_else(|| HarnessError::Form {
                what: "the server's first words",
                detail: "no `ros agent join URL TOKEN` in them".into(),
            })?;
            self.root.wait_for("docker version", SOON)?;
            self.root.ok(&format!("ros agent join {url} {token}"))?;
            join = Some((url, token));
            Ok(())
        });
        join
    }
}

fn shared(mac: &str) -> Nic {
    Nic {
        net: Net::Shared {
            group: "230.0.0.1:12399".into(),
        },
        mac: Some(mac.into()),
    }
}

/// A machine of the image, in the cluster by its cloud-config.
fn ours(stage: &Stage, name: &str, (url, token): &(String, String)) -> Result<Guest> {
    let number = if name == "one" { 11 } else { 12 };
    let config = format!(
        "hostname: {name}\nrancher:\n  cluster:\n    join: {url}\n    token: {token}\n    labels: {{zone: {name}}}\n  \
         network:\n    interfaces:\n      eth0: {{dhcp: true}}\n      eth1: {{address: 192.168.99.{number}/24}}\n"
    );
    let folder = stage.scratch().join(name);
    std::fs::create_dir_all(&folder).map_err(HarnessError::file("make folder", &folder))?;
    let content = qemu_tests::config_drive::Content {
        user_data: stage.cloud_config(&config)?,
        ..Default::default()
    };
    let drive = qemu_tests::config_drive::ConfigDrive::create(&folder, Form::Iso, &content)?;
    let disk = stage.disk(&format!("{name}.img"), 4096, FileSystem::Ext4, STATE_LABEL)?;
    let port = free_port()?;
    let machine = Machine::new(
        &format!("cluster-{name}"),
        qemu_tests::artefacts::direct_boot()?,
    )
    .with_nic(user_nic(port, &[]))
    .with_nic(shared(&format!("52:54:00:99:00:{number}")))
    .with_disk(&disk)
    .with_config_drive(&drive)
    .with_word(format!("rancher.state.dev=LABEL={STATE_LABEL}"));
    Guest::boot(&machine, stage.key()?, port, &stage.logs())
}

fn judge_joined(judge: &mut Judge, debian: &Foreign) {
    judge.check("all three are connected, over WireGuard", || {
        let three = "test $(ros hosts --format json | grep -c '\"state\": *\"connected\"') = 3";
        debian.root.wait_for(three, Patience::seconds(120))?;
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
