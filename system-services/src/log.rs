//! Log lines of our programs, on standard error: `[            ] netconf:info: text`, the form that RancherOS 1.x showed on its console.
//!
//! Owns the form. Where standard error goes (container log, kernel console) is the business of who starts the program.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How serious a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Info,
    Warning,
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Lines of this process that said that something failed.
static ERRORS: AtomicUsize = AtomicUsize::new(0);

/// How many lines of this process have said that something failed: for commands that log what they cannot do and go on.
#[must_use]
pub fn errors() -> usize {
    ERRORS.load(Ordering::Relaxed)
}

/// A program that logs under its own name.
#[derive(Debug, Clone, Copy)]
pub struct Log(&'static str);

impl Log {
    /// The log of `program`.
    #[must_use]
    pub const fn of(program: &'static str) -> Self {
        Self(program)
    }

    /// What happened.
    pub fn info(self, text: impl fmt::Display) {
        self.line(Level::Info, &text);
    }

    /// What may not be as meant.
    pub fn warn(self, text: impl fmt::Display) {
        self.line(Level::Warning, &text);
    }

    /// What failed.
    pub fn error(self, text: impl fmt::Display) {
        self.line(Level::Error, &text);
    }

    /// What failed, with its causes on the same line.
    pub fn failure(self, error: &(dyn std::error::Error + 'static)) {
        self.line(Level::Error, &Chain(error));
    }

    fn line(self, level: Level, text: &dyn fmt::Display) {
        if level == Level::Error {
            ERRORS.fetch_add(1, Ordering::Relaxed);
        }
        let line = format!("[            ] {}:{level}: {text}\n", self.0);
        // In one piece, which the kernel's log takes as one record. A machine may have no working console: that stops nothing.
        std::io::stderr().write_all(line.as_bytes()).ok();
    }
}

/// An error followed by its causes, separated by colons.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(inner) = cause {
            write!(formatter, ": {inner}")?;
            cause = inner.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot do it")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_chain_names_every_cause_once() {
        let error = Outer(std::io::Error::other("no room"));
        assert_eq!(Chain(&error).to_string(), "cannot do it: no room");
    }
}
