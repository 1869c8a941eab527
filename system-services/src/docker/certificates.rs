//! Certificates for the user's Docker and those who talk to it: a CA of this machine's own, and what it signs. Pure.
//! Source: "Protect the Docker daemon socket" of Docker's documentation.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

/// As long as those of RancherOS 1.x.
const LIFETIME: Duration = Duration::from_secs(1080 * 24 * 3600);
/// The CA must outlive what it signs.
const CA_LIFETIME: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// Clocks may be behind by so much.
const SKEW: Duration = Duration::from_secs(24 * 3600);
const ORGANISATION: &str = "rancher";

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that cannot stand in a certificate.
    #[error("`{0}` is not a host name or an address")]
    Name(String),
    /// What the configuration holds is not usable.
    #[error(
        "rancher.docker.ca_cert and ca_key cannot be used; a key of another form becomes usable with `openssl pkcs8 -topk8 -nocrypt`, \
         and with both set to null a new CA is made, which old certificates do not fit"
    )]
    Ca(#[source] rcgen::Error),
    /// One of the two is missing.
    #[error("rancher.docker has only one of ca_cert and ca_key; set both, or none for a new CA")]
    HalfACa,
    /// It cannot be made.
    #[error("no certificate can be made")]
    Make(#[source] rcgen::Error),
}

/// A certificate and its key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The key, PKCS #8. Secret.
    pub key: String,
}

/// What a certificate is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A daemon's.
    Server,
    /// That of whoever talks to it.
    Client,
}

/// A CA that signs.
pub struct Authority {
    pair: Pair,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn fresh() -> Result<Self, Error> {
        let key = KeyPair::generate().map_err(Error::Make)?;
        let mut params = params("RancherOS Docker CA")?;
        params.not_after = (SystemTime::now() + CA_LIFETIME).into();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(Error::Make)?;
        Self::new(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// From the two texts of the configuration; `None`: it has neither.
    ///
    /// # Errors
    /// When there is only one, or they are not a CA.
    pub fn configured(certificate: &str, key: &str) -> Result<Option<Self>, Error> {
        match (certificate.is_empty(), key.is_empty()) {
            (true, true) => Ok(None),
            (false, false) => Self::new(Pair {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            })
            .map(Some),
            _ => Err(Error::HalfACa),
        }
    }

    fn new(pair: Pair) -> Result<Self, Error> {
        let key = KeyPair::from_pem(&pair.key).map_err(Error::Ca)?;
        let issuer = Issuer::from_ca_cert_pem(&pair.certificate, key).map_err(Error::Ca)?;
        Ok(Self { pair, issuer })
    }

    /// Its own certificate and key.
    #[must_use]
    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    /// A new key with a certificate for `hosts`, names and addresses.
    ///
    /// # Errors
    /// When one of them is neither.
    pub fn issue(&self, purpose: Purpose, hosts: &[String]) -> Result<Pair, Error> {
        let key = KeyPair::generate().map_err(Error::Make)?;
        let mut params = params(match purpose {
            Purpose::Server => "docker daemon",
            Purpose::Client => "docker client",
        })?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match purpose {
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        params.subject_alt_names = hosts
            .iter()
            .map(|host| alternative(host))
            .collect::<Result<_, _>>()?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(Error::Make)?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn alternative(host: &str) -> Result<SanType, Error> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let is_label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_*".contains(&byte);
        (1..=63).contains(&label.len()) && label.bytes().all(fits)
    };
    let refused = || Error::Name(host.to_owned());
    if host.len() > 253 || !host.split('.').all(is_label) {
        return Err(refused());
    }
    host.try_into().map(SanType::DnsName).map_err(|_| refused())
}

fn params(name: &str) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(Vec::new()).map_err(Error::Make)?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, ORGANISATION);
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + LIFETIME).into();
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    /// What OpenSSL says of a certificate of `authority`.
    fn verify(folder: &Path, authority: &Authority, pair: &Pair, args: &[&str]) -> String {
        let (ca, certificate) = (folder.join("ca.pem"), folder.join("cert.pem"));
        std::fs::write(&ca, &authority.pair.certificate).unwrap();
        std::fs::write(&certificate, &pair.certificate).unwrap();
        let output = Command::new("openssl")
            .args(["verify", "-x509_strict", "-CAfile"])
            .arg(&ca)
            .args(args)
            .arg(&certificate)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    }

    #[test]
    fn openssl_takes_what_the_ca_signs_for_its_purpose_and_names_only() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::fresh().unwrap();
        let hosts = ["box", "10.0.0.7", "[fd00::7]"].map(str::to_owned);
        let server = authority.issue(Purpose::Server, &hosts).unwrap();
        for good in [
            ["-purpose", "sslserver", "-verify_ip", "10.0.0.7"],
            ["-purpose", "sslserver", "-verify_ip", "fd00::7"],
            ["-purpose", "sslserver", "-verify_hostname", "box"],
        ] {
            let said = verify(folder.path(), &authority, &server, &good);
            assert!(said.contains(": OK"), "{good:?}: {said}");
        }
        for bad in [
            ["-purpose", "sslserver", "-verify_ip", "10.0.0.8"],
            ["-purpose", "sslclient", "-verify_hostname", "box"],
        ] {
            let said = verify(folder.path(), &authority, &server, &bad);
            assert!(!said.contains(": OK"), "{bad:?}: {said}");
        }
        let client = authority.issue(Purpose::Client, &[]).unwrap();
        let said = verify(
            folder.path(),
            &authority,
            &client,
            &["-purpose", "sslclient"],
        );
        assert!(said.contains(": OK"), "{said}");
        let other = Authority::fresh().unwrap();
        let said = verify(folder.path(), &other, &client, &["-purpose", "sslclient"]);
        assert!(!said.contains(": OK"), "{said}");
    }

    #[test]
    fn a_configured_ca_goes_on_signing() {
        let folder = tempfile::tempdir().unwrap();
        let old = Authority::fresh().unwrap();
        let again = Authority::configured(&old.pair.certificate, &old.pair.key);
        let client = again.unwrap().unwrap().issue(Purpose::Client, &[]).unwrap();
        let said = verify(folder.path(), &old, &client, &["-purpose", "sslclient"]);
        assert!(said.contains(": OK"), "{said}");
        assert!(Authority::configured("", "").unwrap().is_none());
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let ca = Authority::fresh().unwrap();
        let half = Authority::configured(&ca.pair.certificate, "");
        assert!(matches!(half, Err(Error::HalfACa)));
        let nonsense = Authority::configured("no certificate", "no key");
        assert!(matches!(nonsense, Err(Error::Ca(_))));
        for bad in ["", "a b", "a..b", "http://box", "bäx", &"x".repeat(64)] {
            let refused = ca.issue(Purpose::Server, &[bad.to_owned()]);
            assert!(matches!(refused, Err(Error::Name(_))), "{bad}");
        }
    }
}
