//! What is wrong between hosts: who does not reach whom, and whose large packets are lost. Pure.

use std::collections::{BTreeMap, BTreeSet};

use api::host::PeerReach;
use api::network::Encapsulation;
use api::{Host, Id, Network};
use jiff::Timestamp;

use super::judge::{Finding, address, is_connected, port};
use crate::table::ago;

/// Who has asked whom, among hosts that the server hears of.
struct Asked<'a> {
    known: BTreeMap<&'a Id, &'a Host>,
    /// Without an answer, by who has asked and who was.
    broken: BTreeMap<(&'a Id, &'a Id), &'a PeerReach>,
    /// Hosts that nobody reaches, of those that several have asked.
    alone: BTreeSet<&'a Id>,
}

impl<'a> Asked<'a> {
    fn of(hosts: &'a [Host]) -> Self {
        let known: BTreeMap<&Id, &Host> = hosts.iter().map(|host| (&host.meta.id, host)).collect();
        let mut broken = BTreeMap::new();
        let mut counts: BTreeMap<&Id, (usize, usize)> = BTreeMap::new();
        for host in hosts.iter().filter(|host| is_connected(host)) {
            for found in &host.status.reach.peers {
                // One that the server does not hear of either is another matter.
                let other = known.get(&found.host).filter(|other| is_connected(other));
                let Some(other) = other else { continue };
                let count = counts.entry(&other.meta.id).or_default();
                count.0 += 1;
                if !found.reachable {
                    count.1 += 1;
                    broken.insert((&host.meta.id, &other.meta.id), found);
                }
            }
        }
        let alone = counts
            .iter()
            .filter(|(_, (all, away))| *all > 1 && all == away)
            .map(|(id, _)| *id)
            .collect();
        Self {
            known,
            broken,
            alone,
        }
    }
}

/// Hosts that do not reach each other though the server hears of both.
pub fn unreached(hosts: &[Host], network: &Network, now: Timestamp) -> Vec<Finding> {
    let asked = Asked::of(hosts);
    let alone = asked.alone.iter().filter_map(|id| asked.known.get(*id));
    let mut findings: Vec<Finding> = alone
        .map(|host| nobody_reaches(host, &asked.broken, network))
        .collect();
    for ((from, to), found) in &asked.broken {
        let is_told = asked.alone.contains(from) || asked.alone.contains(to);
        let both = asked.broken.contains_key(&(*to, *from));
        // Both ways are one finding, at the first of the two.
        if is_told || (both && to < from) {
            continue;
        }
        let (Some(from), Some(to)) = (asked.known.get(from), asked.known.get(to)) else {
            continue;
        };
        let (one, two, since) = (&from.meta.name, &to.meta.name, ago(now, found.since));
        let what = if both {
            format!("{one} and {two} do not reach each other, since {since}")
        } else {
            format!("{one} does not reach {two}, since {since}, though {two} reaches {one}")
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
pub fn too_large(hosts: &[Host], network: &Network) -> Vec<Finding> {
    let known: BTreeMap<&Id, &Host> = hosts.iter().map(|host| (&host.meta.id, host)).collect();
    let mut told: BTreeSet<(&str, &str)> = BTreeSet::new();
    let mut findings = Vec::new();
    for host in hosts.iter().filter(|host| is_connected(host)) {
        let small = |found: &&PeerReach| found.reachable && found.mtu_ok == Some(false);
        for found in host.status.reach.peers.iter().filter(small) {
            let Some(other) = known.get(&found.host) else {
                continue;
            };
            let (one, two) = (host.meta.name.as_str(), other.meta.name.as_str());
            if !told.insert((one.min(two), one.max(two))) {
                continue;
            }
            findings.push(Finding::new(
                format!("large packets from {one} to {two} are lost: connections begin, and hang"),
                format!(
                    "give the network a smaller MTU: `ros networks set {} --mtu {}`; or find what lets only smaller packets through between them (a tunnel, a VPN, PPPoE)",
                    network.meta.name,
                    smaller(host, other, network)
                ),
            ));
        }
    }
    findings
}

/// An MTU to try: what fits the links of both; where that is not less, a hundred bytes less than now.
fn smaller(one: &Host, other: &Host, network: &Network) -> u32 {
    let overhead = network.spec.encapsulation.overhead(false);
    let room = |host: &Host| host.status.facts.mtu.saturating_sub(overhead);
    let now = network
        .spec
        .mtu
        .unwrap_or_else(|| room(one).max(room(other)));
    match room(one).min(room(other)) {
        fits if fits < now && fits > 0 => fits,
        // IPv4 has never fewer (RFC 791).
        _ => now.saturating_sub(100).max(576).min(now),
    }
}
