//! The network between the hosts: a switch in a namespace of its own, which is also their gateway and the world beyond it. Owns the links and
//! what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use qemu_tests::Result;

use crate::node::{Node, Plan};
use crate::root::Root;
use crate::stage::Stage;

/// Address of the gateway.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// A name that the hosts' resolver knows: the gateway's. It knows no other.
pub const OUTSIDE: &str = "outside.example";
/// Name of the bridge.
const BRIDGE: &str = "between";

/// What is wrong between the hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// Packets in a hundred that are lost.
    pub loss: u8,
    /// Hosts by group: those of different groups do not reach each other. Who is in none reaches all.
    pub groups: BTreeMap<String, u8>,
    /// Hosts that nothing gets to or comes from, although their link is up.
    pub silent: BTreeSet<String>,
}

/// The network.
pub struct Net {
    switch: Node,
    hosts: u8,
}

impl Net {
    /// A switch without hosts.
    ///
    /// # Errors
    /// When its namespace cannot be made.
    pub fn new(stage: &Stage) -> Result<Self> {
        let switch = Node::start(stage, &Plan::new("switch", Root::Docker26))?;
        switch.sh(&format!(
            "ip link add {BRIDGE} type bridge forward_delay 0; ip addr add {GATEWAY}/24 dev {BRIDGE}; ip link set {BRIDGE} up"
        ))?;
        switch.spawn(
            "dnsmasq",
            &[
                "dnsmasq",
                "--keep-in-foreground",
                "--user=root",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--address=/#/",
                &format!("--address=/{OUTSIDE}/{GATEWAY}"),
            ],
        )?;
        Ok(Self { switch, hosts: 0 })
    }

    /// The namespace of the switch: what runs there is outside of all hosts.
    #[must_use]
    pub fn outside(&self) -> &Node {
        &self.switch
    }

    /// Gives a host a link `eth0`, an address, a route to the outside and a resolver there.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn join(&mut self, node: &mut Node) -> Result<()> {
        self.hosts += 1;
        node.address = Ipv4Addr::new(10, 77, 0, 10 + self.hosts);
        let (port, holder) = (port(&node.name), node.space().holder().to_string());
        self.switch
            .space()
            .in_net("ip")
            .args(["link", "add", &port, "type", "veth"])
            .args(["peer", "name", "eth0", "netns", &holder])
            .run()?;
        self.switch
            .sh(&format!("ip link set {port} master {BRIDGE} up"))?;
        node.sh(&format!(
            "ip addr add {}/24 dev eth0; ip link set eth0 up; ip route add default via {GATEWAY}",
            node.address
        ))?;
        node.write("/etc/resolv.conf", &format!("nameserver {GATEWAY}\n"))
    }

    /// Pulls a host's cable, or plugs it in again.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn set_cable(&self, node: &Node, cable: Cable) -> Result<()> {
        let state = match cable {
            Cable::In => "up",
            Cable::Out => "down",
        };
        let port = port(&node.name);
        self.switch
            .run(&["ip", "link", "set", &port, state])
            .map(drop)
    }

    /// Makes the network as bad as that, in place of how bad it was.
    ///
    /// # Errors
    /// When nft fails.
    pub fn set_faults(&self, faults: &Faults) -> Result<()> {
        self.switch
            .run_with(&["nft", "-f", "-"], faults.rules().as_bytes())
            .map(drop)
    }

    /// The largest packet of a host's link.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn set_mtu(&self, node: &Node, mtu: u32) -> Result<()> {
        let (port, mtu) = (port(&node.name), mtu.to_string());
        self.switch
            .run(&["ip", "link", "set", &port, "mtu", &mtu])?;
        node.run(&["ip", "link", "set", "eth0", "mtu", &mtu])
            .map(drop)
    }
}

/// A cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cable {
    /// Plugged in.
    In,
    /// Not.
    Out,
}

impl Faults {
    /// Nothing is wrong but that packets get lost.
    #[must_use]
    pub fn losing(loss: u8) -> Self {
        Self {
            loss,
            ..Self::default()
        }
    }

    /// Nothing gets to or comes from these.
    #[must_use]
    pub fn silencing(nodes: &[&Node]) -> Self {
        Self {
            silent: nodes.iter().map(|node| node.name.clone()).collect(),
            ..Self::default()
        }
    }

    /// Nothing passes between any two of these groups.
    #[must_use]
    pub fn parting(groups: &[&[&Node]]) -> Self {
        let members = groups.iter().zip(0..);
        let named = members
            .flat_map(|(nodes, group)| nodes.iter().map(move |node| (node.name.clone(), group)));
        Self {
            groups: named.collect(),
            ..Self::default()
        }
    }

    /// The whole rule set in one transaction (nft(8)): between hosts, from hosts to the gateway, and from the gateway to hosts.
    fn rules(&self) -> String {
        let mut rules: Vec<String> = Vec::new();
        for name in &self.silent {
            let port = port(name);
            rules.push(format!("iifname {port} drop"));
            rules.push(format!("oifname {port} drop"));
        }
        for (one, group) in &self.groups {
            for (other, _) in self.groups.iter().filter(|(_, g)| *g != group) {
                rules.push(format!(
                    "iifname {} oifname {} drop",
                    port(one),
                    port(other)
                ));
            }
        }
        if self.loss > 0 {
            rules.push(format!("numgen random mod 100 < {} drop", self.loss));
        }
        let chains: String = ["input", "forward", "output"]
            .iter()
            .map(|hook| {
                // Where a packet has no port on one side, rules that name one do not match.
                let rules = rules.join("\n  ");
                format!(" chain {hook} {{ type filter hook {hook} priority 0\n  {rules}\n }}\n")
            })
            .collect();
        format!(
            "table bridge faults\ndelete table bridge faults\ntable bridge faults {{\n{chains}}}\n"
        )
    }
}

fn port(node: &str) -> String {
    format!("p-{node}")
}
