//! What is wrong with a service definition, named so that its author finds it.

use std::fmt;

/// How much harm a problem does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The service is left out.
    Skipped,
    /// The key or entry is left out, the service runs.
    Ignored,
}

/// One thing that is wrong with one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Name of the service.
    pub service: String,
    /// Path below the service, such as `ports[1]`; empty for the service itself.
    pub key: String,
    /// What is wrong and what to write instead.
    pub message: String,
    /// What becomes of it.
    pub severity: Severity,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem {
            service,
            key,
            message,
            severity,
        } = self;
        let dot = if key.is_empty() { "" } else { "." };
        match severity {
            Severity::Skipped => write!(
                f,
                "Failed loading service {service}: rancher.services.{service}{dot}{key}: {message}"
            ),
            Severity::Ignored => write!(f, "rancher.services.{service}{dot}{key}: {message}"),
        }
    }
}

/// A value that is not what its key wants. Gains the name of the service on the way up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub key: String,
    pub message: String,
}

impl Wrong {
    pub fn new(key: &str, message: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            message: message.into(),
        }
    }

    pub fn of(self, service: &str, severity: Severity) -> Problem {
        Problem {
            service: service.to_owned(),
            key: self.key,
            message: self.message,
            severity,
        }
    }
}
