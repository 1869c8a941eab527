//! The cluster's own certificate authority. One CA a cluster; its key lies in the store, which only servers can read. Certificates are
//! short-lived, so that nothing must be revoked by list: who is removed is refused by name.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::Id;
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const DAY: Duration = Duration::from_secs(86_400);
/// Lifetime of the CA.
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);
/// From when on the CA is valid, and before when no clock is right: 2026-01-01. A cluster is often made by a machine that has just started
/// and does not know the time yet; its CA must outlast that.
const EARLIEST: u64 = 1_767_225_600;
/// Lifetime of all other certificates. Servers renew theirs after a third of it, hosts when two thirds have passed.
const LIFETIME: Duration = Duration::from_secs(30 * 86_400);
/// Clocks differ.
const SKEW: Duration = DAY;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is not one, or its signature is wrong.
    #[error("the certificate request is not valid")]
    Request(#[source] rcgen::Error),
    /// It cannot be made.
    #[error("cannot make a certificate")]
    Make(#[source] rcgen::Error),
    /// What the store holds is not a CA.
    #[error("the cluster's CA cannot be read")]
    Ca(#[source] rcgen::Error),
}

/// The CA as it is kept, PEM.
#[derive(Clone, Serialize, Deserialize)]
pub struct CaPem {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// A certificate with its key, PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Who a host's certificate stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostIdentity {
    /// The host: the common name.
    pub host: Id,
    /// Its project: the organisation.
    pub project: Id,
}

impl HostIdentity {
    /// From a certificate whose signature was checked.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let subject = certificate.subject();
        let host = subject.iter_common_name().next()?.as_str().ok()?;
        let project = subject.iter_organization().next()?.as_str().ok()?;
        Some(Self {
            host: host.parse().ok()?,
            project: project.parse().ok()?,
        })
    }
}

/// The certificate authority.
pub struct Authority {
    pem: String,
    hash: [u8; 32],
    issuer: Issuer<'static, KeyPair>,
}

impl CaPem {
    /// A new CA.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn fresh(now: Timestamp) -> Result<Self, Error> {
        let key = KeyPair::generate().map_err(Error::Make)?;
        let mut params = params("RancherOS cluster CA", now, CA_LIFETIME)?;
        let earliest = UNIX_EPOCH + Duration::from_secs(EARLIEST);
        params.not_before = earliest.into();
        params.not_after = (SystemTime::from(now).max(earliest) + CA_LIFETIME).into();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(Error::Make)?;
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl Authority {
    /// From what the store holds.
    ///
    /// # Errors
    /// When that is not a CA.
    pub fn new(pem: &CaPem) -> Result<Self, Error> {
        let key = KeyPair::from_pem(&pem.key).map_err(Error::Ca)?;
        let der = der(&pem.certificate).ok_or(Error::Ca(rcgen::Error::CouldNotParseCertificate))?;
        Ok(Self {
            hash: Sha256::digest(&der).into(),
            issuer: Issuer::from_ca_cert_pem(&pem.certificate, key).map_err(Error::Ca)?,
            pem: pem.certificate.clone(),
        })
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.pem
    }

    /// SHA-256 of its certificate, DER: what join tokens carry.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// A certificate for a server under these names.
    ///
    /// # Errors
    /// When a name is none.
    pub fn server(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        now: Timestamp,
    ) -> Result<Identity, Error> {
        let key = KeyPair::generate().map_err(Error::Make)?;
        let mut params = params("ros server", now, LIFETIME)?;
        // What agents and the command line check, whatever name they reach the server by: nothing else has a certificate like it.
        let own = api::SERVER_NAME.try_into().map_err(Error::Make)?;
        params.subject_alt_names.push(SanType::DnsName(own));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            let name = name.as_str().try_into().map_err(Error::Make)?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let addresses = addresses.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses);
        let certificate = params.signed_by(&key, &self.issuer).map_err(Error::Make)?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// A certificate for a host, for the key of its request. Nothing else of the request counts.
    ///
    /// # Errors
    /// When the request is not valid.
    pub fn host(
        &self,
        project: &Id,
        host: &Id,
        csr: &str,
        now: Timestamp,
    ) -> Result<String, Error> {
        let request = CertificateSigningRequestParams::from_pem(csr).map_err(Error::Request)?;
        let mut params = params(host.as_str(), now, LIFETIME)?;
        let organisation = DnType::OrganizationName;
        params
            .distinguished_name
            .push(organisation, project.as_str());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params
            .signed_by(&request.public_key, &self.issuer)
            .map_err(Error::Make)?;
        Ok(certificate.pem())
    }
}

/// SHA-256 of the key that a request asks a certificate for.
///
/// # Errors
/// When the request is not valid.
pub fn key_of(csr: &str) -> Result<[u8; 32], Error> {
    let request = CertificateSigningRequestParams::from_pem(csr).map_err(Error::Request)?;
    Ok(Sha256::digest(request.public_key.subject_public_key_info()).into())
}

fn params(name: &str, now: Timestamp, lifetime: Duration) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(Vec::new()).map_err(Error::Make)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let now = SystemTime::from(now);
    params.not_before = (now - SKEW).into();
    params.not_after = (now + lifetime).into();
    Ok(params)
}

/// The first certificate of a PEM text.
#[must_use]
pub fn der(pem: &str) -> Option<Vec<u8>> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    Some(certificate.to_vec())
}
