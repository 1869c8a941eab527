//! Bounds what is held at once, in all and for each address, so that no container keeps the others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts what is held: connections, requests that wait, bytes.
#[derive(Debug)]
pub struct Gate {
    all: usize,
    each: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    by: HashMap<IpAddr, usize>,
}

/// What is held, until dropped.
#[derive(Debug)]
pub struct Place {
    gate: Arc<Gate>,
    of: IpAddr,
    size: usize,
}

impl Gate {
    /// For so much in all, and so much of each address.
    #[must_use]
    pub fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self {
            all,
            each,
            held: Mutex::default(),
        })
    }

    /// A place for an address; `None`: there is none left.
    #[must_use]
    pub fn enter(self: &Arc<Self>, of: IpAddr) -> Option<Place> {
        self.take(of, 1)
    }

    /// `size` for an address; `None`: that is more than is left. What is larger than a share is let in where nothing else of the address is.
    #[must_use]
    pub fn take(self: &Arc<Self>, of: IpAddr, size: usize) -> Option<Place> {
        let mut held = self.held();
        let own = held.by.get(&of).copied().unwrap_or(0);
        let fits =
            |before: usize, limit: usize| before == 0 || before.saturating_add(size) <= limit;
        if !fits(held.all, self.all) || !fits(own, self.each) {
            return None;
        }
        held.all = held.all.saturating_add(size);
        held.by.insert(of, own.saturating_add(size));
        Some(Place {
            gate: Arc::clone(self),
            of,
            size,
        })
    }

    /// Nothing may fail while it is locked: a panic elsewhere leaves it usable.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.gate.held();
        held.all = held.all.saturating_sub(self.size);
        match held.by.get_mut(&self.of) {
            Some(own) if *own > self.size => *own -= self.size,
            _ => drop(held.by.remove(&self.of)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all() {
        let gate = Gate::new(3, 2);
        let (one, other) = (IpAddr::from([10, 42, 0, 1]), IpAddr::from([10, 42, 0, 2]));
        let held = [gate.enter(one).unwrap(), gate.enter(one).unwrap()];
        assert!(gate.enter(one).is_none());
        let third = gate.enter(other).unwrap();
        assert!(gate.enter(other).is_none());
        drop(third);
        assert!(gate.enter(other).is_some());
        drop(held);
        assert!(gate.held().by.is_empty());
        assert_eq!(gate.held().all, 0);
    }

    #[test]
    fn what_is_large_comes_alone() {
        let gate = Gate::new(100, 50);
        let (one, other) = (IpAddr::from([10, 42, 0, 1]), IpAddr::from([10, 42, 0, 2]));
        let large = gate.take(one, 80).unwrap();
        assert!(gate.take(one, 1).is_none());
        assert!(gate.take(other, 21).is_none());
        let small = gate.take(other, 20).unwrap();
        drop(large);
        assert!(gate.take(other, 31).is_none());
        assert!(gate.take(one, 50).is_some());
        drop(small);
        assert!(gate.take(other, usize::MAX).is_some());
    }
}
