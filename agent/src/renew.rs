//! A new certificate well before the old one ends, for a new key.

use std::sync::Arc;
use std::time::Duration;

use api::agent::{RenewAnswer, RenewRequest};
use client::Client;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::disk;
use crate::identity::Identity;
use crate::session::Session;

/// How often it is looked whether it is time.
const PERIOD: Duration = Duration::from_secs(3600);

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no randomness.
    #[error("cannot make a key")]
    Key(#[from] rcgen::Error),
    /// The server refuses.
    #[error(transparent)]
    Server(#[from] client::Error),
    /// It cannot be kept.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

/// Renews in time, for ever. What fails is tried again at the next look: a third of the certificate's life is left for that.
pub async fn run(session: &Session, mut server: watch::Receiver<Option<Arc<Client>>>) {
    loop {
        let connected = server.borrow_and_update().clone();
        if let Some(server) = connected
            && is_due(&session.identity().certificate, Timestamp::now())
            && let Err(error) = renew(session, &server).await
        {
            eprintln!("agent: the certificate is not renewed yet: {error}");
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            changed = server.changed() => if changed.is_err() { return },
        }
    }
}

/// Whether two thirds of the certificate's life are over. One that cannot be read is due.
fn is_due(certificate: &str, now: Timestamp) -> bool {
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()) else {
        return true;
    };
    let Ok(certificate) = pem.parse_x509() else {
        return true;
    };
    let validity = certificate.validity();
    let (from, to) = (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    );
    now.as_second() >= from + (to - from) / 3 * 2
}

async fn renew(session: &Session, server: &Client) -> Result<(), Error> {
    let key = rcgen::KeyPair::generate()?;
    let csr = rcgen::CertificateParams::new(Vec::new())?.serialize_request(&key)?;
    let request = RenewRequest { csr: csr.pem()? };
    let answer: RenewAnswer = server.post("/v1/agent/renew", &request).await?;
    // The servers that were learned while this one was asked stay.
    session.change_identity(|known| Identity {
        certificate: answer.certificate,
        ca: answer.ca,
        key: key.serialize_pem(),
        ..known
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_after_two_thirds() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 31);
        let pem = params.self_signed(&key).unwrap().pem();
        let day = |day: i64| Timestamp::from_second(1_767_225_600 + (day - 1) * 86_400).unwrap();
        assert!(!is_due(&pem, day(20)));
        assert!(is_due(&pem, day(21)));
        assert!(is_due(&pem, day(400)));
        assert!(is_due("nonsense", day(1)));
    }
}
