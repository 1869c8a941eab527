//! What the hosts have found, put together: the ways between them, and what is wrong, each with what to do. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::host::{HostState, PeerReach};
use api::network::Encapsulation;
use api::{Host, Id, Network};
use jiff::Timestamp;
use serde::Serialize;

use crate::cluster::networks::name_of;
use crate::table::{ago, length};

/// A clock that differs by more makes what is written down hard to compare …
const SKEW: u64 = 2_000;
/// … and by this much certificates that were just made are not good yet, milliseconds: they are made to begin a day before.
const SKEW_BAD: u64 = 86_400_000;
/// A host that has not looked for this long has an agent that cannot, seconds.
const STALE: u64 = 900;
/// A host that has joined needs a moment, seconds.
const FRESH: u64 = 90;

/// All that can be said of the ways between the hosts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The network, if the project has one.
    pub network: Option<Over>,
    /// Hosts, by name.
    pub hosts: Vec<Standing>,
    /// Ways that were looked at.
    pub ways: Vec<Way>,
    /// What is wrong.
    pub problems: Vec<Finding>,
    /// What is not, but good to know.
    pub notes: Vec<Finding>,
}

/// The network.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Over {
    /// Its name.
    pub name: String,
    /// How packets travel.
    pub encapsulation: &'static str,
    /// UDP port of it.
    pub port: Option<u16>,
    /// All addresses.
    pub subnet: String,
    /// Largest packet, when it was set by hand.
    pub mtu: Option<u32>,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Standing {
    /// Its name.
    pub host: String,
    /// Whether it is heard of.
    pub state: HostState,
    /// Where the others reach it.
    pub address: Option<IpAddr>,
    /// How far its clock is ahead of the server's, milliseconds.
    pub clock_skew_ms: Option<i64>,
    /// When it has looked, as far as it has told.
    pub looked: Option<Timestamp>,
}

/// From one host to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Way {
    /// Name of the one that has asked.
    pub from: String,
    /// Name of the other.
    pub to: String,
    /// What it has found.
    #[serde(flatten)]
    pub found: PeerReach,
}

/// What is wrong, or good to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub what: String,
    /// What to do.
    pub advice: String,
}

impl Finding {
    fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            advice: advice.into(),
        }
    }
}

/// Judges.
pub fn judge(hosts: &[Host], network: Option<&Network>, now: Timestamp) -> Verdict {
    let mut verdict = Verdict {
        network: network.map(over),
        hosts: hosts.iter().map(standing).collect(),
        ways: ways(hosts),
        problems: Vec::new(),
        notes: Vec::new(),
    };
    for host in hosts {
        verdict.problems.extend(of_itself(host, now));
        verdict.problems.extend(clock(host));
    }
    verdict.problems.extend(same_address(hosts));
    if let Some(network) = network {
        verdict.problems.extend(unreached(hosts, network, now));
        verdict.problems.extend(too_large(hosts, network));
    }
    verdict.notes.extend(notes(hosts, now));
    verdict
}

fn over(network: &Network) -> Over {
    let spec = &network.spec;
    Over {
        name: network.meta.name.clone(),
        encapsulation: name_of(spec.encapsulation),
        port: port(network),
        subnet: spec.subnet.to_string(),
        mtu: spec.mtu,
    }
}

fn port(network: &Network) -> Option<u16> {
    let spec = &network.spec;
    let usual = spec.encapsulation.usual_port()?;
    Some(spec.port.unwrap_or(usual))
}

fn standing(host: &Host) -> Standing {
    Standing {
        host: host.meta.name.clone(),
        state: host.status.state,
        address: address(host),
        clock_skew_ms: host.status.reach.clock_skew_ms,
        looked: host.status.reach.at,
    }
}

fn address(host: &Host) -> Option<IpAddr> {
    host.spec.address.or(host.status.address)
}

fn is_connected(host: &Host) -> bool {
    host.status.state == HostState::Connected
}

fn ways(hosts: &[Host]) -> Vec<Way> {
    let names: BTreeMap<&Id, &str> = hosts
        .iter()
        .map(|host| (&host.meta.id, host.meta.name.as_str()))
        .collect();
    let mut ways: Vec<Way> = hosts
        .iter()
        // What a host has found that is not heard of is past.
        .filter(|host| is_connected(host))
        .flat_map(|host| {
            let found = host.status.reach.peers.iter();
            found.filter_map(|found| {
                Some(Way {
                    from: host.meta.name.clone(),
                    to: (*names.get(&found.host)?).to_owned(),
                    found: found.clone(),
                })
            })
        })
        .collect();
    ways.sort_by(|one, other| (&one.from, &one.to).cmp(&(&other.from, &other.to)));
    ways
}

/// What is wrong with one host, whatever the others say.
fn of_itself(host: &Host, now: Timestamp) -> Vec<Finding> {
    let (name, status) = (&host.meta.name, &host.status);
    let mut all = Vec::new();
    let since = status.since.map_or_else(String::new, |since| {
        format!(", last heard of {}", ago(now, since))
    });
    match status.state {
        HostState::Connected => {}
        HostState::Joining => {
            let age = now.duration_since(host.meta.created).unsigned_abs().as_secs();
            if age > FRESH {
                all.push(Finding::new(
                    format!("{name} has joined, {}, but its agent was never heard of", ago(now, host.meta.created)),
                    format!("on {name}: `systemctl status ros-agent`, or `ros agent run` to see what it says"),
                ));
            }
        }
        HostState::Reconnecting | HostState::Disconnected => all.push(Finding::new(
            format!("{name} is not connected{since}"),
            format!("is the machine up and does it reach the server? On {name}: `ros agent status`; when it is gone for good: `ros hosts remove {name}`"),
        )),
    }
    match address(host) {
        None => all.push(Finding::new(
            format!("the address of {name} is not known"),
            format!("`ros hosts set {name} --address ADDRESS`"),
        )),
        Some(at) if at.is_loopback() || at.is_unspecified() => all.push(Finding::new(
            format!("the address of {name} is {at}, which the others cannot reach"),
            format!("it has joined through that address, perhaps from the server's own machine: `ros hosts set {name} --address ADDRESS`"),
        )),
        Some(_) => {}
    }
    if status.block.is_none() {
        all.push(Finding::new(
            format!("{name} has no block of the network"),
            "remove hosts that are gone, or make the network larger: `ros networks`",
        ));
    }
    for problem in &status.problems {
        let (what, advice) = problem.split_once("; ").unwrap_or((problem, ""));
        all.push(Finding::new(format!("{name}: {what}"), advice));
    }
    all
}

fn clock(host: &Host) -> Option<Finding> {
    let skew = host.status.reach.clock_skew_ms?;
    let off = skew.unsigned_abs();
    if off <= SKEW || !is_connected(host) {
        return None;
    }
    let name = &host.meta.name;
    let direction = if skew > 0 { "ahead of" } else { "behind" };
    let mut advice = format!(
        "set the clock of {name} (or the server's): is its time service running? `timedatectl`, `chronyc tracking`"
    );
    if off > SKEW_BAD {
        advice.push_str("; with so much, certificates are not good there");
    }
    Some(Finding::new(
        format!(
            "the clock of {name} is {} {direction} the server's",
            length(off / 1000)
        ),
        advice,
    ))
}

fn same_address(hosts: &[Host]) -> Vec<Finding> {
    let mut by_address: BTreeMap<IpAddr, Vec<&str>> = BTreeMap::new();
    for host in hosts {
        if let Some(at) = address(host).filter(|at| !at.is_loopback()) {
            by_address.entry(at).or_default().push(&host.meta.name);
        }
    }
    let shared = by_address.into_iter().filter(|(_, names)| names.len() > 1);
    shared
        .map(|(at, names)| {
            Finding::new(
                format!("{} have the same address, {at}", names.join(" and ")),
                "behind a common NAT give each the address at which the others reach it: `ros hosts set NAME --address ADDRESS`; remove one that is gone",
            )
        })
        .collect()
}

/// Hosts that do not reach each other though the server hears of both.
fn unreached(hosts: &[Host], network: &Network, now: Timestamp) -> Vec<Finding> {
    let known: BTreeMap<&Id, &Host> = hosts.iter().map(|host| (&host.meta.id, host)).collect();
    let mut broken: BTreeMap<(&Id, &Id), &PeerReach> = BTreeMap::new();
    let mut asked: BTreeMap<&Id, (usize, usize)> = BTreeMap::new();
    for host in hosts.iter().filter(|host| is_connected(host)) {
        for found in &host.status.reach.peers {
            let Some(other) = known.get(&found.host).filter(|other| is_connected(other)) else {
                continue;
            };
            let count = asked.entry(&other.meta.id).or_default();
            count.0 += 1;
            if !found.reachable {
                count.1 += 1;
                broken.insert((&host.meta.id, &other.meta.id), found);
            }
        }
    }
    let alone: BTreeSet<&Id> = asked
        .iter()
        .filter(|(_, (all, away))| *all > 1 && all == away)
        .map(|(id, _)| *id)
        .collect();
    let mut findings: Vec<Finding> = alone
        .iter()
        .filter_map(|id| Some(nobody_reaches(known.get(*id)?, &broken, network)))
        .collect();
    for ((from, to), found) in &broken {
        let is_told = alone.contains(from) || alone.contains(to);
        let other_way = broken.contains_key(&(*to, *from));
        // Both ways are one finding, at the first of the two.
        if is_told || (other_way && to < from) {
            continue;
        }
        let (Some(from), Some(to)) = (known.get(from), known.get(to)) else {
            continue;
        };
        let (one, two) = (&from.meta.name, &to.meta.name);
        let what = if other_way {
            format!(
                "{one} and {two} do not reach each other, since {}",
                ago(now, found.since)
            )
        } else {
            format!(
                "{one} does not reach {two}, since {}, though {two} reaches {one}",
                ago(now, found.since)
            )
        };
        findings.push(Finding::new(what, advice(from, to, found.outside, network)));
    }
    findings
}

fn nobody_reaches(
    host: &Host,
    broken: &BTreeMap<(&Id, &Id), &PeerReach>,
    network: &Network,
) -> Finding {
    let name = &host.meta.name;
    let at = address(host).map_or_else(|| "?".into(), |at| at.to_string());
    let mut found = broken.iter().filter(|((_, to), _)| **to == host.meta.id);
    let is_there = found.any(|(_, found)| found.outside == Some(true));
    let advice = match (is_there, port(network)) {
        (true, Some(port)) => format!(
            "its address {at} answers, so UDP {port} is what does not come through: open it on {name} and on the way to it"
        ),
        (true, None) => format!(
            "its address {at} answers: is it on the same link as the others, as `direct` wants it? Otherwise `ros networks set {} --encapsulation vxlan`",
            network.meta.name
        ),
        (false, _) => format!(
            "its address {at} does not answer either: is it the right one? `ros hosts set {name} --address ADDRESS`"
        ),
    };
    Finding::new(format!("no host reaches {name}"), advice)
}

fn advice(from: &Host, to: &Host, outside: Option<bool>, network: &Network) -> String {
    let name = &network.meta.name;
    let text = |host: &Host| address(host).map_or_else(|| "?".into(), |at| at.to_string());
    let (here, there) = (text(from), text(to));
    match (outside, network.spec.encapsulation, port(network)) {
        (Some(false), _, _) => format!(
            "{there} does not answer to {} either: is there a way between them, and is that the right address? `ros hosts set {} --address ADDRESS`",
            from.meta.name, to.meta.name
        ),
        (_, Encapsulation::Direct, _) => format!(
            "`direct` wants hosts on one link, and nothing between them that drops packets of {}; otherwise `ros networks set {name} --encapsulation vxlan`",
            network.spec.subnet
        ),
        (_, _, Some(port)) => format!(
            "let UDP {port} pass between {here} and {there}, in the firewalls of both hosts and between them; or choose another port: `ros networks set {name} --port PORT`"
        ),
        (_, _, None) => format!("is there a way between {here} and {there}?"),
    }
}

/// Ways on which small packets come through and large ones do not.
fn too_large(hosts: &[Host], network: &Network) -> Vec<Finding> {
    let names: BTreeMap<&Id, &str> = hosts
        .iter()
        .map(|host| (&host.meta.id, host.meta.name.as_str()))
        .collect();
    let mut told: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut findings = Vec::new();
    for host in hosts.iter().filter(|host| is_connected(host)) {
        let small = |found: &&PeerReach| found.reachable && found.mtu_ok == Some(false);
        for found in host.status.reach.peers.iter().filter(small) {
            let one = host.meta.name.as_str();
            let Some(two) = names.get(&found.host).copied() else {
                continue;
            };
            if !told.insert((one.min(two), one.max(two))) {
                continue;
            }
            findings.push(Finding::new(
                format!("large packets from {one} to {two} are lost: connections begin, and hang"),
                format!(
                    "something between them lets only smaller packets through (a tunnel, a VPN, PPPoE); give the network a smaller MTU: `ros networks set {} --mtu {}`",
                    network.meta.name,
                    smaller(host, network)
                ),
            ));
        }
    }
    findings
}

/// An MTU to try: a hundred bytes less than now, and never less than every network must carry (RFC 8200: 1280) plus nothing.
fn smaller(host: &Host, network: &Network) -> u32 {
    let spec = &network.spec;
    let room = host
        .status
        .facts
        .mtu
        .saturating_sub(spec.encapsulation.overhead(false));
    let now = spec.mtu.unwrap_or(room);
    now.saturating_sub(100).max(1280).min(now)
}

fn notes(hosts: &[Host], now: Timestamp) -> Vec<Finding> {
    let mut notes = Vec::new();
    for host in hosts.iter().filter(|host| is_connected(host)) {
        let name = &host.meta.name;
        match host.status.reach.at {
            None => notes.push(Finding::new(
                format!("{name} has not looked at the others yet"),
                "ask again in a minute; when it stays so, `ros agent status` there",
            )),
            Some(at) if now.duration_since(at).unsigned_abs().as_secs() > STALE => {
                notes.push(Finding::new(
                    format!("{name} has last looked at the others {}", ago(now, at)),
                    format!("on {name}: `ros agent status`"),
                ));
            }
            Some(_) => {}
        }
    }
    let agents: BTreeSet<&str> = hosts
        .iter()
        .map(|host| host.status.facts.agent.as_str())
        .filter(|version| !version.is_empty())
        .collect();
    if agents.len() > 1 {
        let all: Vec<&str> = agents.into_iter().collect();
        notes.push(Finding::new(
            format!("agents of several releases: {}", all.join(", ")),
            "bring all hosts to the same one",
        ));
    }
    notes
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
