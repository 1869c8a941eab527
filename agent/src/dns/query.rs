//! What a client asks: its packet checked once, and what must be said when it cannot be answered.

use super::wire::{self, Name, Rcode, Records, Section, flag, kind, u16_at, u32_at};

/// How a query came, which limits the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A packet.
    Udp,
    /// A stream.
    Tcp,
}

/// What the client says of EDNS (RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// Bytes that it takes over UDP.
    pub size: u16,
    /// Only 0 is known.
    pub version: u8,
    /// It wants DNSSEC's records.
    pub wants_dnssec: bool,
}

/// A query that can be answered.
#[derive(Debug)]
pub struct Query<'a> {
    /// Its identity, and its flags.
    pub id: u16,
    /// Bits of the header.
    pub flags: u16,
    /// The name asked for.
    pub name: Name,
    /// The type asked for.
    pub kind: u16,
    /// The class asked for.
    pub class: u16,
    /// Name, type and class as they were sent.
    pub question: &'a [u8],
    /// EDNS, when the client speaks it.
    pub edns: Option<Edns>,
}

/// What cannot be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Not a query at all: silence, or two servers would answer each other for ever.
    Ignore,
    /// The client is told.
    Reply(Rcode),
}

impl<'a> Query<'a> {
    /// Reads a packet.
    ///
    /// # Errors
    /// What to do with one that is not a proper query.
    pub fn read(packet: &'a [u8]) -> Result<Self, Unfit> {
        let header = |at| u16_at(packet, at).ok_or(Unfit::Ignore);
        let (id, flags, questions) = (header(0)?, header(2)?, header(4)?);
        if packet.len() < wire::HEADER || flags & flag::RESPONSE != 0 {
            return Err(Unfit::Ignore);
        }
        if flags & flag::OPCODE != 0 {
            return Err(Unfit::Reply(Rcode::NotImp));
        }
        let malformed = Unfit::Reply(Rcode::FormErr);
        if questions != 1 {
            return Err(malformed);
        }
        let (name, end) = Name::read(packet, wire::HEADER).ok_or(malformed)?;
        let (asked, class) = (u16_at(packet, end), u16_at(packet, end + 2));
        let (Some(asked), Some(class)) = (asked, class) else {
            return Err(malformed);
        };
        let edns = read_edns(packet, end + 4)?;
        if asked == kind::OPT {
            return Err(malformed);
        }
        Ok(Self {
            id,
            flags,
            name,
            kind: asked,
            class,
            question: packet.get(wire::HEADER..end + 4).ok_or(malformed)?,
            edns,
        })
    }

    /// Bytes that the answer may have.
    #[must_use]
    pub fn limit(&self, transport: Transport) -> usize {
        match (transport, self.edns) {
            (Transport::Tcp, _) => wire::LARGEST,
            (Transport::Udp, None) => wire::PLAIN_UDP,
            (Transport::Udp, Some(edns)) => {
                usize::from(edns.size.min(wire::EDNS_UDP)).max(wire::PLAIN_UDP)
            }
        }
    }
}

/// The OPT record among what follows the question. The other records mean nothing in a query.
fn read_edns(packet: &[u8], end: usize) -> Result<Option<Edns>, Unfit> {
    let malformed = Unfit::Reply(Rcode::FormErr);
    let mut edns = None;
    for record in Records::new(packet, end) {
        let record = record.map_err(|_| malformed)?;
        if u16_at(packet, record.fixed) != Some(kind::OPT) {
            continue;
        }
        let is_root = record.fixed == record.start + 1;
        if record.section != Section::Additional || !is_root || edns.is_some() {
            return Err(malformed);
        }
        let size = u16_at(packet, record.fixed + 2).ok_or(malformed)?;
        let bits = u32_at(packet, record.fixed + 4).ok_or(malformed)?;
        let [_, version, high, low] = bits.to_be_bytes();
        edns = Some(Edns {
            size,
            version,
            wants_dnssec: u16::from_be_bytes([high, low]) & flag::DNSSEC_OK != 0,
        });
    }
    Ok(edns)
}
