//! How a host joins: with a token, which also says how the server is known.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use api::agent::{JoinAnswer, JoinRequest};
use api::host::HostFacts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use client::{Client, Trust};

use crate::disk;
use crate::identity::Identity;

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
    #[error("this is not a join token: one begins with `rosjoin.`; was it cut off?")]
    Token,
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

/// SHA-256 of the CA's certificate, from a token: `rosjoin.<id>.<secret>.<hash>`.
fn ca_hash(token: &str) -> Option<[u8; 32]> {
    let mut parts = token.split('.');
    (parts.next()? == "rosjoin").then_some(())?;
    let hash = parts.nth(2)?;
    let is_end = parts.next().is_none();
    let hash = URL_SAFE_NO_PAD.decode(hash).ok()?.try_into().ok();
    hash.filter(|_| is_end)
}

/// Joins the cluster of the server, and keeps the identity in `folder`.
///
/// # Errors
/// Why not; nothing is kept then.
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
    let hash = ca_hash(token).ok_or(Error::Token)?;
    let key = rcgen::KeyPair::generate()?;
    let csr = rcgen::CertificateParams::new(Vec::new())?.serialize_request(&key)?;
    let request = JoinRequest {
        token: token.to_owned(),
        name: wishes.name,
        labels: wishes.labels,
        address: wishes.address,
        csr: csr.pem()?,
        facts: wishes.facts,
    };
    let stranger = Client::new(server, Trust::Hash(hash), client::Identity::None)?;
    let answer: JoinAnswer = stranger.post("/v1/join", &request).await?;
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
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::ca_hash;

    #[test]
    fn the_hash_is_the_last_part() {
        let hash = "A".repeat(43);
        assert_eq!(
            ca_hash(&format!("rosjoin.t-aaaaaaaaaaaa.AAAA.{hash}")),
            Some([0; 32])
        );
        for wrong in [
            "",
            "rosjoin",
            "rosjoin.a.b",
            "rosjoin.a.b.AA",
            "roskey.a.b.AA",
        ] {
            assert_eq!(ca_hash(wrong), None, "{wrong}");
        }
        assert_eq!(ca_hash(&format!("rosjoin.t.A.{hash}.x")), None);
    }
}
