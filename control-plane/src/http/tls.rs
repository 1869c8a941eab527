//! TLS with an optional client certificate of the cluster's CA: how the server proves who it is, and how hosts do.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;

use crate::pki::{HostIdentity, Identity};

/// HTTP/2 by its name in ALPN (RFC 9113, 3.1).
pub const H2: &[u8] = b"h2";

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// The host whose certificate it has shown.
    pub host: Option<HostIdentity>,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate or key that rustls does not take.
    #[error("the server's certificate cannot be used")]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
}

fn unusable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Certificate(error.into())
}

/// The certificate as it is now: it is renewed while the server runs.
#[derive(Debug)]
struct Current(watch::Receiver<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.borrow().clone())
    }
}

/// What rustls needs of an identity, with the CA after it, so that a host that knows the CA's hash only can check it.
///
/// # Errors
/// When it is not one.
pub fn certified(identity: &Identity, ca: &str) -> Result<Arc<CertifiedKey>, Error> {
    let chain = [identity.certificate.as_str(), ca]
        .into_iter()
        .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unusable)?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(unusable)?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(unusable)?;
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// The server's side of TLS. Client certificates are asked for and must be of the CA when they are given.
///
/// # Errors
/// When the CA is not one.
pub fn config(
    ca: &str,
    certificate: watch::Receiver<Arc<CertifiedKey>>,
) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(ca.as_bytes()).map_err(unusable)?;
    roots.add(ca).map_err(unusable)?;
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(unusable)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        // Older versions show a client's certificate to whoever listens.
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(Current(certificate)));
    config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
    // Whoever comes back proves anew who it is, with a certificate that may be another one by now.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}
