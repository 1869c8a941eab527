//! Whom to trust: the cluster's CA, known whole or by the hash that a join token carries. Public authorities count for nothing here.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};

/// How the server is known.
#[derive(Debug, Clone)]
pub enum Trust {
    /// By its CA's certificate, PEM.
    Ca(String),
    /// By SHA-256 of its CA's certificate, DER, which the server sends along.
    Hash([u8; 32]),
}

/// SHA-256 of a certificate, DER, from its PEM: what [`Trust::Hash`] compares.
#[must_use]
pub fn fingerprint(pem: &str) -> Option<[u8; 32]> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    Some(Sha256::digest(&certificate).into())
}

/// Who speaks.
#[derive(Clone)]
pub enum Identity {
    /// Nobody in particular.
    None,
    /// A user, by an API key.
    Key(String),
    /// A host, by its certificate.
    Certificate {
        /// The certificate, PEM.
        certificate: String,
        /// Its key, PEM.
        key: String,
    },
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The client's side of TLS.
pub fn config(trust: Trust, identity: Identity) -> Result<Arc<ClientConfig>, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Ca(pem) => {
            let ca = CertificateDer::from_pem_slice(pem.as_bytes())?;
            verifier(ca, &provider)?
        }
        Trust::Hash(hash) => Arc::new(ByHash {
            hash,
            provider: Arc::clone(&provider),
        }),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Identity::Certificate { certificate, key } => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes())?];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
            builder.with_client_auth_cert(chain, key)?
        }
        Identity::None | Identity::Key(_) => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn verifier(
    ca: CertificateDer<'_>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.into_owned())?;
    Ok(
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()?,
    )
}

/// Looks for the CA with the known hash among the certificates that the server sends, and trusts that one alone.
#[derive(Debug)]
struct ByHash {
    hash: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ByHash {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_known = |ca: &&CertificateDer<'_>| <[u8; 32]>::from(Sha256::digest(ca)) == self.hash;
        let ca = others
            .iter()
            .find(is_known)
            .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        verifier(ca.clone(), &self.provider)
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end, &[], name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
