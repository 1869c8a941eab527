//! Waiting with a deadline. Owns the only sleep of this crate; every wait ends and says what it saw last.

use std::time::{Duration, Instant};

use crate::error::{HarnessError, Result};

/// The outcome of one look.
pub enum Look<T> {
    /// It is there.
    Seen(T),
    /// Not yet; the text describes the state seen.
    NotYet(String),
}

/// How often and how long to look.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until when, from the start of the wait.
    pub limit: Duration,
    /// Pause between two looks.
    pub pause: Duration,
}

impl Patience {
    /// Looks every 200 ms for so many seconds.
    pub const fn seconds(limit: u64) -> Self {
        Self {
            limit: Duration::from_secs(limit),
            pause: Duration::from_millis(200),
        }
    }

    /// The same limit with another pause.
    #[must_use]
    pub const fn every(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }
}

/// Looks again and again until `look` sees it.
///
/// # Errors
/// [`HarnessError::Timeout`] with the last state seen, or at once any error of `look` itself.
pub fn until<T>(
    what: &str,
    patience: Patience,
    mut look: impl FnMut() -> Result<Look<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        let last = match look()? {
            Look::Seen(found) => return Ok(found),
            Look::NotYet(last) => last,
        };
        if start.elapsed() >= patience.limit {
            return Err(HarnessError::Timeout {
                what: what.to_owned(),
                waited: start.elapsed(),
                last,
            });
        }
        std::thread::sleep(patience.pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_the_last_state_seen() {
        let mut looks = 0;
        let patience = Patience {
            limit: Duration::from_millis(20),
            pause: Duration::from_millis(5),
        };
        let error = until("the moon", patience, || {
            looks += 1;
            Ok::<_, HarnessError>(Look::<()>::NotYet(format!("look {looks}")))
        })
        .unwrap_err();
        let HarnessError::Timeout { what, last, .. } = error else {
            panic!("other variant: {error}")
        };
        assert_eq!((what.as_str(), last), ("the moon", format!("look {looks}")));
    }

    #[test]
    fn ends_at_the_first_sight() {
        let found = until("it", Patience::seconds(1), || Ok(Look::Seen(7))).unwrap();
        assert_eq!(found, 7);
    }
}
