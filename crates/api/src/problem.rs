//! Why a request was refused: RFC 9457 with an advice.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Kinds of refusals, which programs may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The request cannot be understood. 400
    BadRequest,
    /// A value is not allowed. 422
    Invalid,
    /// Who asks is not known. 401
    Unauthenticated,
    /// Who asks may not. 403
    Forbidden,
    /// There is no such object, or who asks may not know of it. 404
    NotFound,
    /// This cannot be done on this path. 405
    NotAllowed,
    /// The name is taken. 409
    Exists,
    /// It has changed since the given revision. 409
    Changed,
    /// It is used by something else. 409
    InUse,
    /// A watch asks for what is forgotten: list again. 410
    Gone,
    /// Too much. 413
    TooLarge,
    /// Not now: try again. 503
    Unavailable,
    /// A defect of the server. 500
    Internal,
}

impl Reason {
    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::NotAllowed => 405,
            Self::Exists | Self::Changed | Self::InUse => 409,
            Self::Gone => 410,
            Self::TooLarge => 413,
            Self::Invalid => 422,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
}

/// Body of every answer that is not a success, `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
pub struct Problem {
    /// The kind of refusal.
    pub reason: Reason,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, in one sentence.
    pub title: String,
    /// Path of the value that is wrong, such as `spec.subnet`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub advice: String,
}

impl Problem {
    /// A refusal.
    #[must_use]
    pub fn new(reason: Reason, title: impl Into<String>) -> Self {
        Self {
            reason,
            status: reason.status(),
            title: title.into(),
            field: String::new(),
            advice: String::new(),
        }
    }

    /// The same about a value.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    /// The same with what to do.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.title)?;
        if !self.advice.is_empty() {
            write!(f, "; {}", self.advice)?;
        }
        Ok(())
    }
}

/// An error with its causes, in one line for people: printed where nothing handles it any more.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut told: Vec<String> = causes.map(ToString::to_string).collect();
    // What wraps an error without a word of its own says what its cause says.
    told.dedup();
    told.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("the door is shut")]
        Named(#[source] std::io::Error),
        #[error(transparent)]
        Plain(#[from] Problem),
    }

    #[test]
    fn causes_are_told_once() {
        let named = Outer::Named(std::io::Error::other("no key"));
        assert_eq!(chain(&named), "the door is shut: no key");
        let plain = Outer::from(Problem::new(Reason::Gone, "it is gone").advise("look elsewhere"));
        assert_eq!(chain(&plain), "it is gone; look elsewhere");
    }
}
