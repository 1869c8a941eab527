//! What hosts report: their containers and themselves. Only what differs from what is known is written.

use std::collections::BTreeSet;

use api::agent::{Report, Seen};
use api::container::{ContainerKind, id_of};
use api::host::{HostKind, Reach};
use api::problem::Problem;
use api::resource::{Meta, Resource};
use api::{Container, Host, Id};

use crate::objects::{self, now};
use crate::server::Server;
use crate::store::{Revision, Write};

/// Longest name and label value that is kept: what is longer would not be of use to anybody.
const LONGEST: usize = 4096;

/// Takes a report of a host.
///
/// # Errors
/// When the host is gone or the store fails.
pub async fn take(
    server: &Server,
    project: &Id,
    host: &Id,
    report: Report,
) -> Result<Revision, Problem> {
    let revision = about_itself(server, project, host, &report).await?;
    let mut writes: Vec<Write> = Vec::new();
    let mut reported = BTreeSet::new();
    for seen in report.containers {
        let id = id_of(host, &seen.status.docker_id);
        reported.insert(id.clone());
        writes.extend(put(server, project, host, id, seen));
    }
    let mut gone: BTreeSet<Id> = report
        .gone
        .iter()
        .map(|docker| id_of(host, docker))
        .collect();
    if report.whole {
        let known = server.hub.containers_of(project, host);
        gone.extend(known.into_iter().filter(|id| !reported.contains(id)));
    }
    writes.extend(
        gone.iter()
            .map(|id| objects::removal_plain::<ContainerKind>(project, id)),
    );
    let done = server.objects.store().write_all(writes).await;
    let written = done.map_err(|error| objects::refusal(&error))?;
    Ok(written.unwrap_or(revision))
}

/// Writes a container unless it is known as it is.
fn put(server: &Server, project: &Id, host: &Id, id: Id, seen: Seen) -> Option<Write> {
    let known = objects::find::<ContainerKind>(&server.mirror, Some(project), &id);
    let mut status = seen.status;
    status.host = Some(host.clone());
    status
        .labels
        .retain(|key, value| key.len() + value.len() <= LONGEST);
    let name: String = seen.name.chars().take(255).collect();
    let is_known = known
        .as_ref()
        .is_some_and(|known| known.status == status && known.meta.name == name);
    if is_known {
        return None;
    }
    let container: Container = Resource {
        meta: Meta {
            id,
            project: Some(project.clone()),
            name,
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

async fn about_itself(
    server: &Server,
    project: &Id,
    host: &Id,
    report: &Report,
) -> Result<Revision, Problem> {
    let change = |old: Host| {
        let mut new = old.clone();
        if let Some(facts) = &report.facts {
            new.status.facts.clone_from(facts);
        }
        if let Some(address) = report.address {
            new.status.address = Some(address);
        }
        if let Some(key) = &report.public_key {
            new.status.public_key = Some(key.clone());
        }
        if let Some(problems) = &report.problems {
            new.status.problems.clone_from(problems);
        }
        if let Some(reach) = &report.reach {
            new.status.reach.clone_from(reach);
            new.status.reach.peers.truncate(Reach::MOST);
        }
        Ok((new != old).then_some(new))
    };
    let host = server
        .objects
        .change::<HostKind>(Some(project), host, change)
        .await?;
    Ok(host.meta.revision)
}
