//! Counts of what was done, for those who look at a host; and trouble, told once for each cause.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Trouble that is told once, and again when it comes back after it was gone.
#[derive(Debug, Default)]
pub struct Trouble(AtomicBool);

impl Trouble {
    /// It is there.
    pub fn tell(&self, what: impl Display) {
        if !self.0.swap(true, Ordering::Relaxed) {
            eprintln!("dns: {what}");
        }
    }

    /// It is gone.
    pub fn over(&self) {
        if self.0.load(Ordering::Relaxed) {
            self.0.store(false, Ordering::Relaxed);
        }
    }

    /// Whether it is there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What was done since the start.
#[derive(Debug, Default)]
pub struct Stats {
    /// Queries answered from the project's names.
    pub own: Count,
    /// Queries answered from what other resolvers said before.
    pub cached: Count,
    /// Queries answered by asking another resolver.
    pub forwarded: Count,
    /// Queries that no other resolver has answered.
    pub failed: Count,
    /// Queries that were too many at once.
    pub overload: Count,
    /// Malformed ones, and those that ask for what is not done here.
    pub refused: Count,
    /// The host names no other resolver.
    pub nobody_to_ask: Trouble,
    /// No other resolver answers.
    pub nobody_answers: Trouble,
    /// A socket fails.
    pub socket: Trouble,
}
