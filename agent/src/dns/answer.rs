//! What is said to a packet, as far as this host knows it by itself: pure but for the shuffling of addresses.

use std::net::{IpAddr, Ipv4Addr};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use super::query::{Query, Transport};
use super::reply::{self, Reply};
use super::wire::{self, Rcode, kind};
use super::zone::{APEX, Found, SERVICE, Zone};

/// Seconds that an answer may be kept: a container may be gone a moment later.
const TTL: u32 = 1;

/// What became of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The answer is written.
    Reply,
    /// It is written that this is not done here.
    Refusal,
    /// Somebody else must be asked.
    Foreign,
}

/// Answers one packet after the other; keeps what need not be made anew for each.
#[derive(Debug)]
pub struct Answerer {
    chance: SmallRng,
    shuffled: Vec<Ipv4Addr>,
}

impl Answerer {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            chance: rand::make_rng(),
            shuffled: Vec::new(),
        }
    }

    /// Answers `query`, into `out`.
    pub fn answer(
        &mut self,
        zone: &Zone,
        query: &Query<'_>,
        (client, transport): (IpAddr, Transport),
        out: &mut Vec<u8>,
    ) -> Outcome {
        if let Some(rcode) = refused(query) {
            reply::decline(out, query, rcode);
            return Outcome::Refusal;
        }
        let found = zone.find(&query.name, client);
        if found == Found::Foreign {
            return Outcome::Foreign;
        }
        if query.kind == kind::ANY {
            reply::decline(out, query, Rcode::NotImp);
            return Outcome::Refusal;
        }
        let mut reply = Reply::begin(out, query, transport);
        self.fill(&mut reply, zone, (found, query.kind));
        reply.end();
        Outcome::Reply
    }

    fn fill(&mut self, reply: &mut Reply<'_>, zone: &Zone, (found, asked): (Found<'_>, u16)) {
        match (found, asked) {
            (Found::Addresses([one], _), kind::A) => reply.addresses(&[one.address], TTL),
            (Found::Addresses(all, _), kind::A) if !all.is_empty() => {
                self.shuffled.clear();
                self.shuffled.extend(all.iter().map(|one| one.address));
                // They are in order: the same address twice is of two containers that cannot both have it.
                self.shuffled.dedup();
                self.shuffled.shuffle(&mut self.chance);
                reply.addresses(&self.shuffled, TTL);
            }
            (Found::Pointer(Some(name), _), kind::PTR) => {
                reply.answer(kind::PTR, TTL, &[name, APEX, &[0]].concat());
            }
            (Found::Apex, kind::SOA) => reply.answer(kind::SOA, TTL, &head(zone)),
            (Found::Apex, kind::NS) => reply.answer(kind::NS, TTL, &[SERVICE, APEX, &[0]].concat()),
            (Found::Apex, _) => reply.nothing(0, TTL, &head(zone)),
            (Found::Addresses(_, begin) | Found::Pointer(_, begin), _) => {
                reply.nothing(begin, TTL, &head(zone));
            }
            (Found::Unknown(begin), _) => {
                reply.rcode(Rcode::NxDomain);
                reply.nothing(begin, TTL, &head(zone));
            }
            (Found::Foreign, _) => {}
        }
    }
}

impl Default for Answerer {
    fn default() -> Self {
        Self::new()
    }
}

/// What is not answered whatever the name is.
fn refused(query: &Query<'_>) -> Option<Rcode> {
    if query.edns.is_some_and(|edns| edns.version != 0) {
        return Some(Rcode::BadVers);
    }
    if query.class != kind::IN {
        return Some(Rcode::Refused);
    }
    // Transfers of zones, keys for transactions: nobody asks that of a resolver.
    (query.kind != kind::ANY && kind::META.contains(&query.kind)).then_some(Rcode::NotImp)
}

/// Data of the zone's SOA record (RFC 1035, 3.3.13).
fn head(zone: &Zone) -> Vec<u8> {
    let mut data = [SERVICE, APEX, b"\0\x0ahostmaster", APEX, b"\0"].concat();
    // Refresh, retry and expiry are for secondary servers, of which there are none. The last is for how long nothing stays nothing.
    for number in [zone.serial(), 60, 30, 3600, TTL] {
        data.extend_from_slice(&number.to_be_bytes());
    }
    debug_assert!(data.len() < wire::PLAIN_UDP);
    data
}
