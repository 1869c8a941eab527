//! Counts of what was done, for those who look at a host; and trouble, told seldom for each cause.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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

/// Trouble that is told when it comes, and at most every [`SILENCE`].
#[derive(Debug, Default)]
pub struct Trouble {
    is_there: AtomicBool,
    told: Mutex<Option<Instant>>,
}

/// Between two words of the same trouble, which may come and go with each query.
const SILENCE: Duration = Duration::from_secs(600);

impl Trouble {
    /// It is there.
    pub fn tell(&self, what: impl Display) {
        self.is_there.store(true, Ordering::Relaxed);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|then| then.elapsed() >= SILENCE) {
            *told = Some(Instant::now());
            eprintln!("dns: {what}");
        }
    }

    /// It is gone.
    pub fn over(&self) {
        self.is_there.store(false, Ordering::Relaxed);
    }

    /// Whether it is there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Relaxed)
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
