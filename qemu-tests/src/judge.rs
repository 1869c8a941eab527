//! Many verdicts from one boot: each check has a name, all of them run, and all failures are reported together.
//! Owns nothing of the machine; what the console said last is handed to it.

use std::fmt::Debug;
use std::io::Write;
use std::time::Instant;

use crate::error::{HarnessError, Result};

/// Collects the checks of one boot.
pub struct Judge {
    subject: String,
    passed: usize,
    failures: Vec<String>,
}

impl Judge {
    /// Starts judging the boot called `subject`.
    pub fn of(subject: &str) -> Self {
        Self {
            subject: subject.to_owned(),
            passed: 0,
            failures: Vec::new(),
        }
    }

    /// Runs one check and notes its outcome; returns whether it passed.
    pub fn check(&mut self, what: &str, check: impl FnOnce() -> Result<()>) -> bool {
        let start = Instant::now();
        let outcome = check();
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                self.passed += 1;
                say(&format!("  {}: ok: {what} ({seconds:.1} s)", self.subject));
                true
            }
            Err(error) => {
                let failure = format!("{what}: {}", error.chain());
                say(&format!(
                    "  {}: FAILED: {failure} ({seconds:.1} s)",
                    self.subject
                ));
                self.failures.push(failure);
                false
            }
        }
    }

    /// The verdict.
    ///
    /// # Errors
    /// [`HarnessError::Verdict`] with all failures, or when nothing was checked at all.
    pub fn verdict(self, console_tail: &str) -> Result<()> {
        if self.failures.is_empty() && self.passed > 0 {
            return Ok(());
        }
        eprintln!("{}: the console ends with\n{console_tail}", self.subject);
        let total = self.failures.len() + self.passed;
        let head = format!("{} of {total} checks failed", self.failures.len());
        Err(HarnessError::Verdict {
            detail: format!("{}: {head}: {}", self.subject, self.failures.join("; ")),
        })
    }
}

/// Writes a line to standard error even while the test runner captures what tests print: a skip and the progress of a slow
/// test must be seen when all is well, too.
pub fn say(line: &str) {
    // Nobody to tell when standard error is gone.
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Passes when `condition` holds; otherwise `detail` says what was seen instead.
///
/// # Errors
/// [`HarnessError::Verdict`] with that text.
pub fn ensure(condition: bool, detail: impl FnOnce() -> String) -> Result<()> {
    if condition {
        Ok(())
    } else {
        Err(HarnessError::Verdict { detail: detail() })
    }
}

/// Passes when both are equal.
///
/// # Errors
/// [`HarnessError::Verdict`] with both values.
pub fn equal<L: PartialEq<R> + Debug, R: Debug>(seen: L, expected: R) -> Result<()> {
    ensure(seen == expected, || {
        format!("expected {expected:?}, saw {seen:?}")
    })
}

/// Passes when `text` has `part` in it.
///
/// # Errors
/// [`HarnessError::Verdict`] with both.
pub fn contains(text: &str, part: &str) -> Result<()> {
    ensure(text.contains(part), || {
        format!("expected {part:?} in {text:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_fails_and_all_are_named() {
        let mut judge = Judge::of("t");
        assert!(judge.check("good", || equal(1, 1)));
        assert!(!judge.check("bad", || equal(1, 2)));
        assert!(!judge.check("worse", || contains("abc", "x")));
        let text = judge.verdict("").unwrap_err().to_string();
        assert!(
            text.contains("2 of 3") && text.contains("bad") && text.contains("worse"),
            "{text}"
        );
    }

    #[test]
    fn nothing_checked_is_no_pass() {
        assert!(Judge::of("t").verdict("").is_err());
    }
}
