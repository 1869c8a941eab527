//! Writes answers of our own: header, the question as it was asked (with the case of its letters), records, OPT. Pure.

use std::net::Ipv4Addr;

use super::query::{Query, Transport};
use super::wire::{self, Rcode, flag, kind, u16_at};

/// Bytes of an OPT record without options.
pub const OPT_LENGTH: usize = 11;
/// Bytes of an A record whose name is a pointer.
const A_LENGTH: usize = 16;

/// Where in the header each count of records is.
const ANSWERS: usize = 6;
const AUTHORITIES: usize = 8;
const ADDITIONALS: usize = 10;

/// An answer in the making.
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    query: &'a Query<'a>,
    /// Bytes that records may reach to.
    room: usize,
    rcode: Rcode,
}

impl<'a> Reply<'a> {
    /// Begins one in `out`, with authority.
    pub fn begin(out: &'a mut Vec<u8>, query: &'a Query<'a>, transport: Transport) -> Self {
        out.clear();
        let kept = query.flags & (flag::RECURSION_DESIRED | flag::UNCHECKED);
        let flags = flag::RESPONSE | flag::AUTHORITATIVE | flag::RECURSION_AVAILABLE | kept;
        for word in [query.id, flags, 1, 0, 0, 0] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(query.question);
        let opt = if query.edns.is_some() { OPT_LENGTH } else { 0 };
        let room = query.limit(transport) - opt;
        Self {
            out,
            query,
            room,
            rcode: Rcode::NoError,
        }
    }

    /// Says `rcode`.
    pub fn rcode(&mut self, rcode: Rcode) {
        self.rcode = rcode;
    }

    /// Takes authority back: the answer is not from a zone of ours.
    pub fn without_authority(&mut self) {
        self.change_flags(|flags| flags & !flag::AUTHORITATIVE);
    }

    /// Answers with addresses; with as many as fit, and a word that there are more.
    pub fn addresses(&mut self, addresses: &[Ipv4Addr], ttl: u32) {
        let fit = self.room.saturating_sub(self.out.len()) / A_LENGTH;
        for address in addresses.iter().take(fit) {
            self.record(wire::QUESTION_NAME, kind::A, ttl, &address.octets());
        }
        let count = u16::try_from(addresses.len().min(fit)).unwrap_or(u16::MAX);
        wire::set_u16(self.out, ANSWERS, count);
        if fit < addresses.len() {
            self.change_flags(|flags| flags | flag::TRUNCATED);
        }
    }

    /// Answers with one record of the question's name.
    pub fn answer(&mut self, kind: u16, ttl: u32, data: &[u8]) {
        self.record(wire::QUESTION_NAME, kind, ttl, data);
        wire::set_u16(self.out, ANSWERS, 1);
    }

    /// Says for how long nothing is there (RFC 2308): the zone's head. The zone's name begins `zone` bytes into the question's.
    pub fn nothing(&mut self, zone: usize, ttl: u32, soa: &[u8]) {
        let offset = u16::try_from(zone).unwrap_or(0);
        let pointer = wire::QUESTION_NAME + offset;
        self.record(pointer, kind::SOA, ttl, soa);
        wire::set_u16(self.out, AUTHORITIES, 1);
    }

    fn record(&mut self, owner: u16, kind: u16, ttl: u32, data: &[u8]) {
        let length = u16::try_from(data.len()).unwrap_or(0);
        self.out.extend_from_slice(&owner.to_be_bytes());
        self.out.extend_from_slice(&kind.to_be_bytes());
        self.out.extend_from_slice(&kind::IN.to_be_bytes());
        self.out.extend_from_slice(&ttl.to_be_bytes());
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(data);
    }

    fn change_flags(&mut self, change: impl FnOnce(u16) -> u16) {
        let flags = u16_at(self.out, 2).unwrap_or(0);
        wire::set_u16(self.out, 2, change(flags));
    }

    /// Ends it: response code, OPT.
    pub fn end(mut self) {
        let code = self.rcode as u16;
        self.change_flags(|flags| flags | code & flag::RCODE);
        if let Some(edns) = self.query.edns {
            let dnssec = if edns.wants_dnssec {
                flag::DNSSEC_OK
            } else {
                0
            };
            push_opt(self.out, code, dnssec);
        }
    }
}

/// Appends OPT and counts it.
pub fn push_opt(out: &mut Vec<u8>, code: u16, dnssec: u16) {
    out.push(0);
    out.extend_from_slice(&kind::OPT.to_be_bytes());
    out.extend_from_slice(&wire::EDNS_UDP.to_be_bytes());
    let upper = u8::try_from(code >> 4).unwrap_or(0);
    out.extend_from_slice(&[upper, 0]);
    out.extend_from_slice(&dnssec.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    let count = u16_at(out, ADDITIONALS).unwrap_or(0);
    wire::set_u16(out, ADDITIONALS, count.saturating_add(1));
}

/// Whether an answer says that there is more than it has.
pub fn is_cut(answer: &[u8]) -> bool {
    u16_at(answer, 2).is_some_and(|flags| flags & flag::TRUNCATED != 0)
}

/// Takes that word back: what fits is all that is said.
pub fn end_there(answer: &mut [u8]) {
    let flags = u16_at(answer, 2).unwrap_or(0);
    wire::set_u16(answer, 2, flags & !flag::TRUNCATED);
}

/// What is said to a packet that could not be read as a query: its header, and nothing else.
pub fn refuse(out: &mut Vec<u8>, packet: &[u8], rcode: Rcode) {
    out.clear();
    let word = |at| u16_at(packet, at).unwrap_or(0);
    let kept = word(2) & (flag::OPCODE | flag::RECURSION_DESIRED | flag::UNCHECKED);
    let flags = flag::RESPONSE | kept | rcode as u16 & flag::RCODE;
    for word in [word(0), flags, 0, 0, 0, 0] {
        out.extend_from_slice(&word.to_be_bytes());
    }
}

/// What is said to a query without an answer: its question, and why.
pub fn decline(out: &mut Vec<u8>, query: &Query<'_>, rcode: Rcode) {
    let mut reply = Reply::begin(out, query, Transport::Udp);
    reply.without_authority();
    reply.rcode(rcode);
    reply.end();
}
