//! The names of the project: an index made from the catalog, never changed, swapped whole. It owns what a name means; it knows nothing of
//! packets. Keys are labels in lower case as on the wire, without the zone's own, so that a bare name and a full one are the same entry.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use api::agent::ContainerFact;
use api::container::ContainerState;
use api::host::HostState;
use api::name::label;
use ipnet::Ipv4Net;

use super::wire::Name;
use crate::Catalog;

/// `rancher.internal`.
pub const APEX: &[u8] = b"\x07rancher\x08internal";
/// Where the names below are addresses (RFC 1035, 3.5).
const REVERSE: &[u8] = b"\x07in-addr\x04arpa";
/// The service of names and metadata of each host.
pub const SERVICE: &[u8] = b"\x10rancher-metadata";
/// Its address, link-local: the same on every host, never routed.
pub const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 250);
/// Characters of Docker's short ids.
const SHORT_ID: usize = 12;

type Label = Box<[u8]>;

/// The container behind an address.
#[derive(Debug)]
struct Holder {
    /// Its name below the zone; empty: it has none.
    name: Label,
    /// Its Compose project.
    project: Option<Label>,
}

/// The names at one moment.
#[derive(Debug, Default)]
pub struct Zone {
    serial: u32,
    /// By name below the zone. No address: only longer names exist.
    names: HashMap<Label, Vec<Ipv4Addr>>,
    holders: HashMap<Ipv4Addr, Holder>,
    subnets: Vec<Ipv4Net>,
}

/// What is known of a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// The zone itself.
    Apex,
    /// It has these addresses; none: only longer names exist. The zone begins there in the name.
    Addresses(&'a [Ipv4Addr], usize),
    /// An address with this name, below [`APEX`]; none: only longer names exist. The zone begins there in the name.
    Pointer(Option<&'a [u8]>, usize),
    /// Nothing, and nobody else could know. The zone begins there in the name.
    Unknown(usize),
    /// Somebody else's.
    Foreign,
}

impl Zone {
    /// Makes the index.
    #[must_use]
    pub fn build(catalog: &Catalog) -> Self {
        let mut zone = Self {
            // Serials are compared modulo 2^32 (RFC 1982): the lower bits are what is wanted.
            serial: u32::try_from(catalog.revision & u64::from(u32::MAX)).unwrap_or(0),
            names: HashMap::with_capacity(2 * catalog.containers.len()),
            holders: HashMap::with_capacity(catalog.containers.len()),
            subnets: catalog.networks.values().map(|n| n.spec.subnet).collect(),
        };
        let (lost, sound): (Vec<_>, Vec<_>) = reachable(catalog).partition(|(one, _)| {
            let host = catalog.hosts.get(&one.host);
            one.state == ContainerState::Paused
                || host.is_some_and(|host| host.state == HostState::Disconnected)
        });
        zone.add_all(&sound);
        // Who may be dead answers for a name only when nobody else does: a doubtful address is better than none.
        let mut doubtful = Self::default();
        doubtful.add_all(&lost);
        zone.fill(doubtful);
        // A host name that somebody has chosen is an alias, as in Docker 25; a container's own name has precedence.
        let mut aliases = Self::default();
        sound
            .iter()
            .for_each(|(one, address)| aliases.add_alias(one, *address));
        zone.fill(aliases);
        zone.names.insert(SERVICE.into(), vec![SERVICE_ADDRESS]);
        zone
    }

    fn add_all(&mut self, containers: &[(&ContainerFact, Ipv4Addr)]) {
        for (one, address) in containers {
            let name = label(&one.name).map(|name| wire_label(&name));
            let project = one
                .labels
                .get("com.docker.compose.project")
                .and_then(|p| label(p));
            let project = project.map(|project| wire_label(&project));
            if let Some(name) = &name {
                self.add(name.clone(), *address);
            }
            let id = one.docker_id.get(..SHORT_ID).and_then(label);
            if let Some(id) = id.map(|id| wire_label(&id)) {
                self.add(id, *address);
            }
            if let Some(project) = &project {
                self.add_service(one, project, *address);
            }
            // A host's address is not a container's own.
            if one.address.is_some() {
                let name = name.unwrap_or_default();
                self.holders.insert(*address, Holder { name, project });
            }
        }
    }

    /// The names that Compose gives: `service.project`.
    fn add_service(&mut self, one: &ContainerFact, project: &[u8], address: Ipv4Addr) {
        let service = one.labels.get("com.docker.compose.service");
        if let Some(service) = service.and_then(|service| label(service)) {
            let name = [&wire_label(&service), project].concat();
            self.add(name.into(), address);
            self.names.entry(project.into()).or_default();
        }
    }

    fn add_alias(&mut self, one: &ContainerFact, address: Ipv4Addr) {
        if let Some(hostname) = label(&one.hostname).filter(|_| !one.hostname.contains('.')) {
            self.add(wire_label(&hostname), address);
        }
    }

    fn add(&mut self, name: Label, address: Ipv4Addr) {
        let addresses = self.names.entry(name).or_default();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }

    /// Takes what it does not know itself.
    fn fill(&mut self, other: Self) {
        for (name, addresses) in other.names {
            let known = self.names.entry(name).or_default();
            if known.is_empty() {
                *known = addresses;
            }
        }
        for (address, holder) in other.holders {
            self.holders.entry(address).or_insert(holder);
        }
    }

    /// Counts the states of the zone.
    #[must_use]
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// What `name` is for `client`.
    #[must_use]
    pub fn find(&self, name: &Name, client: IpAddr) -> Found<'_> {
        if let Some(zone) = name.ends_with(APEX) {
            if zone == 0 {
                return Found::Apex;
            }
            let addresses = self.names.get(&name.as_bytes()[..zone]);
            return addresses.map_or(Found::Unknown(zone), |all| Found::Addresses(all, zone));
        }
        if let Some(zone) = name.ends_with(REVERSE) {
            return self.find_reverse(name, zone);
        }
        self.find_bare(name, client)
    }

    /// Short names, as a search list would find them: first the services of the client's own Compose project, then everything in the zone.
    fn find_bare(&self, name: &Name, client: IpAddr) -> Found<'_> {
        let bare = name.as_bytes();
        let labels = name.starts().take(3).count();
        let own = (labels == 1).then(|| self.find_own(bare, client)).flatten();
        let known = own.or_else(|| self.names.get(bare));
        match known.filter(|all| (1..=2).contains(&labels) && !all.is_empty()) {
            Some(addresses) => Found::Addresses(addresses, 0),
            None => Found::Foreign,
        }
    }

    fn find_own(&self, bare: &[u8], client: IpAddr) -> Option<&Vec<Ipv4Addr>> {
        let IpAddr::V4(client) = client else {
            return None;
        };
        let project = self.holders.get(&client)?.project.as_ref()?;
        let mut name = [0; 2 * 64];
        let length = bare.len() + project.len();
        let target = name.get_mut(..length)?;
        target[..bare.len()].copy_from_slice(bare);
        target[bare.len()..].copy_from_slice(project);
        self.names.get(&name[..length])
    }

    /// Addresses backwards: of our subnets nobody else knows anything.
    fn find_reverse(&self, name: &Name, zone: usize) -> Found<'_> {
        let labels = name.labels().count() - 2;
        let Some(prefix) = reversed(name, labels) else {
            return Found::Foreign;
        };
        if labels == 4 && prefix == SERVICE_ADDRESS {
            return Found::Pointer(Some(SERVICE), 0);
        }
        let covers = |net: &&Ipv4Net| net.contains(&prefix) && labels >= cut(net);
        let Some(net) = self.subnets.iter().find(covers) else {
            return Found::Foreign;
        };
        let head = name.starts().nth(labels - cut(net)).unwrap_or(zone);
        if labels < 4 {
            return Found::Pointer(None, head);
        }
        match self.holders.get(&prefix) {
            Some(holder) if !holder.name.is_empty() => Found::Pointer(Some(&holder.name), head),
            _ => Found::Unknown(head),
        }
    }
}

/// Labels that the reverse zone of `net` has of its own.
fn cut(net: &Ipv4Net) -> usize {
    usize::from(net.prefix_len().div_ceil(8)).max(1)
}

/// The address that the first `labels` of `name` spell backwards, filled with zeros. `None`: they are not one.
fn reversed(name: &Name, labels: usize) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    for (place, label) in name.labels().take(labels).enumerate() {
        let text = std::str::from_utf8(label).ok()?;
        // `01` and `+1` are no addresses.
        let is_plain = text == "0" || text.starts_with(|first: char| ('1'..='9').contains(&first));
        let octet = text.parse().ok().filter(|_| is_plain)?;
        *octets.get_mut(labels.checked_sub(place + 1)?)? = octet;
    }
    Some(octets.into())
}

/// Containers that can be reached: what Docker itself has names for.
fn reachable(catalog: &Catalog) -> impl Iterator<Item = (&ContainerFact, Ipv4Addr)> {
    catalog.containers.values().filter_map(|one| {
        let is_up = matches!(one.state, ContainerState::Running | ContainerState::Paused);
        let address = one.address.or_else(|| host_address(catalog, one));
        address.filter(|_| is_up).map(|address| (one, address))
    })
}

/// The address of the host whose own network a container is in.
fn host_address(catalog: &Catalog, one: &ContainerFact) -> Option<Ipv4Addr> {
    let host = catalog.hosts.get(&one.host).filter(|_| one.host_network)?;
    match host.address? {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// A label with its length before it.
fn wire_label(label: &str) -> Label {
    let mut wire = Vec::with_capacity(label.len() + 1);
    // `label` has made it at most 63 long.
    wire.push(u8::try_from(label.len()).unwrap_or(0));
    wire.extend_from_slice(label.as_bytes());
    wire.into()
}
