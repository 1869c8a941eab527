//! Our iptables chains: rendered whole, found by their names, loaded in one go. Pure; [`super::iptables`] runs the programs.
//!
//! Rules are spelled as `iptables-save` prints them, so that what is loaded can be told from what should be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use api::network::Encapsulation;
use ipnet::{Ipv4Net, Ipv6Net};

use super::SERVICES;

/// What the names of our chains begin with.
const MARK: &str = "ROS-";

/// A chain of a table.
pub type Chain = (&'static str, &'static str);

/// What the rules depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Addresses of the project's containers.
    pub subnet: Ipv4Net,
    /// How packets travel.
    pub encapsulation: Encapsulation,
    /// UDP port of the encapsulation.
    pub port: u16,
    /// Links by which the other hosts' containers are reached.
    pub links: BTreeSet<String>,
    /// Addresses of the other hosts.
    pub peers: BTreeSet<IpAddr>,
    /// Links of Docker's networks.
    pub bridges: BTreeSet<String>,
    /// Containers that keep their own resolvers.
    pub no_dns: BTreeSet<Ipv4Addr>,
    /// Whether Docker drops what is routed to containers before our other rules see it.
    pub filters: bool,
    /// Resolvers that Docker's own asks from the host's network.
    pub asked_from_host: BTreeSet<Ipv4Addr>,
}

/// IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Containers, and hosts that are reached by IPv4.
    V4,
    /// Hosts that are reached by IPv6.
    V6,
}

/// Rules of chains, without the `-A CHAIN` that each begins with; by table and chain.
pub type Chains = BTreeMap<(String, String), Vec<String>>;

/// What iptables-save says of a family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Our chains.
    pub chains: Chains,
    /// Rules that jump to our chains: table, chain, rule.
    pub jumps: Vec<(String, String, String)>,
    /// Whether Docker's chain for users is there.
    pub docker_user: bool,
}

/// Reads the output of iptables-save. Whoever's rules are not ours are not looked at.
#[must_use]
pub fn parse(text: &str) -> Loaded {
    let mut loaded = Loaded::default();
    let mut table = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim().to_owned();
        } else if let Some(chain) = line.strip_prefix(':') {
            let name = chain.split_whitespace().next().unwrap_or_default();
            if name.starts_with(MARK) {
                loaded
                    .chains
                    .entry((table.clone(), name.to_owned()))
                    .or_default();
            }
            loaded.docker_user |= table == "filter" && name == "DOCKER-USER";
        } else if let Some((chain, rule)) = line
            .strip_prefix("-A ")
            .and_then(|rest| rest.split_once(' '))
        {
            if chain.starts_with(MARK) {
                let key = (table.clone(), chain.to_owned());
                loaded.chains.entry(key).or_default().push(rule.to_owned());
            } else if rule.contains("-j ROS-") {
                loaded
                    .jumps
                    .push((table.clone(), chain.to_owned(), rule.to_owned()));
            }
        }
    }
    loaded
}

/// The chains that `rules` ask for in a family.
#[must_use]
pub fn chains(rules: &Rules, family: Family) -> Chains {
    let mut chains = Chains::new();
    let mut add = |(table, chain): Chain, rules: Vec<String>| {
        chains.insert((table.to_owned(), chain.to_owned()), rules);
    };
    if family == Family::V6 {
        // The encapsulation does not listen there otherwise.
        if rules.peers.iter().any(IpAddr::is_ipv6) && rules.encapsulation != Encapsulation::Direct {
            add(("filter", "ROS-INPUT"), encapsulated(rules, family));
        }
        return chains;
    }
    let mut input = vec![format!("-d {SERVICES}/32 -j ROS-SERVICES")];
    input.extend(encapsulated(rules, family));
    add(("filter", "ROS-INPUT"), input);
    add(("filter", "ROS-SERVICES"), services());
    let bridges = rules.bridges.iter();
    add(
        ("filter", "ROS-BRIDGES"),
        bridges.map(|link| format!("-i {link} -j ACCEPT")).collect(),
    );
    add(("filter", "ROS-FORWARD"), forward(rules));
    add(("nat", "ROS-PREROUTING"), names(rules));
    let asked = &rules.asked_from_host;
    if !asked.is_empty() {
        let answered = format!("-j DNAT --to-destination {SERVICES}:53");
        add(("nat", "ROS-OUTPUT"), asked_from_host(asked, &answered));
        // Only the first packet of a flow is turned. A question for us from a port that has just asked somebody else must not be taken for the same flow.
        let zone = format!("-j CT --zone-orig {ZONE}");
        add(("raw", "ROS-ZONE"), asked_from_host(asked, &zone));
    }
    let subnet = rules.subnet;
    add(
        ("nat", "ROS-POSTROUTING"),
        vec![format!(
            "-s {subnet} ! -d {subnet} ! -o ros-+ -j MASQUERADE"
        )],
    );
    if rules.encapsulation != Encapsulation::Direct {
        add(("mangle", "ROS-MSS"), segments(rules));
    }
    if rules.filters {
        let from = |link| format!("-s {subnet} -d {subnet} -i {link} -j ACCEPT");
        add(("raw", "ROS-RAW"), rules.links.iter().map(from).collect());
    }
    chains
}

/// Between our bridge and the other hosts, for the project's addresses only. From an encapsulation nothing else comes in.
fn forward(rules: &Rules) -> Vec<String> {
    let (subnet, bridge) = (rules.subnet, super::BRIDGE);
    let mut lines = Vec::new();
    for link in &rules.links {
        lines.push(format!(
            "-s {subnet} -d {subnet} -i {bridge} -o {link} -j ACCEPT"
        ));
        lines.push(format!(
            "-s {subnet} -d {subnet} -i {link} -o {bridge} -j ACCEPT"
        ));
        if link.starts_with(super::PREFIX) {
            lines.push(format!("-i {link} -j DROP"));
        }
    }
    lines
}

/// Packets of the encapsulation itself. WireGuard knows its peers, wherever they send from; VXLAN believes anybody.
fn encapsulated(rules: &Rules, family: Family) -> Vec<String> {
    let port = rules.port;
    match rules.encapsulation {
        Encapsulation::Wireguard => vec![format!("-p udp -m udp --dport {port} -j ACCEPT")],
        Encapsulation::Vxlan => {
            let mut lines: Vec<String> = sources(&rules.peers, family)
                .iter()
                .map(|source| format!("-s {source} -p udp -m udp --dport {port} -j ACCEPT"))
                .collect();
            lines.push(format!("-p udp -m udp --dport {port} -j DROP"));
            lines
        }
        Encapsulation::Direct => Vec::new(),
    }
}

/// The peers' addresses, as few networks as hold exactly them.
fn sources(peers: &BTreeSet<IpAddr>, family: Family) -> Vec<String> {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for peer in peers {
        match peer {
            IpAddr::V4(address) => old.push(Ipv4Net::from(*address)),
            IpAddr::V6(address) => new.push(Ipv6Net::from(*address)),
        }
    }
    match family {
        Family::V4 => Ipv4Net::aggregate(&old)
            .iter()
            .map(ToString::to_string)
            .collect(),
        Family::V6 => Ipv6Net::aggregate(&new)
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}

/// Names and metadata, for this host and its containers.
fn services() -> Vec<String> {
    let for_bridges = |service: &str| format!("{service} -j ROS-BRIDGES");
    vec![
        "-i lo -j RETURN".into(),
        for_bridges("-p udp -m udp --dport 53"),
        for_bridges("-p tcp -m tcp --dport 53"),
        for_bridges("-p tcp -m tcp --dport 80"),
        "-j DROP".into(),
    ]
}

/// Docker's resolver asks the host's resolvers from within the container: these questions come to us, unless the agent has been gone for a while.
fn names(rules: &Rules) -> Vec<String> {
    let (subnet, bridge) = (rules.subnet, super::BRIDGE);
    let mut lines: Vec<String> = rules
        .no_dns
        .iter()
        .map(|address| format!("-s {address}/32 -i {bridge} -j RETURN"))
        .collect();
    for protocol in ["udp", "tcp"] {
        lines.push(format!(
            "! -d {subnet} -i {bridge} -p {protocol} -m {protocol} --dport 53 {is_alive} -j DNAT --to-destination {SERVICES}:53",
            is_alive = is_alive()
        ));
    }
    lines
}

/// Chains that are loaded each by itself: the extensions that they need are not in every kernel.
const APART: [&str; 3] = ["ROS-PREROUTING", "ROS-OUTPUT", "ROS-ZONE"];
/// List of xt_recent that the agent writes itself into, below `/proc/thread-self/net/xt_recent`: while it is not there, its rules are as if they were not.
pub const ALIVE: &str = "ros-alive";
/// How long it counts as there, in seconds: five times the pause between two times that it says so.
const GRACE: u32 = 25;
/// Zone of connection tracking for questions that are turned.
const ZONE: u16 = 83;

/// True while the agent is there.
fn is_alive() -> String {
    format!("-m recent --rcheck --seconds {GRACE} --name {ALIVE} --mask 0.0.0.0 --rsource")
}

/// Some of Docker's resolvers ask these `resolvers` from the host's own network. Of what the host asks them, questions that can only be ours go where
/// `target` says, while the agent is there: for addresses of names of one word, and for names that end in `rancher.internal`. All else goes where it went:
/// what is asked of anybody else, what a resolver asks by itself (without RD), and what it must know of `com` or of the root (NS, DS, DNSKEY).
fn asked_from_host(resolvers: &BTreeSet<Ipv4Addr>, target: &str) -> Vec<String> {
    // Behind the headers of IP and UDP: the flags (RFC 1035, 4.1.1) of a standard query that wants recursion.
    let query = "0x0>>0x16&0x3c@0x8&0xf900=0x100";
    // The first label's length, and behind it the end of the name and the type: A or AAAA.
    let label = "0x0>>0x16&0x3c@0x14>>0x18=0x1:0x3f";
    let end = "0x0>>0x16&0x3c@0x14>>0x18@0x14&0xffffff=0x1,0x1c";
    let zone =
        r#"-m string --hex-string "|0772616e6368657208696e7465726e616c00|" --algo bm --icase"#;
    let is_alive = is_alive();
    // What our own resolver asks others.
    let mut lines = vec![format!("-m mark --mark {:#x} -j RETURN", super::MARK)];
    for resolver in resolvers {
        let asked = format!("-d {resolver}/32 -p udp -m udp --dport 53 {is_alive}");
        lines.push(format!(
            "{asked} -m u32 --u32 \"{query}&&{label}&&{end}\" {target}"
        ));
        lines.push(format!("{asked} -m u32 --u32 \"{query}\" {zone} {target}"));
    }
    lines
}

/// Containers that were started for a larger packet keep their connections within what fits, in both directions.
fn segments(rules: &Rules) -> Vec<String> {
    let clamp = |link: &String| {
        ["-i", "-o"].map(|way| {
            format!(
                "{way} {link} -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu"
            )
        })
    };
    rules.links.iter().flat_map(clamp).collect()
}

/// From where our chains are entered.
fn jumps(chains: &Chains, has_docker: bool) -> Vec<(&'static str, &'static str, &'static str)> {
    let forward = if has_docker { "DOCKER-USER" } else { "FORWARD" };
    let mut all = vec![
        ("filter", "INPUT", "ROS-INPUT"),
        ("filter", forward, "ROS-FORWARD"),
        ("mangle", "FORWARD", "ROS-MSS"),
        ("nat", "PREROUTING", "ROS-PREROUTING"),
        ("nat", "OUTPUT", "ROS-OUTPUT"),
        ("raw", "OUTPUT", "ROS-ZONE"),
        ("nat", "POSTROUTING", "ROS-POSTROUTING"),
        ("raw", "PREROUTING", "ROS-RAW"),
    ];
    all.retain(|(table, _, chain)| {
        chains.contains_key(&((*table).to_owned(), (*chain).to_owned()))
    });
    all
}

/// What is loaded together, and what there is of it: what every kernel takes comes first.
#[must_use]
pub fn parts(chains: &Chains, loaded: &Loaded) -> Vec<(Chains, Loaded)> {
    let part = |is_in: &dyn Fn(&str) -> bool| {
        let mut part = (chains.clone(), loaded.clone());
        part.0.retain(|(_, chain), _| is_in(chain));
        part.1.chains.retain(|(_, chain), _| is_in(chain));
        part.1
            .jumps
            .retain(|(_, _, rule)| is_in(rule.trim_start_matches("-j ")));
        part
    };
    let mut parts = vec![part(&|chain| !APART.contains(&chain))];
    parts.extend(APART.map(|alone| part(&|chain| chain == alone)));
    parts
}

/// What iptables-restore --noflush must be told to get from `loaded` to `chains`; `None`: nothing.
///
/// A chain that is as wanted is left alone, and so is a jump, wherever in its chain somebody has moved it.
#[must_use]
pub fn change(chains: &Chains, loaded: &Loaded) -> Option<String> {
    let mut lines: BTreeMap<&str, (Vec<String>, Vec<String>)> = BTreeMap::new();
    for ((table, chain), rules) in chains {
        if loaded.chains.get(&(table.clone(), chain.clone())) != Some(rules) {
            let (heads, body) = lines.entry(table).or_default();
            heads.push(format!(":{chain} - [0:0]"));
            body.extend(rules.iter().map(|rule| format!("-A {chain} {rule}")));
        }
    }
    let wanted = jumps(chains, loaded.docker_user);
    for (table, from, to) in &wanted {
        let is_it = |(t, f, rule): &&(String, String, String)| {
            t == table && f == from && rule == &format!("-j {to}")
        };
        if loaded.jumps.iter().find(is_it).is_none() {
            let (_, body) = lines.entry(table).or_default();
            body.push(format!("-I {from} 1 -j {to}"));
        }
    }
    let mut kept = BTreeSet::new();
    for (table, from, rule) in &loaded.jumps {
        let is_wanted = wanted
            .iter()
            .any(|(t, f, to)| t == table && f == from && rule == &format!("-j {to}"));
        // Twice is once too often.
        if !is_wanted || !kept.insert((table, from, rule)) {
            let (_, body) = lines.entry(table).or_default();
            body.push(format!("-D {from} {rule}"));
        }
    }
    for (table, chain) in loaded.chains.keys() {
        if !chains.contains_key(&(table.clone(), chain.clone())) {
            let (heads, body) = lines.entry(table).or_default();
            heads.push(format!(":{chain} - [0:0]"));
            body.push(format!("-X {chain}"));
        }
    }
    render(&lines)
}

fn render(tables: &BTreeMap<&str, (Vec<String>, Vec<String>)>) -> Option<String> {
    let mut text = String::new();
    for (table, (heads, body)) in tables {
        // Writing to a string does not fail.
        writeln!(text, "*{table}").ok();
        for line in heads.iter().chain(body) {
            writeln!(text, "{line}").ok();
        }
        text.push_str("COMMIT\n");
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
