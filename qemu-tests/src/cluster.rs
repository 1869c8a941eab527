//! Machines of a cluster under QEMU: a Debian that has Docker and one program of ours, which is also the server, and machines of the image
//! that join it by their cloud-config. Owns their disks and networks.

use std::path::Path;

use crate::config_drive::{ConfigDrive, Content as Drive, Form};
use crate::debian_vm::{Content, Debian};
use crate::disk::{FileSystem, STATE_LABEL};
use crate::error::{HarnessError, Result};
use crate::guest::{Guest, free_port, user_nic};
use crate::machine::{Boot, Machine, Net, Nic};
use crate::program;
use crate::ssh::Ssh;
use crate::stage::Stage;
use crate::wait::Patience;

/// The Debian in the network that all share.
pub const SERVER: &str = "192.168.99.1";
/// For what is to happen at once, by machines that are emulated.
pub const SOON: Patience = Patience::seconds(60);

/// A Debian with Docker and `ros`.
pub struct Foreign {
    /// As its user sees it.
    pub guest: Guest,
    /// As root sees it.
    pub root: Ssh,
}

/// What a host joins with.
#[derive(Debug, Clone)]
pub struct Join {
    /// The server's address.
    pub url: String,
    /// A token.
    pub token: String,
}

/// The network that all share.
const SHARED: &str = "[Match]\nMACAddress=52:54:00:99:00:01\n[Network]\nAddress=192.168.99.1/24\n";
/// A network behind this machine, whose addresses nobody outside sees.
const BEHIND: &str = "[Match]\nMACAddress=52:54:00:98:00:01\n[Network]\nAddress=192.168.98.1/24\nIPMasquerade=ipv4\n";

impl Foreign {
    /// Boots it; what passes in the network that all share is written to `wire`, if asked for.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn boot(stage: &Stage, wire: Option<&Path>) -> Result<Self> {
        let ros = program::ros()?;
        let bytes = std::fs::read(&ros).map_err(HarnessError::file("read", &ros))?;
        let debian = Debian::prepare()?;
        let key = stage.key()?;
        let content = Content {
            hostname: "foreign",
            files: &[
                (
                    "etc/systemd/network/10-shared.network",
                    SHARED.as_bytes(),
                    0o644,
                ),
                (
                    "etc/systemd/network/11-behind.network",
                    BEHIND.as_bytes(),
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
        let machine = Machine::new(&format!("{}-foreign", stage.name), boot)
            .with_disk(&disk)
            .with_nic(user_nic(port, &[]))
            .with_nic(Place::Shared(1).nic())
            .with_word("root=/dev/vda")
            .with_word("rw");
        let machine = match wire {
            Some(wire) => machine.with_capture(wire),
            None => machine,
        };
        let machine = machine.with_nic(Place::Behind(1).nic());
        let guest = Guest::boot(&machine, key, port, &stage.logs())?;
        let root = Ssh::new(key, "root", port, guest.vm.scratch());
        Ok(Self { guest, root })
    }

    /// A server from nothing to its first host, as the README says it.
    ///
    /// # Errors
    /// When a command fails.
    pub fn found_cluster(&self) -> Result<Join> {
        self.root
            .wait_for("ip addr show | grep -F 192.168.99.1/24", SOON)?;
        let said = self
            .root
            .ok(&format!("ros server install --name {SERVER}"))?;
        let context = said
            .lines()
            .find(|line| line.trim().starts_with("ros context add"));
        self.root.ok(context.unwrap_or("false"))?;
        let join = after(&said, "join").ok_or_else(|| HarnessError::Form {
            what: "the server's first words",
            detail: "no `ros agent join URL TOKEN` in them".into(),
        })?;
        self.root.wait_for("docker version", SOON)?;
        // What comes from the network behind it is passed on, as by a router.
        self.root
            .ok("iptables -I DOCKER-USER -s 192.168.98.0/24 -j ACCEPT")?;
        self.root
            .ok("iptables -I DOCKER-USER -d 192.168.98.0/24 -j ACCEPT")?;
        self.root
            .ok(&format!("ros agent join {} {}", join.url, join.token))?;
        Ok(join)
    }

    /// Waits until so many hosts are connected.
    ///
    /// # Errors
    /// When they are not in time.
    pub fn wait_for_hosts(&self, count: usize) -> Result<()> {
        let connected = format!(
            "test $(ros hosts --format json | grep -c '\"state\": *\"connected\"') = {count}"
        );
        self.root
            .wait_for(&connected, Patience::seconds(120))
            .map(drop)
    }
}

/// The two words after one.
fn after(said: &str, word: &str) -> Option<Join> {
    let mut words = said
        .split_whitespace()
        .skip_while(|one| *one != word)
        .skip(1);
    Some(Join {
        url: words.next()?.to_owned(),
        token: words.next()?.to_owned(),
    })
}

/// Where a machine of the image is: the last number of its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the network that all share.
    Shared(u8),
    /// In a network of its own behind the Debian, which gives it its own address outside (NAT).
    Behind(u8),
}

impl Place {
    fn nic(self) -> Nic {
        let (network, number) = self.numbers();
        Nic {
            net: Net::Shared {
                group: format!("230.0.0.1:123{network}"),
            },
            mac: Some(format!("52:54:00:{network}:00:{number:02}")),
        }
    }

    /// The network's number, and the machine's.
    fn numbers(self) -> (u8, u8) {
        match self {
            Self::Shared(number) => (99, number),
            Self::Behind(number) => (98, number),
        }
    }

    /// The card's part of the cloud-config.
    fn config(self) -> String {
        let (network, number) = self.numbers();
        let route = match self {
            Self::Shared(_) => "",
            Self::Behind(_) => {
                ", post_up: [\"ip route replace 192.168.99.0/24 via 192.168.98.1 dev $iface\"]"
            }
        };
        format!("{{address: 192.168.{network}.{number}/24{route}}}")
    }
}

/// A machine of the image, in the cluster by its cloud-config.
///
/// # Errors
/// When it does not come up.
pub fn ours(stage: &Stage, name: &str, place: Place, Join { url, token }: &Join) -> Result<Guest> {
    let card = place.config();
    let config = format!(
        "hostname: {name}\nrancher:\n  cluster:\n    join: {url}\n    token: {token}\n    labels: {{zone: {name}}}\n  \
         network:\n    interfaces:\n      eth0: {{dhcp: true}}\n      eth1: {card}\n"
    );
    let folder = stage.scratch().join(name);
    std::fs::create_dir_all(&folder).map_err(HarnessError::file("make folder", &folder))?;
    let content = Drive {
        user_data: stage.cloud_config(&config)?,
        ..Default::default()
    };
    let drive = ConfigDrive::create(&folder, Form::Iso, &content)?;
    let disk = stage.disk(&format!("{name}.img"), 4096, FileSystem::Ext4, STATE_LABEL)?;
    let port = free_port()?;
    let machine = Machine::new(
        &format!("{}-{name}", stage.name),
        crate::artefacts::direct_boot()?,
    )
    .with_nic(user_nic(port, &[]))
    .with_nic(place.nic())
    .with_disk(&disk)
    .with_config_drive(&drive)
    .with_word(format!("rancher.state.dev=LABEL={STATE_LABEL}"));
    Guest::boot(&machine, stage.key()?, port, &stage.logs())
}
