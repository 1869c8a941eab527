//! What can go wrong while a virtual machine is prepared, run or judged.
//! Owns the one error type of this crate; it prints nothing itself.

use std::path::PathBuf;
use std::time::Duration;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, HarnessError>;

/// One variant an operation; the cause is the `source`.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// A file or socket could not be read, written or made.
    #[error("{what} ({path})")]
    File {
        /// The operation, for example `write user data`.
        what: &'static str,
        /// The file or socket.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A program of the host could not be started at all.
    #[error("start {program}: install it, or see `make deps`")]
    Start {
        /// Its name as looked up in PATH.
        program: String,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A program of the host ran and failed.
    #[error("{program} failed ({status}): {stderr}")]
    Tool {
        /// The program with its arguments.
        program: String,
        /// Exit status in words.
        status: String,
        /// What it said, shortened to its end.
        stderr: String,
    },
    /// A wait ended without what it waited for.
    #[error("waited {waited:?} for {what}; last seen: {last}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
        /// The last state seen.
        last: String,
    },
    /// QEMU ended although the machine should still be running.
    #[error("the virtual machine ended while waiting for {what}: {status}")]
    Ended {
        /// What was waited for.
        what: String,
        /// QEMU's exit status and its last words.
        status: String,
    },
    /// The guest kernel died in a way that QEMU's emulation is known to cause (shared facts: stale flags after cmpxchg16b, and
    /// jump-label patching under multi-threaded TCG).
    #[error("the emulator crashed the guest: {line}")]
    EmulatorCrash {
        /// The console line that gave it away.
        line: String,
    },
    /// The guest kernel panicked for a reason of its own.
    #[error("the guest kernel panicked: {line}")]
    Panic {
        /// The console line.
        line: String,
    },
    /// The machine monitor refused a command or spoke nonsense.
    #[error("QEMU monitor, {command}: {answer}")]
    Monitor {
        /// The command sent.
        command: String,
        /// The answer.
        answer: String,
    },
    /// A command inside the guest failed.
    #[error("in the guest, `{command}` failed ({status}): {output}")]
    Guest {
        /// The command.
        command: String,
        /// Exit status in words.
        status: String,
        /// Both output streams.
        output: String,
    },
    /// Data from the guest or from a file did not have the expected form.
    #[error("{what} is not in the expected form: {detail}")]
    Form {
        /// The data.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The guest works, but not as it should.
    #[error("{detail}")]
    Verdict {
        /// What was expected and what was seen.
        detail: String,
    },
    /// Something that must be there before a test or bench can run is missing.
    #[error("{what} is missing: {remedy}")]
    Missing {
        /// The thing.
        what: String,
        /// What to do next.
        remedy: String,
    },
}

impl HarnessError {
    /// A shorthand for `map_err` on input and output.
    pub fn file(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }

    /// True when another attempt with the same machine is fair: the emulator failed, not the image.
    pub fn is_emulator_fault(&self) -> bool {
        matches!(self, Self::EmulatorCrash { .. })
    }

    /// The whole chain of causes in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
