//! When a certificate is refused for its time, a clock is wrong: said with the times, so that it can be seen which.

use std::error::Error as StdError;

use jiff::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError};

use crate::Error;

/// What a failure of the connection to `server` says of clocks, if it is about them.
pub fn judge(server: &str, error: &(dyn StdError + 'static)) -> Option<Error> {
    let server = server.to_owned();
    let here = now();
    let Some(failure) = find(error) else {
        return is_told(error).then_some(Error::Expired { server, here });
    };
    match failure {
        rustls::Error::InvalidCertificate(refused) => Some(Error::Clock {
            server,
            here,
            certificate: validity(refused)?,
        }),
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => {
            Some(Error::Expired { server, here })
        }
        _ => None,
    }
}

/// TLS's own error, at the bottom of what it comes in.
fn find<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e rustls::Error> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // The source of an I/O error is not what it holds, but the source of that.
        let held = error
            .downcast_ref::<std::io::Error>()
            .and_then(|error| error.get_ref());
        at = match held {
            Some(held) => Some(held as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}

/// HTTP/2 keeps the words of what broke the connection only.
fn is_told(error: &(dyn StdError + 'static)) -> bool {
    let alert = rustls::Error::AlertReceived(AlertDescription::CertificateExpired).to_string();
    api::problem::chain(error).contains(&alert)
}

fn validity(refused: &CertificateError) -> Option<String> {
    match refused {
        CertificateError::Expired => Some("has ended".into()),
        CertificateError::NotValidYet => Some("is not valid yet".into()),
        CertificateError::ExpiredContext { not_after, .. } => {
            Some(format!("has ended on {}", text(*not_after)))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            Some(format!("is valid from {} on", text(*not_before)))
        }
        _ => None,
    }
}

fn text(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds)
        .map_or_else(|_| format!("second {seconds}"), |time| time.to_string())
}

fn now() -> String {
    let second = Timestamp::now().as_second();
    Timestamp::from_second(second).map_or_else(|_| String::new(), |time| time.to_string())
}
