//! How boot and supervision can end, and why a phase did not work.

use std::error::Error;

pub use kernel::power::Stop;

/// What the tail does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Stop the machine.
    Stop(Stop),
    /// Offer a shell, because of this.
    Recovery(String),
}

/// Why a phase ended early.
#[derive(Debug)]
pub enum Halted {
    /// It failed.
    Failed(Box<dyn Error + Send + Sync>),
    /// The user asked for the recovery console.
    RecoveryAsked,
}

impl<E: Error + Send + Sync + 'static> From<E> for Halted {
    fn from(error: E) -> Self {
        Self::Failed(Box::new(error))
    }
}

/// An error with its causes, on one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
