//! What is wrong with a host by itself: whether it is heard of, its address, its clock, what it says. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::Host;
use api::host::HostState;
use jiff::Timestamp;

use super::judge::{Finding, address, is_connected};
use crate::table::{ago, length};

/// A clock that differs by more makes what is written down hard to compare …
const SKEW: u64 = 2_000;
/// … and by this much certificates that were just made are not good yet, milliseconds: they are made to begin a day before.
const SKEW_BAD: u64 = 86_400_000;
/// A host that has not looked for this long has an agent that cannot, seconds.
const STALE: u64 = 900;
/// A host that has joined needs a moment, seconds.
const FRESH: u64 = 90;

/// What is wrong with one host, whatever the others say.
pub fn of_itself(host: &Host, now: Timestamp) -> Vec<Finding> {
    let name = &host.meta.name;
    let mut all: Vec<Finding> = silence(host, now).into_iter().collect();
    all.extend(wrong_address(host));
    if host.status.block.is_none() {
        all.push(Finding::new(
            format!("{name} has no block of the network"),
            "remove hosts that are gone, or make the network larger: `ros networks`",
        ));
    }
    for problem in &host.status.problems {
        let (what, advice) = problem.split_once("; ").unwrap_or((problem, ""));
        all.push(Finding::new(format!("{name}: {what}"), advice));
    }
    all.extend(clock(host));
    all
}

/// A host that is not heard of.
fn silence(host: &Host, now: Timestamp) -> Option<Finding> {
    let name = &host.meta.name;
    match host.status.state {
        HostState::Connected => None,
        HostState::Joining => {
            let age = now.duration_since(host.meta.created).unsigned_abs();
            let joined = ago(now, host.meta.created);
            (age.as_secs() > FRESH).then(|| {
                Finding::new(
                    format!("{name} has joined, {joined}, but its agent was never heard of"),
                    format!("on {name}: `journalctl -u ros-agent` (on RancherOS `ros service logs agent`) shows what it says, `ros agent status` how it is"),
                )
            })
        }
        HostState::Reconnecting | HostState::Disconnected => {
            let since = host
                .status
                .since
                .map(|since| format!(", since {}", ago(now, since)));
            Some(Finding::new(
                format!("{name} is not connected{}", since.unwrap_or_default()),
                format!(
                    "is the machine up and does it reach the server? On {name}: `ros agent status`; when it is gone for good: `ros hosts remove {name}`"
                ),
            ))
        }
    }
}

fn wrong_address(host: &Host) -> Option<Finding> {
    let name = &host.meta.name;
    match address(host) {
        None => Some(Finding::new(
            format!("the address of {name} is not known"),
            format!("`ros hosts set {name} --address ADDRESS`"),
        )),
        Some(at) if at.is_loopback() || at.is_unspecified() => Some(Finding::new(
            format!("the address of {name} is {at}, which the others cannot reach"),
            format!(
                "it has joined through that address, perhaps from the server's own machine: `ros hosts set {name} --address ADDRESS`"
            ),
        )),
        Some(_) => None,
    }
}

/// Whether a clock differs too much, milliseconds.
pub fn is_off(skew: i64) -> bool {
    skew.unsigned_abs() > SKEW
}

fn clock(host: &Host) -> Option<Finding> {
    let skew = host.status.reach.clock_skew_ms?;
    if !is_off(skew) || !is_connected(host) {
        return None;
    }
    let off = skew.unsigned_abs();
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

/// Hosts of which only one can be reached.
pub fn same_address(hosts: &[Host]) -> Vec<Finding> {
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

/// What is no problem, but good to know.
pub fn notes(hosts: &[Host], now: Timestamp) -> Vec<Finding> {
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
