//! What the network of this host should be, from the facts of the project alone. Pure: reads nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use api::Id;
use api::agent::{ContainerFact, HostFact, NetworkFact};
use api::container::ContainerState;
use api::host::HostState;
use api::network::Encapsulation;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ipnet::Ipv4Net;

use crate::Catalog;
use crate::identity::Own;

/// A public key of WireGuard (Curve25519).
pub type Key = [u8; 32];

/// What the facts say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Not enough is known, or what is known cannot be: what there is stays as it is. Why, and what to do; empty when there is nothing to tell.
    Wait(Vec<String>),
    /// The project has no network.
    Nothing,
    /// This network.
    Network(Box<Desired>),
}

impl Default for Wish {
    fn default() -> Self {
        Self::Wait(Vec::new())
    }
}

/// The network of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// Id of the project's network: Docker's network carries it as its mark.
    pub network: Id,
    /// Name of Docker's network.
    pub name: String,
    /// Addresses of all containers of the project.
    pub subnet: Ipv4Net,
    /// Those of this host.
    pub block: Ipv4Net,
    /// Where the other hosts reach this one.
    pub address: IpAddr,
    /// How packets travel.
    pub encapsulation: Encapsulation,
    /// UDP port of the encapsulation; 0: it has none.
    pub port: u16,
    /// Largest packet, when it was set by hand.
    pub mtu: Option<u32>,
    /// This host's public key as the others have been told it.
    pub told_key: Option<Key>,
    /// The other hosts, by address of their block.
    pub peers: Vec<Peer>,
    /// Addresses outside the block that containers of this host have in vain: they are another container's, or a host's.
    pub refused: BTreeSet<Ipv4Addr>,
    /// What is wrong with single hosts or containers; the rest works.
    pub problems: Vec<String>,
}

/// Another host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub address: IpAddr,
    /// Its block.
    pub block: Ipv4Net,
    /// Addresses of its containers outside its block (label `io.rancher.container.requested_ip`).
    pub strays: Vec<Ipv4Addr>,
    /// WireGuard's public key.
    pub key: Option<Key>,
}

/// Address of a host in its block: the first one, Docker's gateway.
#[must_use]
pub fn gateway(block: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(block.network()).wrapping_add(1))
}

/// The public key that a text is.
#[must_use]
pub fn key(text: &str) -> Option<Key> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

/// What `catalog` says that the network of `own` should be.
#[must_use]
pub fn desired(catalog: &Catalog, own: &Own) -> Wish {
    if catalog.store.is_empty() {
        return Wish::Wait(Vec::new());
    }
    let Some(network) = catalog.networks.values().next() else {
        return Wish::Nothing;
    };
    match wanted(catalog, own, network) {
        Ok(desired) => Wish::Network(Box::new(desired)),
        Err(why) => Wish::Wait(vec![why]),
    }
}

fn wanted(catalog: &Catalog, own: &Own, network: &NetworkFact) -> Result<Desired, String> {
    let name = &network.name;
    let (subnet, encapsulation) = (network.spec.subnet.trunc(), network.spec.encapsulation);
    let host = catalog.hosts.get(&own.host).ok_or_else(|| {
        format!("the server has not told of this host yet: network {name} waits for it")
    })?;
    let block = host.block.ok_or_else(|| {
        format!("this host has no block of network {name} yet: when this lasts, the network has no free block (`ros networks` shows how many are used)")
    })?;
    let address = host.address.ok_or_else(|| {
        format!("the address of this host is not known: join with --address, or `ros hosts set {} --address A`", own.name)
    })?;
    if !subnet.contains(&block) || block.prefix_len() > 30 {
        return Err(format!(
            "block {block} of this host is not a part of network {name} ({subnet}): remove the host and let it join again"
        ));
    }
    let mut desired = Desired {
        network: network.id.clone(),
        name: name.clone(),
        subnet,
        block,
        address,
        encapsulation,
        port: network
            .spec
            .port
            .or(encapsulation.usual_port())
            .unwrap_or(0),
        mtu: network.spec.mtu,
        told_key: host.public_key.as_deref().and_then(key),
        peers: Vec::new(),
        refused: BTreeSet::new(),
        problems: Vec::new(),
    };
    let mut others: Vec<&HostFact> = catalog.hosts.values().collect();
    others.retain(|one| one.id != own.host);
    others.sort_by_key(|one| one.block);
    let mut strays = strays(catalog, own, &mut desired);
    for other in others {
        let strays = strays.remove(&other.id).unwrap_or_default();
        match peer(&desired, other, strays) {
            Ok(peer) => desired.peers.extend(peer),
            Err(problem) => desired.problems.push(problem),
        }
    }
    desired.problems.extend(same_addresses(&desired));
    Ok(desired)
}

/// The host as a peer; `None` when it needs nothing yet.
fn peer(desired: &Desired, host: &HostFact, strays: Vec<Ipv4Addr>) -> Result<Option<Peer>, String> {
    let name = &host.name;
    let Some(block) = host.block else {
        return Ok(None);
    };
    let Some(address) = host.address else {
        return Err(format!(
            "the address of host {name} is not known: `ros hosts set {name} --address A`"
        ));
    };
    let clashes = |other: Ipv4Net| other.contains(&block) || block.contains(&other);
    if !desired.subnet.contains(&block)
        || clashes(desired.block)
        || desired.peers.iter().any(|peer| clashes(peer.block))
    {
        return Err(format!(
            "block {block} of host {name} is not its alone: remove the host and let it join again"
        ));
    }
    let is_wireguard = desired.encapsulation == Encapsulation::Wireguard;
    let key = host.public_key.as_deref().and_then(key);
    if is_wireguard && key.is_none() {
        let is_there = host.state == HostState::Connected;
        let problem = format!(
            "host {name} has not told a WireGuard key, and is not reached: see its own problems"
        );
        return if is_there { Err(problem) } else { Ok(None) };
    }
    if !is_wireguard && address.is_ipv6() != desired.address.is_ipv6() {
        return Err(format!(
            "host {name} ({address}) and this one ({}) have addresses of different kinds: give both an IPv4 address, or use WireGuard",
            desired.address
        ));
    }
    Ok(Some(Peer {
        name: name.clone(),
        address,
        block,
        strays,
        key,
    }))
}

/// Addresses of running containers outside the block of their host, by host. What two of them have is the one's in whose host's block it lies, and else
/// the first one's; a host's own is no container's. A container of this host that has an address in vain is told of, and refused.
fn strays(catalog: &Catalog, own: &Own, desired: &mut Desired) -> BTreeMap<Id, Vec<Ipv4Addr>> {
    let hosts = catalog.hosts.values();
    let of_hosts: BTreeMap<Ipv4Addr, &str> = hosts
        .filter_map(|host| Some((host.block?, host.name.as_str())))
        .flat_map(|(block, name)| [(block.network(), name), (gateway(block), name)])
        .collect();
    let mut holders: BTreeMap<Ipv4Addr, &ContainerFact> = BTreeMap::new();
    let mut strays: BTreeMap<Id, Vec<Ipv4Addr>> = BTreeMap::new();
    for (place, address, container) in by_place(catalog) {
        let holder = holders.get(&address).map(|first| first.name.as_str());
        let of_host = of_hosts.get(&address).filter(|_| place != Place::Home);
        let is_own = container.host == own.host;
        if is_own && place != Place::Home && (holder.is_some() || of_host.is_some()) {
            desired.refused.insert(address);
        }
        match (of_host, holder) {
            (Some(host), _) if is_own => desired.problems.push(format!(
                "container {} has the address {address}, which is host {host}'s own, and is not reached: give it another one (--ip, io.rancher.container.requested_ip)",
                container.name
            )),
            (Some(_), _) => {}
            (None, Some(first)) => desired.problems.push(format!(
                "containers {first} and {} both have the address {address}: stop one of them, or give it another io.rancher.container.requested_ip",
                container.name
            )),
            (None, None) => {
                holders.insert(address, container);
                if place == Place::Away {
                    let of_host = strays.entry(container.host.clone()).or_default();
                    of_host.push(address);
                }
            }
        }
    }
    strays
}

/// Where the address of a container lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// In the block of its host.
    Home,
    /// Its host has no block.
    Nowhere,
    /// Outside the block of its host.
    Away,
}

/// The containers that run and have an address: first those at home, each kind by id.
fn by_place(catalog: &Catalog) -> Vec<(Place, Ipv4Addr, &ContainerFact)> {
    let running = catalog.containers.values().filter_map(|container| {
        let is_there = matches!(
            container.state,
            ContainerState::Running | ContainerState::Paused
        );
        let address = container.address.filter(|_| is_there)?;
        let host = catalog.hosts.get(&container.host);
        let place = match host.and_then(|host| host.block) {
            Some(block) if block.contains(&address) => Place::Home,
            Some(_) => Place::Away,
            None => Place::Nowhere,
        };
        Some((place, address, container))
    });
    let mut all: Vec<_> = running.collect();
    all.sort_by_key(|(place, ..)| *place);
    all
}

fn same_addresses(desired: &Desired) -> Vec<String> {
    let mut seen: BTreeMap<IpAddr, &str> = BTreeMap::from([(desired.address, "this host")]);
    let mut problems = Vec::new();
    for peer in &desired.peers {
        if let Some(other) = seen.insert(peer.address, &peer.name) {
            problems.push(format!(
                "{other} and host {} have the same address {}: set the right one with `ros hosts set {} --address A`",
                peer.name, peer.address, peer.name
            ));
        }
    }
    problems
}

#[cfg(test)]
pub(crate) mod tests;
