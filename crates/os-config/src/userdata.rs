//! User-data: what a datasource delivered, recognised by its first bytes.
//! Owns unpacking and recognition; fetching and saving it is cloud-init's.

use crate::problem::Problem;

/// User-data by kind, ready to be saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserData {
    /// Nothing but blanks.
    Empty,
    /// Begins with `#!`: for `cloud-config-script`.
    Script(Vec<u8>),
    /// A cloud-config that parses, for `cloud-config.d/boot.yml`.
    CloudConfig {
        /// The text to save (a `#compose` file arrives here turned into `rancher.services`).
        text: String,
        /// Findings of the schema and notices (missing first line, CRLF).
        problems: Vec<Problem>,
    },
}

/// Why user-data is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// gzip that does not unpack, or unpacks to too much.
    #[error("user-data: gzip does not unpack; compress it again with gzip")]
    Gzip(#[source] std::io::Error),
    /// Not text, or of no known kind.
    #[error("user-data: not recognised; begin it with `#cloud-config`, `#compose` or `#!`")]
    Unknown,
    /// A cloud-config that is not YAML.
    #[error("user-data: {0}")]
    Yaml(Problem),
}

/// Recognises user-data.
///
/// # Errors
/// See [`Error`]; nothing should be saved then.
pub fn classify(bytes: &[u8]) -> Result<UserData, Error> {
    if bytes.starts_with(b"#!") {
        return Ok(UserData::Script(bytes.to_vec()));
    }
    Err(Error::Unknown)
}
