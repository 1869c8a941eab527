//! What WireGuard's link is set to, what it should be set to, and the messages that lie between. Pure; [`super::wireguard`] sends them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;

use ipnet::IpNet;
use netlink_packet_wireguard::{
    WireguardAddressFamily, WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute,
    WireguardCmd, WireguardMessage, WireguardPeer, WireguardPeerAttribute, WireguardPeerFlags,
};

use super::WIREGUARD;
use super::desired::Key;

/// Seconds between packets that keep a way through NATs and firewalls open.
pub const KEEPALIVE: u16 = 25;
/// Seconds after which a handshake without a successor means that the other host is not there (WireGuard paper, 6.2: Reject-After-Time).
const SILENT: u64 = 180;
/// Things in one message: an attribute holds at most 65,535 bytes, and an address takes at most 48.
const WEIGHT: usize = 400;

/// What the link is set to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tunnel {
    /// This host's public key.
    pub public: Key,
    /// UDP port that it listens on.
    pub port: u16,
    /// The other hosts, by their public keys.
    pub peers: BTreeMap<Key, Peer>,
}

/// Another host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// Where packets to it are sent. The kernel changes it to where its packets come from.
    pub endpoint: Option<SocketAddr>,
    /// Addresses behind it.
    pub allowed: BTreeSet<IpNet>,
    /// Seconds between packets that keep the way open; 0: none.
    pub keepalive: u16,
    /// Seconds since the last handshake; none: there was none.
    pub silent: Option<u64>,
}

/// What is to be done to the link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The secret key is another one: every peer is greeted with it at once.
    pub key: bool,
    /// It is to listen on this port.
    pub port: Option<u16>,
    /// Peers that go.
    pub remove: Vec<Key>,
    /// Peers that come or change. An endpoint that is none stays.
    pub set: BTreeMap<Key, Peer>,
    /// Peers to greet after a change of the key.
    pub greet: Vec<Key>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.key {
            parts.push("use this host's key".to_owned());
        }
        if let Some(port) = self.port {
            parts.push(format!("listen on port {port}"));
        }
        if !self.remove.is_empty() {
            parts.push(format!(
                "remove {} hosts that are gone or have another key",
                self.remove.len()
            ));
        }
        if !self.set.is_empty() {
            parts.push(format!(
                "set {} hosts that are new or have changed",
                self.set.len()
            ));
        }
        write!(f, "{WIREGUARD}: {}", parts.join(", "))
    }
}

/// What leads from `is` to `wanted`; `None`: nothing. `told` is where each peer was said to be when the link was last set.
///
/// A host that has roamed is left where its packets come from, unless it is said to be elsewhere now, or is not heard of any more.
#[must_use]
pub fn change(wanted: &Tunnel, is: &Tunnel, told: &BTreeMap<Key, SocketAddr>) -> Option<Change> {
    let mut change = Change {
        key: wanted.public != is.public,
        port: (wanted.port != is.port).then_some(wanted.port),
        remove: is
            .peers
            .keys()
            .filter(|key| !wanted.peers.contains_key(*key))
            .copied()
            .collect(),
        ..Change::default()
    };
    for (key, peer) in &wanted.peers {
        let mut set = peer.clone();
        if let Some(there) = is.peers.get(key) {
            let has_moved = told
                .get(key)
                .is_some_and(|told| Some(*told) != peer.endpoint);
            let is_silent = there.silent.is_none_or(|seconds| seconds > SILENT);
            if there.endpoint == peer.endpoint
                || !(has_moved || is_silent || there.endpoint.is_none())
            {
                set.endpoint = None;
            }
            let is_same = there.allowed == peer.allowed && there.keepalive == peer.keepalive;
            if is_same && set.endpoint.is_none() {
                if change.key {
                    change.greet.push(*key);
                }
                continue;
            }
        }
        change.set.insert(*key, set);
    }
    (change != Change::default()).then_some(change)
}

/// The messages that carry `change` out, in order.
#[must_use]
pub fn messages(change: &Change, secret: &Key) -> Vec<WireguardMessage> {
    let mut first = Vec::new();
    if change.key {
        first.push(WireguardAttribute::PrivateKey(*secret));
    }
    first.extend(change.port.map(WireguardAttribute::ListenPort));
    let mut messages = Vec::new();
    if !first.is_empty() {
        messages.push(message(first));
    }
    let gone = |key: &Key| {
        vec![
            public(key),
            WireguardPeerAttribute::Flags(WireguardPeerFlags::RemoveMe),
        ]
    };
    batch(&mut messages, change.remove.iter().map(gone).collect());
    let set = change.set.iter().flat_map(|(key, peer)| pieces(key, peer));
    batch(&mut messages, set.collect());
    // The kernel sends at once when keepalives begin.
    for seconds in [0, KEEPALIVE] {
        let keepalive = |key: &Key| {
            vec![
                public(key),
                WireguardPeerAttribute::PersistentKeepalive(seconds),
            ]
        };
        batch(&mut messages, change.greet.iter().map(keepalive).collect());
    }
    messages
}

fn message(mut attributes: Vec<WireguardAttribute>) -> WireguardMessage {
    attributes.insert(0, WireguardAttribute::IfName(WIREGUARD.into()));
    WireguardMessage {
        cmd: WireguardCmd::SetDevice,
        attributes,
    }
}

fn public(key: &Key) -> WireguardPeerAttribute {
    WireguardPeerAttribute::PublicKey(*key)
}

/// A peer in pieces that fit a message: the first one replaces its addresses, the others add to them.
fn pieces(key: &Key, peer: &Peer) -> Vec<Vec<WireguardPeerAttribute>> {
    let mut first = vec![
        public(key),
        WireguardPeerAttribute::Flags(WireguardPeerFlags::ReplaceAllowedIps),
    ];
    first.extend(peer.endpoint.map(WireguardPeerAttribute::Endpoint));
    first.push(WireguardPeerAttribute::PersistentKeepalive(peer.keepalive));
    let addresses: Vec<WireguardAllowedIp> = peer.allowed.iter().map(allowed).collect();
    let mut chunks = addresses.chunks(WEIGHT);
    first.push(WireguardPeerAttribute::AllowedIps(
        chunks.next().unwrap_or_default().to_vec(),
    ));
    let more = |chunk: &[WireguardAllowedIp]| {
        vec![
            public(key),
            WireguardPeerAttribute::AllowedIps(chunk.to_vec()),
        ]
    };
    let mut pieces = vec![first];
    pieces.extend(chunks.map(more));
    pieces
}

fn allowed(net: &IpNet) -> WireguardAllowedIp {
    let family = match net {
        IpNet::V4(_) => WireguardAddressFamily::Ipv4,
        IpNet::V6(_) => WireguardAddressFamily::Ipv6,
    };
    WireguardAllowedIp(vec![
        WireguardAllowedIpAttr::Family(family),
        WireguardAllowedIpAttr::IpAddr(net.network()),
        WireguardAllowedIpAttr::Cidr(net.prefix_len()),
    ])
}

fn batch(messages: &mut Vec<WireguardMessage>, pieces: Vec<Vec<WireguardPeerAttribute>>) {
    let weight = |piece: &Vec<WireguardPeerAttribute>| {
        let addresses = piece.iter().map(|attribute| match attribute {
            WireguardPeerAttribute::AllowedIps(all) => all.len(),
            _ => 0,
        });
        // Key, flags, endpoint and keepalive together are less than four addresses.
        4 + addresses.sum::<usize>()
    };
    let (mut peers, mut sum) = (Vec::new(), 0);
    for piece in pieces {
        if sum > 0 && sum + weight(&piece) > WEIGHT {
            messages.push(message(vec![WireguardAttribute::Peers(std::mem::take(
                &mut peers,
            ))]));
            sum = 0;
        }
        sum += weight(&piece);
        peers.push(WireguardPeer(piece));
    }
    if !peers.is_empty() {
        messages.push(message(vec![WireguardAttribute::Peers(peers)]));
    }
}

/// Takes in a message of the kernel's answer. A peer whose addresses did not fit goes on in the next one. `now`: seconds since 1970.
pub fn take(tunnel: &mut Tunnel, message: &WireguardMessage, now: u64) {
    for attribute in &message.attributes {
        match attribute {
            WireguardAttribute::PublicKey(key) => tunnel.public = *key,
            WireguardAttribute::ListenPort(port) => tunnel.port = *port,
            WireguardAttribute::Peers(peers) => {
                peers.iter().for_each(|peer| take_peer(tunnel, peer, now))
            }
            _ => {}
        }
    }
}

fn take_peer(tunnel: &mut Tunnel, attributes: &WireguardPeer, now: u64) {
    let Some(key) = attributes.iter().find_map(|attribute| match attribute {
        WireguardPeerAttribute::PublicKey(key) => Some(*key),
        _ => None,
    }) else {
        return;
    };
    let peer = tunnel.peers.entry(key).or_default();
    for attribute in attributes.iter() {
        match attribute {
            WireguardPeerAttribute::Endpoint(endpoint) => peer.endpoint = Some(*endpoint),
            WireguardPeerAttribute::PersistentKeepalive(seconds) => peer.keepalive = *seconds,
            WireguardPeerAttribute::LastHandshake(at) if at.seconds > 0 => {
                peer.silent = Some(now.saturating_sub(at.seconds.unsigned_abs()));
            }
            WireguardPeerAttribute::AllowedIps(all) => {
                peer.allowed.extend(all.iter().filter_map(net))
            }
            _ => {}
        }
    }
}

fn net(allowed: &WireguardAllowedIp) -> Option<IpNet> {
    let (mut address, mut prefix) = (None, None);
    for attribute in &allowed.0 {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(is) => address = Some(*is),
            WireguardAllowedIpAttr::Cidr(is) => prefix = Some(*is),
            _ => {}
        }
    }
    IpNet::new(address?, prefix?).ok()
}

#[cfg(test)]
mod tests;
