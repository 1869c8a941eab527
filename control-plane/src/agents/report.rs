//! What hosts report: their containers and themselves. Only what differs from what is known is written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::agent::{Report, Seen};
use api::container::{ContainerKind, id_of};
use api::event::EventSpec;
use api::host::{HostKind, Reach};
use api::network::NetworkKind;
use api::problem::{Problem, Reason};
use api::resource::{Meta, Resource};
use api::{Container, Host, Id};

use super::check;
use crate::events;
use crate::objects::{self, now};
use crate::server::Server;
use crate::store::{Revision, Transaction, Write};

/// The last report of a host that was taken.
#[derive(Debug, Default)]
pub struct LastReport {
    /// Of its agent.
    instance: String,
    /// Its number.
    sequence: u64,
}

impl LastReport {
    /// Whether it or a later one was taken. Reports without a number are always taken.
    fn has(&self, instance: &str, sequence: u64) -> bool {
        sequence > 0 && self.instance == instance && self.sequence >= sequence
    }
}

/// Takes a report of a host, which comes from the address `from`. What it tells is seen by whoever reads at this server afterwards.
///
/// # Errors
/// When it cannot be a report, the host is gone, or the store fails.
pub async fn take(
    server: &Server,
    (project, host): (&Id, &Id),
    from: IpAddr,
    mut report: Report,
) -> Result<Revision, Problem> {
    check::report(&report)?;
    // Behind a NAT: this is not where the others reach it.
    report.address.take_if(|address| *address != from);
    let (instance, sequence) = (report.instance.clone(), report.sequence);
    let mut last = server.hub.turn(host).await;
    if last.has(&instance, sequence) {
        // It was overtaken by a later one, which holds what is true.
        return Ok(server.mirror.revision());
    }
    let about_itself = about_itself(server, project, host, &mut report).await?;
    let writes = about_containers(server, project, host, report).await?;
    let done = server.objects.store().write_all(writes).await;
    let written = done.map_err(|error| objects::refusal(&error))?;
    // Not before: what was not written may come again with its number.
    *last = LastReport { instance, sequence };
    let revision = written.or(about_itself);
    if let Some(revision) = revision {
        // The next report is compared with this one.
        server.mirror.reach(revision).await;
    }
    Ok(revision.unwrap_or_else(|| server.mirror.revision()))
}

/// Each container is written or removed once at most.
async fn about_containers(
    server: &Server,
    project: &Id,
    host: &Id,
    report: Report,
) -> Result<Vec<Write>, Problem> {
    let networks = objects::all::<NetworkKind>(&server.mirror, Some(project));
    let subnet = networks.first().map(|network| network.spec.subnet);
    let known = || server.hub.containers_of(project, host);
    if report.whole {
        server.hub.reach(server.mirror.revision()).await;
    } else if report.containers.len() + known().len() > check::CONTAINERS {
        let title = format!("a host has at most {} containers", check::CONTAINERS);
        return Err(Problem::new(Reason::TooLarge, title).at("containers"));
    }
    let mut gone: BTreeSet<Id> = report
        .gone
        .iter()
        .map(|docker| id_of(host, docker))
        .collect();
    let mut writes: BTreeMap<Id, Option<Write>> = BTreeMap::new();
    for mut seen in report.containers {
        check::tidy(&mut seen, subnet);
        let id = id_of(host, &seen.status.docker_id);
        writes.insert(id.clone(), put(server, project, host, id, seen));
    }
    if report.whole {
        gone.extend(known().into_iter().filter(|id| !writes.contains_key(id)));
    }
    for id in gone {
        let removal = objects::removal_plain::<ContainerKind>(project, &id);
        writes.insert(id, Some(removal));
    }
    Ok(writes.into_values().flatten().collect())
}

/// Writes a container unless it is known as it is.
fn put(server: &Server, project: &Id, host: &Id, id: Id, seen: Seen) -> Option<Write> {
    let known = objects::find::<ContainerKind>(&server.mirror, Some(project), &id);
    let mut status = seen.status;
    status.host = Some(host.clone());
    let is_known = known
        .as_ref()
        .is_some_and(|known| known.status == status && known.meta.name == seen.name);
    if is_known {
        return None;
    }
    let container: Container = Resource {
        meta: Meta {
            id,
            project: Some(project.clone()),
            name: seen.name,
            labels: Default::default(),
            created: known.map_or_else(now, |known| known.meta.created),
            revision: 0,
            generation: 1,
        },
        spec: Default::default(),
        status,
    };
    Some(objects::write_plain::<ContainerKind>(&container))
}

/// What the host says of itself; `None`: nothing.
async fn about_itself(
    server: &Server,
    project: &Id,
    host: &Id,
    report: &mut Report,
) -> Result<Option<Revision>, Problem> {
    if let Some(facts) = &mut report.facts {
        check::tidy_facts(facts);
    }
    if let Some(problems) = &mut report.problems {
        check::tidy_problems(problems);
    }
    let Report {
        facts,
        address,
        public_key,
        problems,
        reach,
        ..
    } = &*report;
    let is_told = facts.is_some() || address.is_some() || public_key.is_some();
    if !is_told && problems.is_none() && reach.is_none() {
        return Ok(None);
    }
    let change = |old: Host| {
        let mut new = old.clone();
        let status = &mut new.status;
        if let Some(facts) = facts {
            status.facts.clone_from(facts);
        }
        if public_key.is_some() {
            status.public_key.clone_from(public_key);
        }
        if let Some(problems) = problems {
            status.problems.clone_from(problems);
        }
        if let Some(reach) = reach {
            status.reach.clone_from(reach);
            status.reach.peers.truncate(Reach::MOST);
        }
        let beside = address.and_then(|to| relocate(&mut new, to));
        let writes = beside.into_iter().collect();
        let beside = Transaction {
            writes,
            ..Transaction::default()
        };
        Ok((new != old).then_some((new, beside)))
    };
    let host = server
        .objects
        .change_with::<HostKind>(Some(project), host, change)
        .await?;
    Ok(Some(host.meta.revision))
}

/// A host says that it has left its address. Gives the event, unless it is there already, or people have said where it is reached.
fn relocate(host: &mut Host, to: IpAddr) -> Option<Write> {
    let left = host.status.address;
    if host.spec.address.is_some() || left == Some(to) {
        return None;
    }
    host.status.address = Some(to);
    let left = left.map_or_else(|| "no address".to_owned(), |left| left.to_string());
    let event = EventSpec {
        what: "host.moved".into(),
        object: Some(host.meta.id.clone()),
        object_name: host.meta.name.clone(),
        by: Some(host.meta.id.clone()),
        by_name: host.meta.name.clone(),
        from: to.to_string(),
        message: format!("from {left} to {to}: the other hosts reach it there now"),
    };
    Some(events::write(host.meta.project.as_ref(), event))
}

#[cfg(test)]
mod tests;
