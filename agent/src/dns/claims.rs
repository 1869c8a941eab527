//! Which names a container has, and how well. Pure.

use std::net::{IpAddr, Ipv4Addr};

use api::Id;
use api::agent::ContainerFact;
use api::container::ContainerState;
use api::host::HostState;
use api::name::label;

use crate::Catalog;

/// Characters of Docker's short ids.
const SHORT_ID: usize = 12;
/// Labels that Compose puts on each container.
const SERVICE: &str = "com.docker.compose.service";
const PROJECT: &str = "com.docker.compose.project";

/// Labels as on the wire, each with its length before it, in lower case.
pub type Label = Box<[u8]>;

/// How good a claim to a name is: only the best ones are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Its own name, and nothing is known to be wrong.
    Sound,
    /// It is paused, or its host has not been heard of for long: better than nothing.
    Doubtful,
    /// A host name that somebody has chosen, which is an alias as in Docker 25.
    Alias,
    /// Nothing is there but longer names.
    Above,
}

/// A claim to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    /// How good it is.
    pub rank: Rank,
    /// The address; without meaning for [`Rank::Above`].
    pub address: Ipv4Addr,
}

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The container.
    pub id: Id,
    /// Its name below the zone; empty: it has none.
    pub name: Label,
    /// Its Compose project.
    pub project: Option<Label>,
}

/// All that one container claims.
#[derive(Debug)]
pub struct Claims {
    /// Its address.
    pub address: Ipv4Addr,
    /// Names with how good the claim is.
    pub names: Vec<(Label, Rank)>,
    /// The other way round; none: the address is not its own.
    pub holder: Option<Holder>,
}

impl Claims {
    /// What `one` claims. `None`: nothing, it cannot be reached.
    #[must_use]
    pub fn of(one: &ContainerFact, catalog: &Catalog) -> Option<Self> {
        // Docker itself has names for these: an address is lost with the end of a run.
        let is_up = matches!(one.state, ContainerState::Running | ContainerState::Paused);
        let place = Place::of(one, catalog);
        let address = one.address.or(place.address).filter(|_| is_up)?;
        let is_doubtful = one.state == ContainerState::Paused || place.is_lost;
        let rank = if is_doubtful {
            Rank::Doubtful
        } else {
            Rank::Sound
        };
        let of_label = |key| one.labels.get(key).and_then(|value| wire(value));
        let (name, service, project) = (wire(&one.name), of_label(SERVICE), of_label(PROJECT));
        let mut names: Vec<(Label, Rank)> = Vec::with_capacity(4);
        let id = one.docker_id.get(..SHORT_ID).and_then(wire);
        names.extend(name.iter().cloned().chain(id).map(|name| (name, rank)));
        if let (Some(service), Some(project)) = (service, &project) {
            names.push(([&*service, project].concat().into(), rank));
            names.push((project.clone(), Rank::Above));
        }
        // In its host's network it has the host's name, too, which nobody has chosen for it.
        let is_chosen = one.address.is_some() && !one.hostname.contains('.');
        let alias = wire(&one.hostname).filter(|alias| {
            is_chosen && rank == Rank::Sound && !names.iter().any(|(name, _)| name == alias)
        });
        names.extend(alias.map(|alias| (alias, Rank::Alias)));
        let holder = one.address.map(|_| Holder {
            id: one.id.clone(),
            name: name.unwrap_or_default(),
            project,
        });
        Some(Self {
            address,
            names,
            holder,
        })
    }
}

/// What a container's claims owe to its host.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The host has been silent for long.
    is_lost: bool,
    /// Its address, for a container in its own network.
    address: Option<Ipv4Addr>,
}

impl Place {
    /// Where `one` is.
    #[must_use]
    pub fn of(one: &ContainerFact, catalog: &Catalog) -> Self {
        let host = catalog.hosts.get(&one.host);
        let address = host
            .filter(|_| one.host_network)
            .and_then(|host| host.address);
        Self {
            is_lost: host.is_some_and(|host| host.state == HostState::Disconnected),
            address: address.and_then(|address| match address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            }),
        }
    }
}

/// A name of Docker's as a label.
fn wire(name: &str) -> Option<Label> {
    let label = label(name)?;
    let mut wire = Vec::with_capacity(label.len() + 1);
    // `label` has made it at most 63 long.
    wire.push(u8::try_from(label.len()).unwrap_or(0));
    wire.extend_from_slice(label.as_bytes());
    Some(wire.into())
}
