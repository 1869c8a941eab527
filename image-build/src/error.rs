//! Errors of the build. Each names the step or file and carries its cause; nothing here prints.

use std::io;
use std::path::{Path, PathBuf};

/// Result of every build step.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong while the image is built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A host program ended with an error.
    #[error("step {step}: `{command}` ended with {status}\n{tail}\n(full output: {})", log.display())]
    Command {
        /// The step that ran it.
        step: String,
        /// The command line.
        command: String,
        /// Exit status as text.
        status: String,
        /// Last lines of its output.
        tail: String,
        /// Where all of its output is.
        log: PathBuf,
    },
    /// A host program could not be started.
    #[error("step {step}: cannot start `{program}`; `make setup` installs what the build needs")]
    Spawn {
        /// The step that wanted it.
        step: String,
        /// Program name.
        program: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file operation.
    #[error("cannot {action} {}", path.display())]
    File {
        /// Verb: read, write, create …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A data file of this repository does not parse.
    #[error("{}: {problem}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Something the image needs was not found.
    #[error("{what}\n{advice}")]
    Missing {
        /// What was not found, one a line.
        what: String,
        /// What to do.
        advice: String,
    },
}

/// Turns an I/O error into [`Error::File`].
pub fn file<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |source| Error::File {
        action,
        path: path.to_path_buf(),
        source,
    }
}

/// Shorthand for [`Error::Data`].
pub fn data(path: &Path, problem: impl std::fmt::Display) -> Error {
    Error::Data {
        path: path.to_path_buf(),
        problem: problem.to_string(),
    }
}

/// Shorthand for [`Error::Missing`].
pub fn missing(what: impl Into<String>, advice: impl Into<String>) -> Error {
    Error::Missing {
        what: what.into(),
        advice: advice.into(),
    }
}
