//! The names of the project: an index that is never changed. The next one shares with it what stays the same, so that a change costs what it
//! changes. It owns what a name means; it knows nothing of packets. Keys are labels in lower case as on the wire, without the zone's own, so
//! that a bare name and a full one are the same entry.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use rpds::HashTrieMapSync;

use super::changes;
use super::claims::{Claim, Claims, Holder, Label, Rank};
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
/// That nobody else can take.
const SERVICE_CLAIMS: [Claim; 1] = [Claim {
    rank: Rank::Sound,
    address: SERVICE_ADDRESS,
}];

/// The names at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    serial: u32,
    /// By name below the zone: all claims, the best ones first.
    names: HashTrieMapSync<Label, Box<[Claim]>>,
    holders: HashTrieMapSync<Ipv4Addr, Holder>,
    subnets: Vec<Ipv4Net>,
}

impl Default for Zone {
    fn default() -> Self {
        Self {
            serial: 0,
            names: HashTrieMapSync::new_sync(),
            holders: HashTrieMapSync::new_sync(),
            subnets: Vec::new(),
        }
    }
}

/// What is known of a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// The zone itself.
    Apex,
    /// It has these addresses; none: only longer names exist. The zone begins there in the name.
    Addresses(&'a [Claim], usize),
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
        Self::default().next(&Catalog::default(), catalog)
    }

    /// The index of `new`, where this one is that of `old`.
    #[must_use]
    pub fn next(&self, old: &Catalog, new: &Catalog) -> Self {
        let mut zone = self.clone();
        // Serials are compared modulo 2^32 (RFC 1982): the lower bits are what is wanted.
        zone.serial = u32::try_from(new.revision & u64::from(u32::MAX)).unwrap_or(0);
        zone.subnets = new.networks.values().map(|n| n.spec.subnet).collect();
        let changes = changes::between(old, new);
        // First all that goes: an address may have another holder now.
        let before = changes.iter().filter_map(|(before, _)| *before);
        before
            .filter_map(|one| Claims::of(one, old))
            .for_each(|claims| zone.remove(&claims));
        let after = changes.iter().filter_map(|(_, after)| *after);
        after
            .filter_map(|one| Claims::of(one, new))
            .for_each(|claims| zone.add(claims));
        zone
    }

    fn add(&mut self, claims: Claims) {
        let address = claims.address;
        for (name, rank) in claims.names {
            let claim = Claim { rank, address };
            let known = self.names.get(&name).map_or(&[][..], |known| known);
            let at = known.partition_point(|one| *one < claim);
            let all = [&known[..at], &[claim], &known[at..]].concat();
            self.names.insert_mut(name, all.into());
        }
        if let Some(holder) = claims.holder {
            self.holders.insert_mut(address, holder);
        }
    }

    fn remove(&mut self, claims: &Claims) {
        let address = claims.address;
        for (name, rank) in &claims.names {
            let known = self.names.get(name).map_or(&[][..], |known| known);
            let claim = Claim {
                rank: *rank,
                address,
            };
            // The same container in two places of the list is taken out once for each time that it was put in.
            match known.binary_search(&claim) {
                Ok(_) if known.len() == 1 => drop(self.names.remove_mut(name)),
                Ok(at) => {
                    let rest = [&known[..at], &known[at + 1..]].concat();
                    self.names.insert_mut(name.clone(), rest.into());
                }
                Err(_) => {}
            }
        }
        if claims.holder.is_some() && self.holders.get(&address) == claims.holder.as_ref() {
            self.holders.remove_mut(&address);
        }
    }

    /// The addresses of a name: those of the best claims. `None`: it does not exist.
    fn named(&self, name: &[u8]) -> Option<&[Claim]> {
        if name == SERVICE {
            return Some(&SERVICE_CLAIMS);
        }
        let all = self.names.get(name)?;
        let best = all.first()?.rank;
        if best == Rank::Above {
            return Some(&[]);
        }
        Some(&all[..all.partition_point(|claim| claim.rank == best)])
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
            let addresses = self.named(&name.as_bytes()[..zone]);
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
        let known = own.or_else(|| self.named(bare));
        match known.filter(|all| (1..=2).contains(&labels) && !all.is_empty()) {
            Some(addresses) => Found::Addresses(addresses, 0),
            None => Found::Foreign,
        }
    }

    /// Whether a container has this address.
    #[must_use]
    pub fn is_held(&self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(address) if self.holders.contains_key(&address))
    }

    fn find_own(&self, bare: &[u8], client: IpAddr) -> Option<&[Claim]> {
        let IpAddr::V4(client) = client else {
            return None;
        };
        let project = self.holders.get(&client)?.project.as_ref()?;
        let mut name = [0; 2 * 64];
        let length = bare.len() + project.len();
        let target = name.get_mut(..length)?;
        target[..bare.len()].copy_from_slice(bare);
        target[bare.len()..].copy_from_slice(project);
        self.named(&name[..length])
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
