//! How a host joins: with a token, which also says how the server is known.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use api::agent::{JoinAnswer, JoinRequest};
use api::host::HostFacts;
use api::problem::Reason;
use api::secret::{BadSecret, JoinToken};
use client::{Client, Trust};

use crate::disk;
use crate::identity::Identity;

/// The file of a key whose host may have joined, below the agent's folder.
const KEY: &str = "joining.json";

/// What a host says of itself when it joins.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// The name that it wishes.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Address at which the other hosts reach it.
    pub address: Option<IpAddr>,
    /// What it is.
    pub facts: HostFacts,
}

/// Why a host has not joined.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is in a cluster already.
    #[error("this host is in a cluster already, as {0}; `ros agent leave` takes it out")]
    Joined(String),
    /// Not of the form of a token.
    #[error(transparent)]
    Token(#[from] BadSecret),
    /// There is no randomness.
    #[error("cannot make a key")]
    Key(#[from] rcgen::Error),
    /// The server does not take it in.
    #[error(transparent)]
    Server(#[from] client::Error),
    /// The identity cannot be kept.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

/// Joins the cluster of the server, and keeps the identity in `folder`.
///
/// # Errors
/// Why not.
pub async fn join(
    folder: &Path,
    server: &str,
    token: &str,
    wishes: Wishes,
) -> Result<Identity, Error> {
    if let Some(known) = Identity::load(folder)? {
        return Err(Error::Joined(known.name));
    }
    let token = token.trim();
    let ca = token.parse::<JoinToken>()?.ca;
    let key = key(folder)?;
    let csr = rcgen::CertificateParams::new(Vec::new())?.serialize_request(&key)?;
    let request = JoinRequest {
        token: token.to_owned(),
        name: wishes.name,
        labels: wishes.labels,
        address: wishes.address,
        csr: csr.pem()?,
        facts: wishes.facts,
    };
    let stranger = Client::new(server, Trust::Hash(ca), client::Identity::None)?;
    let answer: Result<JoinAnswer, _> = stranger.post("/v1/join", &request).await;
    if matches!(&answer, Err(client::Error::Refused(problem)) if problem.reason != Reason::Unavailable)
    {
        // It has not joined: nothing is kept, also not a folder that was made for the key.
        forget(folder)?;
        std::fs::remove_dir(folder).ok();
    }
    let answer = answer?;
    let identity = Identity {
        host: answer.host,
        name: answer.name,
        project: answer.project,
        project_name: answer.project_name,
        servers: vec![server.to_owned()],
        ca: answer.ca,
        certificate: answer.certificate,
        key: key.serialize_pem(),
    };
    identity.save(folder)?;
    forget(folder)?;
    Ok(identity)
}

/// The key of this host to be. It is kept until the server has answered: when the answer is lost the host may have joined, and with the same
/// key it is the same host again.
fn key(folder: &Path) -> Result<rcgen::KeyPair, Error> {
    let path = folder.join(KEY);
    if let Some(pem) = disk::read::<String>(&path)? {
        return Ok(rcgen::KeyPair::from_pem(&pem)?);
    }
    let key = rcgen::KeyPair::generate()?;
    disk::write(&path, &key.serialize_pem())?;
    Ok(key)
}

/// Forgets the key of a joining that is over; it need not be there.
///
/// # Errors
/// When the file stays.
pub fn forget(folder: &Path) -> Result<(), disk::Error> {
    disk::remove(&folder.join(KEY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_kept_until_the_answer_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let first = key(folder.path()).unwrap().serialize_pem();
        assert_eq!(key(folder.path()).unwrap().serialize_pem(), first);
        forget(folder.path()).unwrap();
        assert_ne!(key(folder.path()).unwrap().serialize_pem(), first);
    }
}
