//! What the hosts have found, put together: the ways between them, and what is wrong, each with what to do. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::host::{HostState, PeerReach};
use api::{Host, Id, Network};
use jiff::Timestamp;
use serde::Serialize;

use super::{between, own};
use crate::cluster::networks::name_of;

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
    /// Largest packet of the link it reaches the others by, bytes, as it tells.
    pub link_mtu: Option<u32>,
    /// Largest packet of its containers that fits into that link, bytes.
    pub mtu: Option<u32>,
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
    /// What is wrong, and what to do.
    pub fn new(what: impl Into<String>, advice: impl Into<String>) -> Self {
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
        hosts: standings(hosts, network),
        ways: ways(hosts),
        problems: Vec::new(),
        notes: Vec::new(),
    };
    for host in hosts {
        verdict.problems.extend(own::of_itself(host, now));
    }
    verdict.problems.extend(own::same_address(hosts));
    if let Some(network) = network {
        verdict
            .problems
            .extend(between::unreached(hosts, network, now));
        verdict.problems.extend(between::too_large(hosts, network));
    }
    verdict.notes.extend(own::notes(hosts, now));
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

/// UDP port of the network's packets, if it has one.
pub fn port(network: &Network) -> Option<u16> {
    let spec = &network.spec;
    let usual = spec.encapsulation.usual_port()?;
    Some(spec.port.unwrap_or(usual))
}

fn standings(hosts: &[Host], network: Option<&Network>) -> Vec<Standing> {
    let over_ipv6 = hosts.iter().filter_map(address).any(|at| at.is_ipv6());
    let standing = |host: &Host| {
        let link_mtu = Some(host.status.facts.mtu).filter(|mtu| *mtu > 0);
        Standing {
            host: host.meta.name.clone(),
            state: host.status.state,
            address: address(host),
            link_mtu,
            mtu: network
                .zip(link_mtu)
                .and_then(|(network, link)| room(network, link, over_ipv6)),
            clock_skew_ms: host.status.reach.clock_skew_ms,
            looked: host.status.reach.at,
        }
    };
    hosts.iter().map(standing).collect()
}

/// What an agent makes of its link: what the encapsulation leaves, at most what the network was set to.
fn room(network: &Network, link: u32, over_ipv6: bool) -> Option<u32> {
    let spec = &network.spec;
    let room = link.checked_sub(spec.encapsulation.overhead(over_ipv6))?;
    Some(spec.mtu.map_or(room, |mtu| mtu.min(room)))
}

/// Where the others reach a host.
pub fn address(host: &Host) -> Option<IpAddr> {
    host.spec.address.or(host.status.address)
}

/// Whether the server hears of a host.
pub fn is_connected(host: &Host) -> bool {
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

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
