//! When leases end. After a start of the server every lease lasts for its whole time again: nobody could keep it meanwhile.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::store::LeaseId;

/// The leases that live.
#[derive(Debug, Clone, Default)]
pub struct Leases(HashMap<LeaseId, Lease>);

#[derive(Debug, Clone)]
struct Lease {
    ttl: Duration,
    until: Instant,
}

impl Leases {
    /// Those of the file, with their times in seconds.
    pub fn of(stored: Vec<(LeaseId, u32)>, now: Instant) -> Self {
        let mut leases = Self::default();
        for (lease, ttl) in stored {
            leases.add(lease, ttl, now);
        }
        leases
    }

    pub fn add(&mut self, lease: LeaseId, ttl: u32, now: Instant) {
        let ttl = Duration::from_secs(ttl.into());
        let until = now + ttl;
        self.0.insert(lease, Lease { ttl, until });
    }

    pub fn remove(&mut self, lease: LeaseId) {
        self.0.remove(&lease);
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn lives(&self, lease: LeaseId) -> bool {
        self.0.contains_key(&lease)
    }

    /// False: there is no such lease (any more).
    pub fn keep(&mut self, lease: LeaseId, now: Instant) -> bool {
        let Some(lease) = self.0.get_mut(&lease) else {
            return false;
        };
        lease.until = now + lease.ttl;
        true
    }

    pub fn ended(&self, now: Instant) -> Vec<LeaseId> {
        let mut ended: Vec<LeaseId> = self
            .0
            .iter()
            .filter(|(_, lease)| lease.until <= now)
            .map(|(id, _)| *id)
            .collect();
        ended.sort_unstable();
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_lasts_as_long_as_it_is_kept() {
        let (start, lease) = (Instant::now(), LeaseId(7));
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut leases = Leases::of(vec![(lease, 10)], start);
        assert_eq!(leases.ended(at(9)), []);
        assert!(leases.keep(lease, at(9)));
        assert_eq!(leases.ended(at(18)), []);
        assert_eq!(leases.ended(at(19)), [lease]);
        leases.remove(lease);
        assert!(!leases.keep(lease, at(19)) && !leases.lives(lease));
    }
}
