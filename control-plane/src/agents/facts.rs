//! What agents are told of objects, and how a fact is written. Pure.

use api::agent::{ContainerFact, Fact, HostFact, NetworkFact};
use api::container::ContainerKind;
use api::host::HostKind;
use api::network::NetworkKind;
use api::resource::Kind;
use api::{Container, Host, Id, Network};

use crate::objects;
use crate::store::{Change, Entry};

/// What a fact is about: kind and id.
pub type About = (&'static str, Id);

/// The project that a key's object belongs to, if it is of a kind that agents are told of.
#[must_use]
pub fn project_of(key: &str) -> Option<Id> {
    let mut parts = key.strip_prefix("/objects/")?.split('/');
    let kind = parts.next()?;
    let kinds = [NetworkKind::PLURAL, HostKind::PLURAL, ContainerKind::PLURAL];
    kinds.contains(&kind).then(|| parts.next()?.parse().ok())?
}

/// What a change of the store says to agents.
pub fn fact_of(change: &Change) -> Option<(About, Fact)> {
    let mut parts = change.key().strip_prefix("/objects/")?.split('/');
    let kind = parts.next()?;
    let id: Id = parts.nth(1)?.parse().ok()?;
    let put = match change {
        Change::Put(entry) => Some(entry),
        Change::Delete { .. } => None,
    };
    match kind {
        NetworkKind::PLURAL => {
            let fact = put.map_or(Some(Fact::NoNetwork(id.clone())), network);
            Some(((NetworkKind::PLURAL, id), fact?))
        }
        HostKind::PLURAL => {
            let fact = put.map_or(Some(Fact::NoHost(id.clone())), host);
            Some(((HostKind::PLURAL, id), fact?))
        }
        ContainerKind::PLURAL => {
            let fact = put.map_or(Some(Fact::NoContainer(id.clone())), container);
            Some(((ContainerKind::PLURAL, id), fact?))
        }
        _ => None,
    }
}

fn network(entry: &Entry) -> Option<Fact> {
    let network: Network = objects::decode::<NetworkKind>(entry).ok()?;
    Some(Fact::Network(NetworkFact {
        id: network.meta.id,
        name: network.meta.name,
        spec: network.spec,
    }))
}

fn host(entry: &Entry) -> Option<Fact> {
    let host: Host = objects::decode::<HostKind>(entry).ok()?;
    Some(Fact::Host(HostFact {
        id: host.meta.id,
        name: host.meta.name,
        hostname: host.status.facts.hostname,
        address: host.spec.address.or(host.status.address),
        block: host.status.block,
        public_key: host.status.public_key,
        labels: host.meta.labels,
        state: host.status.state,
    }))
}

fn container(entry: &Entry) -> Option<Fact> {
    let container: Container = objects::decode::<ContainerKind>(entry).ok()?;
    Some(Fact::Container(ContainerFact {
        id: container.meta.id,
        name: container.meta.name,
        host: container.status.host?,
        address: container.status.address,
        host_network: container.status.host_network,
        state: container.status.state,
        docker_id: container.status.docker_id,
        hostname: container.status.hostname,
        mac: container.status.mac,
        labels: container.status.labels,
        ports: container.status.ports,
    }))
}

/// The key of what a fact is about.
pub fn key((kind, id): &About, project: &Id) -> String {
    format!("/objects/{kind}/{project}/{id}")
}

/// As it is sent.
pub fn encode(fact: &Fact) -> Box<str> {
    // Our own types, which serde_json takes.
    serde_json::to_string(fact).unwrap_or_default().into()
}
