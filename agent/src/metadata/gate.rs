//! Lets in so many at once, and so many of each address, so that no container keeps the others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts who is in.
#[derive(Debug)]
pub struct Gate {
    all: usize,
    each: usize,
    inside: Mutex<HashMap<IpAddr, usize>>,
}

/// A place inside, until dropped.
#[derive(Debug)]
pub struct Place {
    gate: Arc<Gate>,
    of: IpAddr,
}

impl Gate {
    /// For so many in all, and so many of each address.
    #[must_use]
    pub fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self {
            all,
            each,
            inside: Mutex::default(),
        })
    }

    /// A place for an address; `None`: there is none left.
    #[must_use]
    pub fn enter(self: &Arc<Self>, of: IpAddr) -> Option<Place> {
        let mut inside = self.inside();
        let (all, own) = (
            inside.values().sum::<usize>(),
            inside.get(&of).copied().unwrap_or(0),
        );
        if all >= self.all || own >= self.each {
            return None;
        }
        inside.insert(of, own + 1);
        Some(Place {
            gate: Arc::clone(self),
            of,
        })
    }

    /// Counts are whole after each statement: a panic elsewhere leaves them usable.
    fn inside(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.gate.inside();
        match inside.get_mut(&self.of) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(inside.remove(&self.of)),
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
        assert!(gate.inside().is_empty());
    }
}
