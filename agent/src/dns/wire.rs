//! The wire format of DNS (RFC 1035, 4), as far as this server needs it: numbers, names, and a walk over records. It reads what strangers
//! send: every access is checked, nothing recurses, compression pointers are stepped over and never followed.

/// Bytes of a header.
pub const HEADER: usize = 12;
/// Longest name, without its last empty label (RFC 1035, 2.3.4).
pub const LONGEST_NAME: usize = 254;
/// Largest message over TCP, whose length is 16 bits.
pub const LARGEST: usize = 65_535;
/// What every client takes over UDP (RFC 1035, 2.3.4).
pub const PLAIN_UDP: usize = 512;
/// What we take over UDP, and send at most: it passes every link unfragmented (DNS flag day 2020).
pub const EDNS_UDP: u16 = 1232;
/// Points at the question's name, which is always at the same place.
pub const QUESTION_NAME: u16 = 0xC00C;

/// Types of records (RFC 1035, 3.2.2 and later ones).
pub mod kind {
    /// An IPv4 address.
    pub const A: u16 = 1;
    /// A server of the zone.
    pub const NS: u16 = 2;
    /// The zone's head.
    pub const SOA: u16 = 6;
    /// A name behind an address.
    pub const PTR: u16 = 12;
    /// EDNS (RFC 6891).
    pub const OPT: u16 = 41;
    /// Everything of a name.
    pub const ANY: u16 = 255;
    /// Requests and transfers of zones begin here (RFC 6895, 3.1), `ANY` is the last of them.
    pub const META: std::ops::RangeInclusive<u16> = 249..=255;
    /// The Internet: a class, not a type.
    pub const IN: u16 = 1;
}

/// Response codes (RFC 1035, 4.1.1; RFC 6891, 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rcode {
    /// No error.
    NoError = 0,
    /// The query cannot be understood.
    FormErr = 1,
    /// Nobody could be asked.
    ServFail = 2,
    /// The name does not exist.
    NxDomain = 3,
    /// Not done here.
    NotImp = 4,
    /// Not done for you.
    Refused = 5,
    /// A version of EDNS that is not known here. Only its upper bits differ from `NoError`, they are told in OPT.
    BadVers = 16,
}

/// Bits of the header's second word.
pub mod flag {
    /// A response.
    pub const RESPONSE: u16 = 0x8000;
    /// Bits of the operation.
    pub const OPCODE: u16 = 0x7800;
    /// The server has authority.
    pub const AUTHORITATIVE: u16 = 0x0400;
    /// Something did not fit.
    pub const TRUNCATED: u16 = 0x0200;
    /// Recursion is wished.
    pub const RECURSION_DESIRED: u16 = 0x0100;
    /// Recursion is offered.
    pub const RECURSION_AVAILABLE: u16 = 0x0080;
    /// DNSSEC: the data is authentic.
    pub const AUTHENTIC: u16 = 0x0020;
    /// DNSSEC: checking is not wished.
    pub const UNCHECKED: u16 = 0x0010;
    /// Bits of the response code.
    pub const RCODE: u16 = 0x000F;
    /// In the lower word of OPT's TTL: DNSSEC records are wished.
    pub const DNSSEC_OK: u16 = 0x8000;
}

/// Two bytes at `at`.
#[must_use]
pub fn u16_at(packet: &[u8], at: usize) -> Option<u16> {
    let bytes = packet.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// Four bytes at `at`.
#[must_use]
pub fn u32_at(packet: &[u8], at: usize) -> Option<u32> {
    let bytes = packet.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Overwrites two bytes at `at`; nothing when they are not there.
pub fn set_u16(packet: &mut [u8], at: usize, value: u16) {
    if let Some(bytes) = packet.get_mut(at..at + 2) {
        bytes.copy_from_slice(&value.to_be_bytes());
    }
}

/// A name: labels with their lengths, in lower case, without the last empty one. Compared as bytes.
#[derive(Clone)]
pub struct Name {
    bytes: [u8; LONGEST_NAME],
    len: usize,
}

impl Name {
    /// Reads the name at `at`, where nothing may be compressed, and tells where it ends. `None`: it is not one.
    #[must_use]
    pub fn read(packet: &[u8], at: usize) -> Option<(Self, usize)> {
        let mut name = Self {
            bytes: [0; LONGEST_NAME],
            len: 0,
        };
        let mut at = at;
        loop {
            let length = *packet.get(at)?;
            if length == 0 {
                return Some((name, at + 1));
            }
            if length > 63 {
                return None;
            }
            let label = packet.get(at..=at + usize::from(length))?;
            name.push(label)?;
            at += label.len();
        }
    }

    /// Takes one label with its length.
    fn push(&mut self, label: &[u8]) -> Option<()> {
        let target = self.bytes.get_mut(self.len..self.len + label.len())?;
        target.copy_from_slice(label);
        // A length is at most 63 and no capital letter is below 65: it stays as it is.
        target.make_ascii_lowercase();
        self.len += label.len();
        Some(())
    }

    /// Its labels with their lengths.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Where `suffix` begins in it, when it ends with these labels.
    #[must_use]
    pub fn ends_with(&self, suffix: &[u8]) -> Option<usize> {
        let begin = self.len.checked_sub(suffix.len())?;
        // The bytes may also occur within a label.
        let is_border = begin == self.len || self.starts().any(|start| start == begin);
        (is_border && &self.as_bytes()[begin..] == suffix).then_some(begin)
    }

    /// Where each label begins.
    pub fn starts(&self) -> impl Iterator<Item = usize> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = at;
            at += usize::from(*self.as_bytes().get(start)?) + 1;
            Some(start)
        })
    }

    /// Each label without its length, the first one first.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> + '_ {
        self.starts().map(|start| {
            let length = usize::from(self.bytes[start]);
            &self.bytes[start + 1..=start + length]
        })
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.labels()
            .try_for_each(|label| write!(f, "{}.", label.escape_ascii()))
    }
}

/// Part of a message that a record is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// The answer.
    Answer = 0,
    /// Who has authority.
    Authority = 1,
    /// What else may help.
    Additional = 2,
}

const SECTIONS: [Section; 3] = [Section::Answer, Section::Authority, Section::Additional];

/// Where a record of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The section.
    pub section: Section,
    /// Its first byte.
    pub start: usize,
    /// Its type; class, TTL and length of its data follow.
    pub fixed: usize,
    /// First byte of its data.
    pub data: usize,
    /// The byte after it.
    pub end: usize,
}

/// A message that ends too early, or has something else than names where names must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is damaged")]
pub struct Damaged;

/// Walks over the records of a message, from the end of its question on.
#[derive(Debug)]
pub struct Records<'a> {
    packet: &'a [u8],
    at: usize,
    section: usize,
    left: u16,
}

impl<'a> Records<'a> {
    /// From `at` on, which is the end of the question.
    #[must_use]
    pub fn new(packet: &'a [u8], at: usize) -> Self {
        Self {
            packet,
            at,
            section: 0,
            left: u16_at(packet, 6).unwrap_or(0),
        }
    }

    fn read(&mut self) -> Option<Record> {
        let fixed = skip_name(self.packet, self.at)?;
        let data = fixed + 10;
        let length = usize::from(u16_at(self.packet, fixed + 8)?);
        let end = data + length;
        if end > self.packet.len() {
            return None;
        }
        let record = Record {
            section: SECTIONS[self.section],
            start: self.at,
            fixed,
            data,
            end,
        };
        self.at = end;
        Some(record)
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.left == 0 {
            if self.section == 2 {
                return None;
            }
            self.section += 1;
            self.left = u16_at(self.packet, 6 + 2 * self.section).unwrap_or(0);
        }
        self.left -= 1;
        let read = self.read();
        if read.is_none() {
            (self.left, self.section) = (0, 2);
        }
        Some(read.ok_or(Damaged))
    }
}

/// The end of the name at `at`, which may be compressed.
fn skip_name(packet: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    loop {
        match *packet.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += usize::from(length) + 1,
            0xC0..=0xFF => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_with_labels_only() {
        let (name, end) = Name::read(b"\x03WeB\x07Rancher\x08internal\0", 0).unwrap();
        assert_eq!(end, 22);
        assert_eq!(format!("{name:?}"), "web.rancher.internal.");
        assert_eq!(name.ends_with(b"\x07rancher\x08internal"), Some(4));
        assert_eq!(name.ends_with(b"\x08rancher\x08internal"), None);
        // The same bytes inside of one label are no suffix.
        let (name, _) = Name::read(b"\x14web\x07rancher\x08internal\0", 0).unwrap();
        assert_eq!(name.ends_with(b"\x07rancher\x08internal"), None);
        assert_eq!(name.ends_with(b""), Some(21));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert!(Name::read(b"\xC0\x0C", 0).is_none());
        assert!(Name::read(b"\x40", 0).is_none());
        assert!(Name::read(b"\x05ab", 0).is_none());
        assert!(Name::read(b"", 7).is_none());
        let long = [
            &b"\x3faaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".repeat(4)[..],
            b"\0",
        ]
        .concat();
        assert!(Name::read(&long, 0).is_none());
    }
}
