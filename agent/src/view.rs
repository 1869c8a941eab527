//! What this host goes by: what the server told of the project, with this host's own containers as Docker shows them now. So its own
//! containers have names at once, and while no server answers.

use std::sync::Arc;

use api::Id;
use api::agent::ContainerFact;
use tokio::sync::watch;

use crate::catalog::Catalog;
use crate::containers::Local;

/// Keeps `view` at what both sources say, for ever.
pub async fn run(
    host: Id,
    mut catalog: watch::Receiver<Arc<Catalog>>,
    mut local: watch::Receiver<Option<Arc<Local>>>,
    view: watch::Sender<Arc<Catalog>>,
) {
    loop {
        let (told, seen) = (
            catalog.borrow_and_update().clone(),
            local.borrow_and_update().clone(),
        );
        let merged = match seen {
            Some(seen) => merge(&host, &told, &seen),
            None => told,
        };
        view.send_replace(merged);
        tokio::select! {
            changed = catalog.changed() => if changed.is_err() { return },
            changed = local.changed() => if changed.is_err() { return },
        }
    }
}

/// The catalog with this host's containers as they are seen here. The same catalog when they are what was told.
fn merge(host: &Id, told: &Arc<Catalog>, seen: &Local) -> Arc<Catalog> {
    let of_host = told.containers.values();
    let own: Vec<&ContainerFact> = of_host.filter(|one| one.host == *host).collect();
    let is_same = own.len() == seen.len()
        && own.iter().all(|known| {
            let one = seen.get(&known.docker_id);
            one.is_some_and(|one| fact(host, one) == **known)
        });
    if is_same {
        return Arc::clone(told);
    }
    let mut merged = (**told).clone();
    for known in own {
        merged.containers.remove(&known.id);
    }
    for one in seen.values() {
        let fact = fact(host, one);
        merged.containers.insert(fact.id.clone(), fact);
    }
    Arc::new(merged)
}

fn fact(host: &Id, seen: &api::agent::Seen) -> ContainerFact {
    let status = seen.status.clone();
    ContainerFact {
        id: api::container::id_of(host, &status.docker_id),
        name: seen.name.clone(),
        host: host.clone(),
        address: status.address,
        host_network: status.host_network,
        state: status.state,
        docker_id: status.docker_id,
        hostname: status.hostname,
        mac: status.mac,
        labels: status.labels,
        ports: status.ports,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::agent::Seen;
    use api::container::ContainerStatus;

    #[test]
    fn own_containers_are_as_seen_here() {
        let (own, other) = (Id::from_bits("h", 1), Id::from_bits("h", 2));
        let seen = |name: &str| Seen {
            name: name.into(),
            status: ContainerStatus {
                docker_id: format!("docker-{name}"),
                ..ContainerStatus::default()
            },
        };
        let local = |names: &[&str]| -> Local {
            names
                .iter()
                .map(|name| (format!("docker-{name}"), seen(name)))
                .collect()
        };
        let mut told = Catalog::default();
        for (host, name) in [(&own, "old"), (&other, "far")] {
            let one = fact(host, &seen(name));
            told.containers.insert(one.id.clone(), one);
        }
        let told = Arc::new(told);
        assert!(Arc::ptr_eq(&merge(&own, &told, &local(&["old"])), &told));
        let merged = merge(&own, &told, &local(&["new"]));
        let mut names: Vec<&str> = merged.containers.values().map(|one| &*one.name).collect();
        names.sort_unstable();
        assert_eq!(names, ["far", "new"]);
    }
}
