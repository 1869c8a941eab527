//! What goes wrong between a person and a cluster: each message says what, where, and what to do.

use std::io;
use std::path::PathBuf;

use api::problem::Reason;

use super::args::Asked;
use crate::outcome::chain;

/// Result of what speaks to a cluster.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command has failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No cluster to speak to.
    #[error(
        "no cluster is known here; `ros context add NAME https://SERVER:6440 --key KEY --ca-hash HASH` adds one (the server prints this line at its first start)"
    )]
    NoContext,
    /// A context that there is not.
    #[error("there is no context `{name}`; {}", known_contexts(.known))]
    UnknownContext {
        /// The one that was asked for.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// Half of what is needed.
    #[error("{0} is not set, and no context says it: set it, or use a context")]
    Missing(&'static str),
    /// Neither argument nor variable.
    #[error(
        "no {} was given: write it {}: itself, @FILE for a file, or - for standard input; or set {}",
        .0.what, .0.place, .0.variable
    )]
    NoSecret(&'static Asked),
    /// A change without what is to change; the plural of what it is of.
    #[error("nothing to change was given; `ros {0} set --help` lists what can be")]
    NothingToChange(&'static str),
    /// A file of the user.
    #[error("cannot read {0}")]
    File(String, #[source] io::Error),
    /// A file that cannot be written.
    #[error("cannot write {0}")]
    Write(PathBuf, #[source] io::Error),
    /// A file of contexts that others can read or that is not one.
    #[error("{path} cannot be used: {why}")]
    Contexts {
        /// Which one.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// Not a hash.
    #[error(
        "`{0}` is not the hash of a CA: it is `sha256:` and 64 hexadecimal digits, as the server prints it at its first start"
    )]
    Hash(String),
    /// The server's CA is another one.
    #[error(
        "{0} shows a CA that has not the hash given: it is not the server that you mean, or somebody is between you and it; compare the hash with what `ros server` has printed"
    )]
    OtherCa(String),
    /// What the server or the way to it refuses, with an advice.
    #[error("{0}")]
    Remote(String),
    /// The server knows who asks, who may not.
    #[error("{0}")]
    Forbidden(String),
    /// Whoever read what is printed went away: no failure.
    #[error("nobody reads what is printed")]
    Closed,
    /// Something else, in words.
    #[error("{0}")]
    Other(String),
}

fn known_contexts(known: &[String]) -> String {
    if known.is_empty() {
        "there is none yet: `ros context add`".into()
    } else {
        format!("there are: {}", known.join(", "))
    }
}

impl From<client::Error> for Error {
    fn from(error: client::Error) -> Self {
        let said = chain(&error);
        let advice = match &error {
            client::Error::Refused(problem) if problem.reason == Reason::Forbidden => {
                return Self::Forbidden(problem.to_string());
            }
            client::Error::Refused(problem) => return Self::Remote(refused(problem)),
            client::Error::Unreachable { .. } => {
                "is the server running there (`systemctl status ros-server`; on RancherOS `ros service logs control-plane`), is this its address, and do firewalls let TCP through?"
            }
            client::Error::Untrusted { .. } => {
                "its certificate is not of the CA that is known here; when the cluster was made anew, `ros context remove` and `ros context add` with its new CA"
            }
            client::Error::Clock { .. } => "set it, best by NTP",
            client::Error::Expired { .. } => {
                "compare the clocks; when they agree, `ros agent leave --force` and join again"
            }
            client::Error::Broken { .. } | client::Error::Silent { .. } => "try again in a moment",
            client::Error::Certificate(_) => "give the CA's certificate as PEM",
            client::Error::Answer { .. } => {
                "is this a server of the same release as this program (`ros --version`)?"
            }
            client::Error::Address(_) => return Self::Remote(said),
        };
        Self::Remote(format!("{said}; {advice}"))
    }
}

/// A refusal; who is not known is told what that means on a command line.
fn refused(problem: &api::Problem) -> String {
    if problem.reason == Reason::Unauthenticated {
        return "the server does not know the key: it was removed, has expired, or its user is disabled; get another one (`ros keys create`) and `ros context add --replace` it".into();
    }
    problem.to_string()
}
