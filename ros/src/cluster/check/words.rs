//! A verdict for people.

use std::collections::BTreeMap;

use api::host::HostState;
use jiff::Timestamp;

use super::judge::{Finding, Over, Standing, Verdict, Way};
use super::own;
use crate::cluster::hosts::state_name;
use crate::table::{ago, length as span, or_dash, table};

/// More ways than these are not read by anybody …
const READABLE: usize = 60;
/// … and more hosts than these neither.
const READABLE_HOSTS: usize = 30;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Every host and way.
    Whole,
    /// Of many hosts and ways those that are not good.
    Readable,
}

/// The verdict's text.
pub fn text(verdict: &Verdict, length: Length, now: Timestamp) -> String {
    let mut text = match &verdict.network {
        Some(over) => network(over),
        None => "The project has no network.\n".to_owned(),
    };
    hosts(&mut text, verdict, length);
    ways(&mut text, verdict, length, now);
    findings(&mut text, "Problems", &verdict.problems);
    findings(&mut text, "Good to know", &verdict.notes);
    let (hosts, ways) = (verdict.hosts.len(), verdict.ways.len());
    let good = match (verdict.problems.len(), ways) {
        (0, 0) if hosts < 2 => "nothing to reach yet".to_owned(),
        (0, _) => "all is well".to_owned(),
        (1, _) => "1 problem".to_owned(),
        (count, _) => format!("{count} problems"),
    };
    let plural = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    text.push_str(&format!(
        "\n{}, {}: {good}.\n",
        plural(hosts, "host"),
        plural(ways, "way")
    ));
    text
}

fn network(over: &Over) -> String {
    let port = over.port.map(|port| format!(" (UDP {port})"));
    let mtu = over.mtu.map(|mtu| format!(", MTU {mtu}"));
    format!(
        "Network {}: {}{}, {}{}\n",
        over.name,
        over.encapsulation,
        port.unwrap_or_default(),
        over.subnet,
        mtu.unwrap_or_default()
    )
}

fn hosts(text: &mut String, verdict: &Verdict, length: Length) {
    let all = &verdict.hosts;
    let shown: Vec<&Standing> = match length {
        Length::Readable if all.len() > READABLE_HOSTS => {
            let usual = usual_mtu(all);
            let is_odd = |host: &&Standing| !is_usual(host, usual);
            all.iter().filter(is_odd).collect()
        }
        _ => all.iter().collect(),
    };
    if !shown.is_empty() {
        text.push('\n');
        let rows: Vec<[String; 6]> = shown.iter().map(|host| host_row(host)).collect();
        let header = ["Host", "State", "Address", "Link MTU", "MTU", "Clock"];
        text.push_str(&table(header, &rows));
    }
    let hidden = all.len() - shown.len();
    if hidden > 0 {
        text.push_str(&format!(
            "\n{hidden} more hosts are connected, on time and of one MTU; --all shows them.\n"
        ));
    }
}

/// The one that most hosts have.
fn usual_mtu(all: &[Standing]) -> Option<u32> {
    let mut counts: BTreeMap<Option<u32>, usize> = BTreeMap::new();
    for host in all {
        *counts.entry(host.mtu).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.and_then(|(mtu, _)| mtu)
}

fn is_usual(host: &Standing, usual_mtu: Option<u32>) -> bool {
    host.state == HostState::Connected
        && host.mtu == usual_mtu
        && !host.clock_skew_ms.is_some_and(own::is_off)
}

fn host_row(host: &Standing) -> [String; 6] {
    // What a host that is not heard of has told of its clock is past.
    let skew = host
        .clock_skew_ms
        .filter(|_| host.state == HostState::Connected);
    [
        host.host.clone(),
        state_name(host.state).to_owned(),
        or_dash(host.address),
        or_dash(host.link_mtu),
        or_dash(host.mtu),
        or_dash(skew.map(clock)),
    ]
}

/// How a clock differs from the server's.
fn clock(skew_ms: i64) -> String {
    let direction = match skew_ms {
        0 => return "0 ms".into(),
        1.. => "ahead",
        _ => "behind",
    };
    match skew_ms.unsigned_abs() {
        off @ 0..2_000 => format!("{off} ms {direction}"),
        off => format!("{} {direction}", span(off / 1000)),
    }
}

fn ways(text: &mut String, verdict: &Verdict, length: Length, now: Timestamp) {
    let is_shown =
        |way: &&Way| length == Length::Whole || verdict.ways.len() <= READABLE || !is_good(way);
    let shown: Vec<&Way> = verdict.ways.iter().filter(is_shown).collect();
    if !shown.is_empty() {
        text.push('\n');
        let rows: Vec<[String; 6]> = shown.iter().map(|way| row(way, now)).collect();
        let header = [
            "From",
            "To",
            "State",
            "Round trip",
            "Large packets",
            "Since",
        ];
        text.push_str(&table(header, &rows));
    }
    let hidden = verdict.ways.len() - shown.len();
    if hidden > 0 {
        text.push_str(&format!(
            "\n{hidden} more ways are good; --all shows them.\n"
        ));
    }
}

fn is_good(way: &Way) -> bool {
    way.found.reachable && way.found.mtu_ok != Some(false)
}

fn row(way: &Way, now: Timestamp) -> [String; 6] {
    let found = &way.found;
    let state = if found.reachable {
        "reached"
    } else {
        "not reached"
    };
    let large = found
        .mtu_ok
        .map(|ok| if ok { "come through" } else { "are lost" });
    [
        way.from.clone(),
        way.to.clone(),
        state.to_owned(),
        or_dash(found.rtt_us.map(milliseconds)),
        or_dash(large),
        ago(now, found.since),
    ]
}

/// Two digits that mean something.
fn milliseconds(microseconds: u32) -> String {
    match microseconds {
        0..=9_999 => format!("{}.{:02} ms", microseconds / 1000, microseconds % 1000 / 10),
        _ => format!("{} ms", microseconds / 1000),
    }
}

fn findings(text: &mut String, title: &str, all: &[Finding]) {
    if all.is_empty() {
        return;
    }
    text.push_str(&format!("\n{title}:\n"));
    for finding in all {
        text.push_str(&format!("- {}\n", finding.what));
        if !finding.advice.is_empty() {
            text.push_str(&format!("  {}\n", finding.advice));
        }
    }
}
