//! A catalog arranged for questions: names in order, addresses, and what Compose's labels say belongs together. Made once for a catalog and
//! shared; pure.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::sync::Arc;

use api::Id;
use api::agent::{ContainerFact, HostFact, NetworkFact};
use api::container::ContainerState;

use crate::Catalog;
use crate::identity::Own;

/// Compose's labels (Compose, `pkg/api/labels.go`).
const STACK: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const ONE_OFF: &str = "com.docker.compose.oneoff";

/// What was started under one name of a Compose file.
#[derive(Debug, PartialEq, Eq)]
pub struct Service {
    /// Compose's project.
    pub stack: String,
    /// Its name there.
    pub name: String,
    /// Its containers.
    pub members: Vec<Id>,
}

/// A Compose project.
#[derive(Debug, PartialEq, Eq)]
pub struct Stack {
    /// Its name.
    pub name: String,
    /// Where its services are among all.
    pub services: Range<usize>,
}

/// A catalog, arranged.
#[derive(Debug)]
pub struct Index {
    /// The catalog.
    pub catalog: Arc<Catalog>,
    /// Who this host is.
    pub own: Own,
    /// Another one for each catalog: the server's revision, and how often this host has seen something else since.
    pub version: Version,
    /// Containers by lower-cased name, then id.
    pub containers: Vec<(String, Id)>,
    /// Hosts by name.
    pub hosts: Vec<Id>,
    /// Networks by name.
    pub networks: Vec<Id>,
    /// Services by stack and name.
    pub services: Vec<Service>,
    /// Stacks by name.
    pub stacks: Vec<Stack>,
    addresses: HashMap<Ipv4Addr, Id>,
}

/// Which state of the project is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Version {
    revision: u64,
    since: u64,
}

impl Version {
    /// That of a catalog that comes after this one. The server numbers what it tells; what changes on this host alone, while no server
    /// answers, has the same number, and those who wait for a change must see it, too.
    #[must_use]
    pub fn next(self, catalog: &Catalog) -> Self {
        let is_same = self.revision == catalog.revision;
        Self {
            revision: catalog.revision,
            since: if is_same { self.since + 1 } else { 0 },
        }
    }

    /// That of the first catalog.
    #[must_use]
    pub fn first(catalog: &Catalog) -> Self {
        Self {
            revision: catalog.revision,
            since: 0,
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.since {
            0 => write!(f, "{}", self.revision),
            since => write!(f, "{}.{since}", self.revision),
        }
    }
}

impl Index {
    /// Arranges a catalog.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, own: Own, version: Version) -> Self {
        let mut containers: Vec<(String, Id)> = catalog
            .containers
            .values()
            .map(|one| (one.name.to_lowercase(), one.id.clone()))
            .collect();
        containers.sort_unstable();
        let services = services(&catalog, &containers);
        Self {
            hosts: by_name(catalog.hosts.values().map(|one| (&one.name, &one.id))),
            networks: by_name(catalog.networks.values().map(|one| (&one.name, &one.id))),
            stacks: stacks(&services),
            addresses: addresses(&catalog, &own),
            containers,
            services,
            version,
            catalog,
            own,
        }
    }

    /// A container.
    #[must_use]
    pub fn container(&self, id: &Id) -> Option<&ContainerFact> {
        self.catalog.containers.get(id)
    }

    /// A host.
    #[must_use]
    pub fn host(&self, id: &Id) -> Option<&HostFact> {
        self.catalog.hosts.get(id)
    }

    /// A network.
    #[must_use]
    pub fn network(&self, id: &Id) -> Option<&NetworkFact> {
        self.catalog.networks.get(id)
    }

    /// The container that has an address.
    #[must_use]
    pub fn by_address(&self, address: IpAddr) -> Option<&ContainerFact> {
        let IpAddr::V4(address) = address.to_canonical() else {
            return None;
        };
        self.container(self.addresses.get(&address)?)
    }

    /// Containers of a name, whatever its case.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &ContainerFact> {
        let lower = name.to_lowercase();
        let from = self.containers.partition_point(|(known, _)| *known < lower);
        self.containers[from..]
            .iter()
            .take_while(move |(known, _)| *known == lower)
            .filter_map(|(_, id)| self.container(id))
    }

    /// The service that a container is of, by its place.
    #[must_use]
    pub fn service_of(&self, container: &ContainerFact) -> Option<usize> {
        let wanted = compose(container)?;
        self.services
            .binary_search_by(|one| (one.stack.as_str(), one.name.as_str()).cmp(&wanted))
            .ok()
    }

    /// The stack of a name, by its place.
    #[must_use]
    pub fn stack(&self, name: &str) -> Option<usize> {
        self.stacks
            .binary_search_by(|one| one.name.as_str().cmp(name))
            .ok()
    }
}

/// Project and service that Compose has started a container for. What `docker compose run` starts is no part of a service.
fn compose(container: &ContainerFact) -> Option<(&str, &str)> {
    let label = |key| container.labels.get(key).map(String::as_str);
    if label(ONE_OFF).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    let (stack, service) = (label(STACK)?, label(SERVICE)?);
    (!stack.is_empty() && !service.is_empty()).then_some((stack, service))
}

fn services(catalog: &Catalog, containers: &[(String, Id)]) -> Vec<Service> {
    let mut members: BTreeMap<(&str, &str), Vec<Id>> = BTreeMap::new();
    for (_, id) in containers {
        let key = catalog.containers.get(id).and_then(compose);
        if let Some(key) = key {
            members.entry(key).or_default().push(id.clone());
        }
    }
    let service = |((stack, name), members): ((&str, &str), _)| Service {
        stack: stack.to_owned(),
        name: name.to_owned(),
        members,
    };
    members.into_iter().map(service).collect()
}

fn stacks(services: &[Service]) -> Vec<Stack> {
    let mut stacks: Vec<Stack> = Vec::new();
    for (place, service) in services.iter().enumerate() {
        match stacks.last_mut() {
            Some(stack) if stack.name == service.stack => stack.services.end = place + 1,
            _ => stacks.push(Stack {
                name: service.stack.clone(),
                services: place..place + 1,
            }),
        }
    }
    stacks
}

fn by_name<'a>(all: impl Iterator<Item = (&'a String, &'a Id)>) -> Vec<Id> {
    let mut all: Vec<_> = all.collect();
    all.sort_unstable();
    all.into_iter().map(|(_, id)| id.clone()).collect()
}

/// Addresses with their containers. One that ended may still be known beside the one that has its address now: who runs wins, then who is here.
fn addresses(catalog: &Catalog, own: &Own) -> HashMap<Ipv4Addr, Id> {
    let rank = |one: &ContainerFact| {
        let is_running = matches!(
            one.state,
            ContainerState::Running | ContainerState::Paused | ContainerState::Restarting
        );
        (is_running, one.host == own.host)
    };
    let mut addresses: HashMap<Ipv4Addr, &ContainerFact> = HashMap::new();
    for one in catalog.containers.values() {
        let Some(address) = one.address else { continue };
        let holder = addresses.entry(address).or_insert(one);
        if rank(one) > rank(holder) {
            *holder = one;
        }
    }
    addresses
        .into_iter()
        .map(|(address, one)| (address, one.id.clone()))
        .collect()
}
