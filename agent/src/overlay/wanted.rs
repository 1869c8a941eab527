//! What links, tables and routes the network needs on this host, given the ways to the others. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use api::network::Encapsulation;
use ipnet::{IpNet, Ipv4Net};

use super::desired::{Desired, Peer, gateway};
use super::kernel::{Kernel, Mac, Neighbour, PROTOCOL, Route, Vxlan, way};
use super::observe::{Observed, containers, is_own};
use super::tunnel::{self, KEEPALIVE, Tunnel};
use super::{BRIDGE, VXLAN, WIREGUARD};

/// VXLAN network identifier of the project's network.
const VNI: u32 = 42;
/// A link whose MTU is not known is taken for an Ethernet.
const ETHERNET: u32 = 1500;
/// Least MTU: every host must take packets of this size (RFC 791).
const LEAST: u32 = 576;

/// What this host needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// MTU of the links to the others.
    pub link_mtu: u32,
    /// MTU of containers.
    pub mtu: u32,
    /// Settings of the VXLAN and its link address.
    pub vxlan: Option<(Vxlan, Mac)>,
    /// Settings of WireGuard's link.
    pub tunnel: Option<Tunnel>,
    /// Links by which the others' containers are reached.
    pub links: BTreeSet<String>,
    /// Entries of the VXLAN's tables.
    pub neighbours: Vec<Neighbour>,
    /// Whether what routes need is there.
    pub is_ready: bool,
    /// Routes to the others' containers, and to those of ours that are outside our block.
    pub routes: Vec<Route>,
    /// What is wrong.
    pub problems: Vec<String>,
}

/// Link address of the host that has this address in the network: others can tell it without asking.
#[must_use]
pub fn mac(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    // Locally administered, unicast.
    [0x02, 0x52, a, b, c, d]
}

/// What `desired` needs.
#[must_use]
pub fn wanted(desired: &Desired, observed: &Observed) -> Wanted {
    let kernel = &observed.kernel;
    let mut wanted = Wanted::default();
    let mut ways = Vec::new();
    for peer in &desired.peers {
        match way(kernel, peer.address) {
            Some(way) => ways.push((peer, way)),
            None => wanted.problems.push(format!(
                "no route leads to host {} ({}): `ip route get {}`",
                peer.name, peer.address, peer.address
            )),
        }
    }
    wanted.link_mtu = link_mtu(desired, kernel, &ways);
    let is_ipv6 =
        desired.address.is_ipv6() || desired.peers.iter().any(|peer| peer.address.is_ipv6());
    let room = wanted
        .link_mtu
        .saturating_sub(desired.encapsulation.overhead(is_ipv6));
    wanted.mtu = desired.mtu.map_or(room, |mtu| mtu.min(room)).max(LEAST);
    match desired.encapsulation {
        Encapsulation::Wireguard => wireguard(&mut wanted, desired, observed),
        Encapsulation::Vxlan => vxlan(&mut wanted, desired, kernel),
        Encapsulation::Direct => wanted
            .links
            .extend(ways.iter().map(|(_, way)| kernel.name(way.link).to_owned())),
    }
    routes(&mut wanted, desired, observed, &ways);
    wanted
}

/// The smallest MTU on the way to the others; without others, that of the link with this host's address.
fn link_mtu(desired: &Desired, kernel: &Kernel, ways: &[(&Peer, &Route)]) -> u32 {
    let mtu_of = |index: u32| {
        kernel
            .links
            .iter()
            .find(|link| link.index == index)
            .map(|link| link.mtu)
    };
    let to_peers = ways.iter().filter_map(|(_, way)| mtu_of(way.link)).min();
    let own = || {
        let at = kernel
            .addresses
            .iter()
            .find(|(_, net)| net.addr() == desired.address);
        at.and_then(|(link, _)| mtu_of(*link))
    };
    // Behind a NAT, the address is not on any link: the default route's.
    let default = || way(kernel, desired.address).and_then(|way| mtu_of(way.link));
    to_peers.or_else(own).or_else(default).unwrap_or(ETHERNET)
}

fn vxlan(wanted: &mut Wanted, desired: &Desired, kernel: &Kernel) {
    wanted.links.insert(VXLAN.to_owned());
    let vxlan = Vxlan {
        id: VNI,
        port: desired.port,
        // Behind a NAT, the address is not this host's own: the kernel chooses.
        local: is_own(kernel, desired.address).then_some(desired.address),
        learning: false,
    };
    wanted.vxlan = Some((vxlan, mac(gateway(desired.block))));
    for peer in desired
        .peers
        .iter()
        .filter(|peer| !is_own(kernel, peer.address))
    {
        let at = gateway(peer.block);
        wanted.neighbours.push(Neighbour::Gateway(at, mac(at)));
        wanted
            .neighbours
            .push(Neighbour::Behind(mac(at), peer.address));
    }
}

fn wireguard(wanted: &mut Wanted, desired: &Desired, observed: &Observed) {
    wanted.links.insert(WIREGUARD.to_owned());
    let Some(public) = observed.public.filter(|_| observed.wireguard) else {
        if !observed.wireguard {
            wanted.problems.push(format!(
                "the kernel of this host has no WireGuard (CONFIG_WIREGUARD, or its module): start one that has it, or let the whole project do without \
                 encryption with `ros networks set {} --encapsulation vxlan`",
                desired.name
            ));
        }
        return;
    };
    let mut peers: BTreeMap<_, tunnel::Peer> = BTreeMap::new();
    for peer in &desired.peers {
        // A host without one was left out before.
        let Some(key) = peer.key else {
            continue;
        };
        if key == public || peers.contains_key(&key) {
            wanted.problems.push(format!(
                "host {} has the WireGuard key of another host: was its disk copied? Let it leave and join again",
                peer.name
            ));
            continue;
        }
        let mut allowed = BTreeSet::from([IpNet::from(peer.block)]);
        allowed.extend(
            peer.strays
                .iter()
                .map(|stray| IpNet::from(Ipv4Net::from(*stray))),
        );
        let set = tunnel::Peer {
            endpoint: Some(SocketAddr::new(peer.address, desired.port)),
            allowed,
            keepalive: KEEPALIVE,
            silent: None,
        };
        peers.insert(key, set);
    }
    wanted.tunnel = Some(Tunnel {
        public,
        port: desired.port,
        peers,
    });
}

fn routes(wanted: &mut Wanted, desired: &Desired, observed: &Observed, ways: &[(&Peer, &Route)]) {
    let kernel = &observed.kernel;
    let own = gateway(desired.block);
    let bridge = kernel.link(BRIDGE).filter(|bridge| {
        kernel
            .addresses
            .iter()
            .any(|(link, net)| *link == bridge.index && net.addr() == own)
    });
    let Some(bridge) = bridge else {
        return;
    };
    let device = match desired.encapsulation {
        Encapsulation::Wireguard => kernel.link(WIREGUARD).filter(|link| link.up),
        Encapsulation::Vxlan => kernel.link(VXLAN).filter(|link| link.up),
        Encapsulation::Direct => None,
    };
    wanted.is_ready = desired.encapsulation == Encapsulation::Direct || device.is_some();
    let route = |to: IpNet, link: u32, gateway: Option<IpAddr>| Route {
        to,
        link,
        gateway,
        source: Some(own.into()),
        onlink: gateway.is_some() && device.is_some(),
        metric: 0,
        protocol: PROTOCOL,
    };
    let here: BTreeSet<Ipv4Addr> = containers(&observed.engine).collect();
    let strays = here.iter().filter(|address| {
        desired.subnet.contains(*address)
            && !desired.block.contains(*address)
            && !desired.refused.contains(*address)
    });
    wanted
        .routes
        .extend(strays.map(|address| route(Ipv4Net::from(*address).into(), bridge.index, None)));
    for peer in &desired.peers {
        let (link, gateway) = match (desired.encapsulation, device) {
            (Encapsulation::Direct, _) => match neighbour(peer, ways) {
                Ok(link) => (link, Some(peer.address)),
                Err(problem) => {
                    wanted.problems.push(problem);
                    continue;
                }
            },
            (Encapsulation::Vxlan, Some(device)) => {
                (device.index, Some(gateway(peer.block).into()))
            }
            (Encapsulation::Wireguard, Some(device)) => (device.index, None),
            (_, None) => return,
        };
        if desired.encapsulation != Encapsulation::Wireguard && is_own(kernel, peer.address) {
            continue;
        }
        wanted.routes.push(route(peer.block.into(), link, gateway));
        for stray in &peer.strays {
            if here.contains(stray) || *stray == own {
                wanted.problems.push(format!(
                    "a container of host {} has the address {stray}, which one on this host has, too: give it another io.rancher.container.requested_ip",
                    peer.name
                ));
            } else {
                wanted
                    .routes
                    .push(route(Ipv4Net::from(*stray).into(), link, gateway));
            }
        }
    }
}

/// The link that a peer is on, for packets that are not encapsulated.
fn neighbour(peer: &Peer, ways: &[(&Peer, &Route)]) -> Result<u32, String> {
    let way = ways
        .iter()
        .find(|(one, _)| one.block == peer.block)
        .map(|(_, way)| way);
    match way {
        Some(way) if way.gateway.is_none() && peer.address.is_ipv4() => Ok(way.link),
        _ => Err(format!(
            "host {} ({}) is not on a link of this host, which `direct` needs: `ros networks set NAME --encapsulation vxlan` (or wireguard)",
            peer.name, peer.address
        )),
    }
}
