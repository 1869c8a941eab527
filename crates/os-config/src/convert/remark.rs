//! What is said of a key. Owns the kinds and what they ask of the user.

use crate::problem::{Position, Problem, Severity};
use serde::Serialize;

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Written otherwise, or taken out because nothing is lost: the machine does what it did.
    Changed,
    /// Carried over as it is, and it does something else here.
    Different,
    /// Nothing acts on it in this release.
    NoEffect,
    /// No key of this release; taken out.
    Unknown,
    /// A value that cannot be used; taken out.
    Refused,
}

/// One remark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// What became of the key.
    pub kind: Kind,
    /// True when the user has to do something before the machine does what it did.
    pub act: bool,
    /// Place, key, what and advice.
    #[serde(flatten)]
    pub problem: Problem,
}

impl Remark {
    /// A remark on `key` at `position`. Everything but [`Kind::Changed`] asks for something to be done.
    pub(super) fn new(kind: Kind, position: &Position, key: &str, what: impl Into<String>) -> Self {
        Self::of(kind, Problem::new(Severity::Notice, position, key, what))
    }

    /// The same of a problem.
    pub(super) fn of(kind: Kind, problem: Problem) -> Self {
        let mut remark = Self {
            kind,
            act: kind != Kind::Changed,
            problem,
        };
        remark.problem.severity = remark.severity();
        remark
    }

    /// The same with what to do, or to know.
    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.problem.advice = advice.into();
        self
    }

    /// The same with what it asks of the user.
    pub(super) fn needing(mut self, need: Need) -> Self {
        self.act = need == Need::Hands;
        self.problem.severity = self.severity();
        self
    }

    /// What is to be looked at stands out from what is to be known.
    fn severity(&self) -> Severity {
        match self.kind {
            _ if !self.act => Severity::Notice,
            Kind::Changed | Kind::Different | Kind::NoEffect => Severity::Warning,
            Kind::Unknown | Kind::Refused => Severity::Error,
        }
    }
}

/// What a remark asks of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// To know it.
    Nothing,
    /// To do something, or to decide.
    Hands,
}
