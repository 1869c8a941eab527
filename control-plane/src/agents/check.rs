//! What a host may say of itself and its containers, and how much of it. Pure. What would be kept by the server or told to the other hosts
//! is either refused, when it cannot come from an agent of ours, or cut to a size and noted, when a user's container makes it.

use std::net::IpAddr;

use api::agent::{Report, Seen};
use api::container::ContainerStatus;
use api::host::HostFacts;
use api::problem::{Problem, Reason};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ipnet::Ipv4Net;

/// Most containers of a host.
pub const CONTAINERS: usize = 4096;
/// Most bytes of a container's labels.
const LABELS: usize = 32 << 10;
/// Longest label, key and value.
const LABEL: usize = 4096;
/// Most published ports of a container.
const PORTS: usize = 1024;
/// Most problems of a host or container.
const PROBLEMS: usize = 32;
/// Longest of what people read in a line.
const LINE: usize = 512;
/// Length of a WireGuard key.
const KEY: usize = 32;
/// Longest name of an agent's instance.
pub const INSTANCE: usize = 64;

fn invalid(field: &str, title: String) -> Problem {
    Problem::new(Reason::Invalid, title).at(field)
}

/// Refuses what no agent of ours says.
///
/// # Errors
/// What it is.
pub fn report(report: &Report) -> Result<(), Problem> {
    let count = report.containers.len().max(report.gone.len());
    if count > CONTAINERS {
        let title = format!("{count} containers in a report: a host has at most {CONTAINERS}");
        return Err(Problem::new(Reason::TooLarge, title).at("containers"));
    }
    if report.instance.len() > INSTANCE {
        let title = format!("an instance has at most {INSTANCE} characters");
        return Err(invalid("instance", title));
    }
    if let Some(address) = report.address {
        self::address("address", address)?;
    }
    if let Some(key) = &report.public_key {
        let bytes = BASE64_STANDARD.decode(key);
        if !bytes.is_ok_and(|bytes| bytes.len() == KEY) {
            let title = "a WireGuard key has 32 bytes, in base64".into();
            return Err(invalid("public_key", title));
        }
    }
    let ids = report.containers.iter().map(|seen| &seen.status.docker_id);
    match ids.chain(&report.gone).find(|id| !is_docker_id(id)) {
        None => Ok(()),
        Some(id) => {
            let shown: String = id.chars().take(80).collect();
            Err(invalid(
                "containers",
                format!("`{shown}` is not an id of Docker's"),
            ))
        }
    }
}

/// Refuses an address at which nobody else reaches a host.
///
/// # Errors
/// When it is one.
pub fn address(field: &str, address: IpAddr) -> Result<(), Problem> {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() || is_broadcast {
        let title = format!("other hosts cannot reach {address}");
        return Err(invalid(field, title));
    }
    Ok(())
}

fn is_docker_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// Cuts what a host says of itself to what people can read.
pub fn tidy_facts(facts: &mut HostFacts) {
    for text in [
        &mut facts.hostname,
        &mut facts.os,
        &mut facts.kernel,
        &mut facts.docker,
        &mut facts.agent,
    ] {
        cut(text, LINE);
    }
}

/// Cuts what hinders a host to what people can read.
pub fn tidy_problems(problems: &mut Vec<String>) {
    problems.truncate(PROBLEMS);
    problems.iter_mut().for_each(|problem| cut(problem, LINE));
}

/// Cuts a container to a size that all hosts can be told; an address outside of the project's network is none.
pub fn tidy(seen: &mut Seen, subnet: Option<Ipv4Net>) {
    cut(&mut seen.name, 255);
    let status = &mut seen.status;
    cut(&mut status.image, LINE);
    cut(&mut status.hostname, 255);
    cut(&mut status.mac, 32);
    status.ports.truncate(PORTS);
    for port in &mut status.ports {
        cut(&mut port.host_ip, 64);
        cut(&mut port.protocol, 16);
    }
    tidy_problems(&mut status.problems);
    tidy_labels(status);
    if let Some(address) = status.address
        && !subnet.is_some_and(|subnet| subnet.contains(&address))
    {
        status.address = None;
        let problem = format!("its address {address} is not of the project's network");
        status.problems.push(problem);
    }
}

fn tidy_labels(status: &mut ContainerStatus) {
    let mut left = LABELS;
    let before = status.labels.len();
    status.labels.retain(|key, value| {
        let size = key.len() + value.len();
        let is_kept = size <= LABEL && size <= left;
        left -= if is_kept { size } else { 0 };
        is_kept
    });
    let lost = before - status.labels.len();
    if lost > 0 {
        let problem = format!("{lost} of its labels are too long and not known in the cluster");
        status.problems.push(problem);
    }
}

/// To a length, and without what would do something to the terminal that shows it.
fn cut(text: &mut String, longest: usize) {
    if text.contains(char::is_control) {
        *text = text.replace(char::is_control, "\u{fffd}");
    }
    if let Some((end, _)) = text.char_indices().nth(longest) {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(id: &str) -> Seen {
        let mut seen = Seen::default();
        seen.status.docker_id = id.into();
        seen
    }

    #[test]
    fn what_no_agent_says_is_refused() {
        let with = |change: &dyn Fn(&mut Report)| {
            let mut asked = Report::default();
            change(&mut asked);
            report(&asked).map_err(|problem| problem.to_string())
        };
        assert_eq!(with(&|_| {}), Ok(()));
        assert_eq!(with(&|r| r.containers.push(seen(&"a".repeat(64)))), Ok(()));
        for id in ["", "../x", "a b", &"a".repeat(129)] {
            let said = with(&|r| r.containers.push(seen(id))).unwrap_err();
            assert!(said.contains("is not an id of Docker's"), "{said}");
            assert!(with(&|r| r.gone.push(id.into())).is_err());
        }
        let said = with(&|r| r.containers = vec![seen("a"); CONTAINERS + 1]).unwrap_err();
        assert!(said.contains("a host has at most 4096"), "{said}");
        for address in [
            "0.0.0.0",
            "127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "ff02::1",
        ] {
            let said = with(&|r| r.address = address.parse().ok()).unwrap_err();
            assert_eq!(said, format!("address: other hosts cannot reach {address}"));
        }
        for key in ["short", &"A".repeat(44), &"=".repeat(44)] {
            assert!(with(&|r| r.public_key = Some(key.into())).is_err(), "{key}");
        }
        assert!(with(&|r| r.instance = "i".repeat(65)).is_err());
        assert_eq!(
            with(&|r| r.public_key = Some(format!("{}=", "A".repeat(43)))),
            Ok(())
        );
    }

    #[test]
    fn what_users_make_is_cut_and_noted() {
        let mut one = seen("a");
        one.name = "ä".repeat(300);
        one.status.image = "web\u{1b}[2J\n".into();
        one.status.address = "192.168.1.1".parse().ok();
        one.status.labels = (0..20)
            .map(|n| (format!("k{n:02}"), "v".repeat(4000)))
            .collect();
        one.status.labels.insert("long".into(), "v".repeat(5000));
        tidy(&mut one, "10.42.0.0/16".parse().ok());
        assert_eq!(one.name.chars().count(), 255);
        assert_eq!(one.status.image, "web\u{fffd}[2J\u{fffd}");
        assert_eq!((one.status.address, one.status.labels.len()), (None, 8));
        assert_eq!(
            one.status.problems,
            [
                "13 of its labels are too long and not known in the cluster",
                "its address 192.168.1.1 is not of the project's network"
            ]
        );
        let before = one.clone();
        tidy(&mut one, "10.42.0.0/16".parse().ok());
        assert_eq!(one, before);
    }
}
