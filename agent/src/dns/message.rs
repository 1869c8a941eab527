//! Answers of other resolvers, passed on as they are: checked, measured (for how long they may be kept), and given to each client with its
//! own identity, case of letters and limit of bytes. Pure. What is not understood inside of a record stays untouched, so DNSSEC passes.

use std::time::Duration;

use super::query::{Query, Transport};
use super::reply::{OPT_LENGTH, push_opt};
use super::wire::{
    self, Damaged, Name, Rcode, Record, Records, Section, flag, kind, set_u16, u16_at, u32_at,
};

/// Longest that an answer is kept, whatever it says.
const LONGEST: u32 = 86_400;
/// The same for "there is nothing" (RFC 2308, 5).
const LONGEST_NOTHING: u32 = 3600;

/// An answer without OPT, which is only between two neighbours (RFC 6891, 6.1.1).
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    bytes: Box<[u8]>,
    /// Where its records begin.
    records: usize,
    /// Where the TTLs are.
    ttls: Box<[u16]>,
    /// Upper bits of the response code, from OPT.
    upper_rcode: u8,
    /// Seconds that it may be kept; 0: not at all.
    ttl: u32,
}

impl Message {
    /// Reads an answer.
    ///
    /// # Errors
    /// When it is no answer, or damaged.
    pub fn read(packet: &[u8]) -> Result<Self, Damaged> {
        let flags = u16_at(packet, 2).ok_or(Damaged)?;
        if flags & flag::RESPONSE == 0 || u16_at(packet, 4) != Some(1) {
            return Err(Damaged);
        }
        let (_, end) = Name::read(packet, wire::HEADER).ok_or(Damaged)?;
        let records = end + 4;
        let mut read = Self {
            bytes: Box::default(),
            records,
            ttls: Box::default(),
            upper_rcode: 0,
            ttl: 0,
        };
        let (mut ttls, mut age) = (Vec::new(), Age::default());
        let mut bytes = packet.to_vec();
        let mut additional = 0;
        for record in Records::new(packet, records) {
            let record = record?;
            if u16_at(packet, record.fixed) == Some(kind::OPT) {
                read.upper_rcode = packet.get(record.fixed + 4).copied().unwrap_or(0);
                // It is the last record, or what follows it only helps: cutting there keeps all pointers to names right.
                bytes.truncate(record.start);
                set_u16(&mut bytes, 10, additional);
                break;
            }
            additional += u16::from(record.section == Section::Additional);
            ttls.push(u16::try_from(record.fixed + 4).map_err(|_| Damaged)?);
            age.take(packet, record);
            bytes.truncate(bytes.len().max(record.end));
        }
        read.bytes = bytes.into();
        read.ttls = ttls.into();
        read.ttl = age.ttl(flags);
        if read.rcode() != Rcode::NoError as u16 && read.rcode() != Rcode::NxDomain as u16 {
            read.ttl = 0;
        }
        Ok(read)
    }

    /// Whether it answers `question`, sent with `id`. The case of letters is nobody's.
    #[must_use]
    pub fn answers(&self, id: u16, question: &[u8]) -> bool {
        let asked = self.bytes.get(wire::HEADER..self.records);
        u16_at(&self.bytes, 0) == Some(id)
            && asked.is_some_and(|asked| asked.eq_ignore_ascii_case(question))
    }

    /// Its response code with the bits from OPT.
    #[must_use]
    pub fn rcode(&self) -> u16 {
        u16::from(self.upper_rcode) << 4 | self.flags() & flag::RCODE
    }

    /// Whether something did not fit.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.flags() & flag::TRUNCATED != 0
    }

    /// For how long it may be kept. `None`: not at all.
    #[must_use]
    pub fn lifetime(&self) -> Option<Duration> {
        let is_whole = !self.is_truncated() && self.ttl > 0;
        is_whole.then(|| Duration::from_secs(self.ttl.into()))
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len() + 2 * self.ttls.len()
    }

    fn flags(&self) -> u16 {
        u16_at(&self.bytes, 2).unwrap_or(0)
    }

    /// Writes it for the client that asked `query`, `age` after it came.
    pub fn write(&self, out: &mut Vec<u8>, query: &Query<'_>, on: Transport, age: Duration) {
        out.clear();
        out.extend_from_slice(&self.bytes);
        let opt = if query.edns.is_some() { OPT_LENGTH } else { 0 };
        let limit = query.limit(on) - opt;
        let asked = flag::RECURSION_DESIRED;
        let mut flags = self.flags() & !asked | query.flags & asked | flag::RECURSION_AVAILABLE;
        if self.bytes.len() > limit {
            flags |= flag::TRUNCATED;
            self.cut(out, limit);
        }
        set_u16(out, 0, query.id);
        set_u16(out, 2, flags);
        if let Some(question) = out.get_mut(wire::HEADER..self.records) {
            question.copy_from_slice(query.question);
        }
        self.grow_older(out, age);
        if let Some(edns) = query.edns {
            push_opt(
                out,
                self.rcode(),
                if edns.wants_dnssec {
                    flag::DNSSEC_OK
                } else {
                    0
                },
            );
        }
    }

    /// Keeps the records that fit. Names point backwards only, so the beginning of a message is a message.
    fn cut(&self, out: &mut Vec<u8>, limit: usize) {
        let (mut counts, mut end) = ([0_u16; 3], self.records);
        for record in Records::new(&self.bytes, self.records).flatten() {
            if record.end > limit {
                break;
            }
            counts[record.section as usize] += 1;
            end = record.end;
        }
        out.truncate(end);
        for (place, count) in counts.into_iter().enumerate() {
            set_u16(out, 6 + 2 * place, count);
        }
    }

    fn grow_older(&self, out: &mut [u8], age: Duration) {
        let age = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        if age == 0 {
            return;
        }
        for at in self.ttls.iter().map(|at| usize::from(*at)) {
            if let (Some(ttl), Some(bytes)) = (u32_at(out, at), out.get_mut(at..at + 4)) {
                bytes.copy_from_slice(&ttl.saturating_sub(age).to_be_bytes());
            }
        }
    }
}

/// For how long a message may be kept, record by record.
#[derive(Debug, Default)]
struct Age {
    least: Option<u32>,
    is_answered: bool,
    nothing: Option<u32>,
}

impl Age {
    fn take(&mut self, packet: &[u8], record: Record) {
        let ttl = u32_at(packet, record.fixed + 4).unwrap_or(0);
        // A set upper bit means 0 (RFC 2181, 8).
        let ttl = if ttl > u32::MAX >> 1 { 0 } else { ttl };
        self.least = Some(self.least.map_or(ttl, |least| least.min(ttl)));
        self.is_answered |= record.section == Section::Answer;
        let is_head = u16_at(packet, record.fixed) == Some(kind::SOA);
        if is_head && record.section == Section::Authority && record.end - record.data >= 22 {
            let minimum = u32_at(packet, record.end - 4).unwrap_or(0);
            self.nothing = Some(minimum.min(ttl));
        }
    }

    fn ttl(&self, flags: u16) -> u32 {
        let is_nothing = !self.is_answered || flags & flag::RCODE != 0;
        let least = self.least.unwrap_or(0);
        if is_nothing {
            // Without the zone's head nobody says for how long (RFC 2308, 5).
            return self
                .nothing
                .map_or(0, |ttl| ttl.min(least).min(LONGEST_NOTHING));
        }
        least.min(LONGEST)
    }
}
