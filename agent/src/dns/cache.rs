//! Answers of other resolvers that may be given again. Bounded in number and in bytes: two generations, of which the older is forgotten as
//! a whole when the younger is full; what is used moves to the younger. Pure: the caller says what time it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::Message;
use super::query::Query;
use super::wire::{LONGEST_NAME, flag};

/// Answers of one generation, so twice as many in all.
const MOST: usize = 2048;
/// Bytes of one generation.
const MOST_BYTES: usize = 2 << 20;
/// For how long an answer that has ended may help when nobody can be asked (RFC 8767, 4).
const STALE: Duration = Duration::from_secs(3600);

/// What answers differ by: name in lower case, type, and what the client said of recursion and DNSSEC.
#[derive(Clone, Copy)]
pub struct Key {
    bytes: [u8; LONGEST_NAME + 3],
    len: usize,
}

impl Key {
    /// The key of a query.
    #[must_use]
    pub fn new(query: &Query<'_>) -> Self {
        let name = query.name.as_bytes();
        let mut key = Self {
            bytes: [0; LONGEST_NAME + 3],
            len: name.len() + 3,
        };
        key.bytes[..name.len()].copy_from_slice(name);
        key.bytes[name.len()..name.len() + 2].copy_from_slice(&query.kind.to_be_bytes());
        let wants_dnssec = query.edns.is_some_and(|edns| edns.wants_dnssec);
        let has = |bit: u16| u8::from(query.flags & bit != 0);
        key.bytes[name.len() + 2] = u8::from(wants_dnssec)
            | has(flag::UNCHECKED) << 1
            | has(flag::RECURSION_DESIRED) << 2
            | has(flag::AUTHENTIC) << 3;
        key
    }

    /// As bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A kept answer.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The answer.
    pub message: Arc<Message>,
    /// When it came.
    pub came: Instant,
    until: Instant,
}

impl Kept {
    /// Whether it is what its owner would still say.
    #[must_use]
    pub fn is_fresh(&self, now: Instant) -> bool {
        now < self.until
    }
}

#[derive(Debug, Default)]
struct Generation {
    kept: HashMap<Box<[u8]>, Kept>,
    bytes: usize,
}

/// The answers.
#[derive(Debug, Default)]
pub struct Cache {
    young: Generation,
    old: Generation,
}

impl Cache {
    /// An answer, perhaps one that is no longer fresh.
    pub fn get(&mut self, key: &[u8], now: Instant) -> Option<Kept> {
        let found = match self.young.kept.get(key) {
            Some(kept) => kept.clone(),
            None => {
                let (key, kept) = self.old.kept.remove_entry(key)?;
                self.put(key, kept.clone());
                kept
            }
        };
        (now < found.until + STALE).then_some(found)
    }

    /// Keeps an answer, if it may be kept.
    pub fn keep(&mut self, key: &Key, message: &Arc<Message>, now: Instant) {
        let Some(lifetime) = message.lifetime() else {
            return;
        };
        let kept = Kept {
            message: Arc::clone(message),
            came: now,
            until: now + lifetime,
        };
        self.put(key.as_bytes().into(), kept);
    }

    fn put(&mut self, key: Box<[u8]>, kept: Kept) {
        let bytes = key.len() + kept.message.size();
        if self.young.kept.len() >= MOST || self.young.bytes + bytes > MOST_BYTES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.bytes += bytes;
        self.young.kept.insert(key, kept);
    }

    /// Forgets everything: other resolvers may say something else.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
