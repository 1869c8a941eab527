//! What is wrong with a configuration: one value per finding, with its place, and its text for people.
//! Owns the wording's frame; the findings come from `yaml`, `schema`, `cmdline` and `store`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Taken as meant; nothing is lost.
    Notice,
    /// Taken, but probably not as meant.
    Warning,
    /// A value (or a whole file that is not YAML) is not used.
    Error,
}

/// A place in a file, or on the kernel command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// File path, or `kernel command line`.
    pub file: Arc<str>,
    /// From 1; 0: not known.
    pub line: u32,
    /// From 1, in characters; 0: not known.
    pub column: u32,
}

impl Position {
    /// A place in `file`.
    #[must_use]
    pub fn new(file: &Arc<str>, line: u32, column: u32) -> Self {
        Self {
            file: Arc::clone(file),
            line,
            column,
        }
    }

    /// The whole of `file`.
    #[must_use]
    pub fn whole(file: &str) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// File path, or `kernel command line`.
    pub file: String,
    /// From 1; 0: not known.
    #[serde(default)]
    pub line: u32,
    /// From 1; 0: not known.
    #[serde(default)]
    pub column: u32,
    /// Dotted path of the key; empty: the file as a whole.
    #[serde(default)]
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do; may be empty.
    #[serde(default)]
    pub advice: String,
}

impl Problem {
    /// A finding at `position` about `key`.
    #[must_use]
    pub fn new(
        severity: Severity,
        position: &Position,
        key: &str,
        what: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            file: position.file.to_string(),
            line: position.line,
            column: position.column,
            key: key.to_owned(),
            what: what.into(),
            advice: String::new(),
        }
    }

    /// The same with what to do.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }
}

/// `FILE:LINE:COLUMN: KEY: WHAT; ADVICE`, the parts that are known.
impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(formatter, "{}:", self.file)?;
            if self.line > 0 {
                write!(formatter, "{}:{}:", self.line, self.column)?;
            }
            formatter.write_str(" ")?;
        }
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        formatter.write_str(&self.what)?;
        if !self.advice.is_empty() {
            write!(formatter, "; {}", self.advice)?;
        }
        Ok(())
    }
}
