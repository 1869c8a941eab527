//! The server's own certificate, made anew while the server runs: well before it ends, and when the clock has jumped.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::http::tls;
use crate::objects::now;
use crate::pki::{self, Authority};

/// When certificates are made anew.
#[derive(Debug, Clone, Copy)]
pub struct Renewal {
    /// How old a certificate becomes.
    pub age: Duration,
    /// How often it is looked at.
    pub period: Duration,
}

/// A third of a certificate's life; and a machine whose clock was wrong when the server started must not wait for days.
pub const USUAL: Renewal = Renewal {
    age: Duration::from_secs(10 * 86_400),
    period: Duration::from_secs(60),
};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The CA does not make one.
    #[error(transparent)]
    Pki(#[from] pki::Error),
    /// TLS does not take it.
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

/// What makes certificates for this server.
pub struct Maker {
    authority: Arc<Authority>,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Maker {
    /// For a server that is reached under these names and addresses.
    #[must_use]
    pub fn new(authority: Arc<Authority>, names: Vec<String>) -> Self {
        let addresses = names.iter().filter_map(|name| name.parse().ok()).collect();
        let is_name = |name: &String| name.parse::<IpAddr>().is_err();
        Self {
            authority,
            names: names.into_iter().filter(is_name).collect(),
            addresses,
        }
    }

    fn make(&self, at: Timestamp) -> Result<Arc<CertifiedKey>, Error> {
        let identity = self.authority.server(&self.names, &self.addresses, at)?;
        Ok(tls::certified(&identity, self.authority.certificate())?)
    }

    /// One now, and new ones until `stop`.
    ///
    /// # Errors
    /// When the first cannot be made.
    pub fn start(
        self,
        renewal: Renewal,
        stop: CancellationToken,
    ) -> Result<watch::Receiver<Arc<CertifiedKey>>, Error> {
        let mut made = now();
        let (sender, receiver) = watch::channel(self.make(made)?);
        tokio::spawn(async move {
            let renew = async {
                loop {
                    tokio::time::sleep(renewal.period).await;
                    // What fails is tried again at the next look: two thirds of its life are left.
                    if is_due(made, now(), renewal.age)
                        && let Ok(fresh) = self.make(now())
                    {
                        made = now();
                        sender.send_replace(fresh);
                    }
                }
            };
            stop.run_until_cancelled(renew).await;
        });
        Ok(receiver)
    }
}

fn is_due(made: Timestamp, now: Timestamp, age: Duration) -> bool {
    now < made || now.duration_since(made).unsigned_abs() >= age
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::CaPem;
    use axum::Router;
    use client::{Client, Identity, Trust};

    #[test]
    fn it_is_due_with_age_and_when_the_clock_jumps() {
        let day = |n: u64| Timestamp::UNIX_EPOCH + Duration::from_secs(n * 86_400);
        let due = |made, now| is_due(day(made), day(now), USUAL.age);
        assert!(!due(100, 100) && !due(100, 109));
        assert!(due(100, 110) && due(100, 9000));
        assert!(due(100, 99));
    }

    #[tokio::test]
    async fn a_running_server_shows_the_new_one() {
        let ca = CaPem::fresh(now()).unwrap();
        let authority = Arc::new(Authority::new(&ca).unwrap());
        let stop = CancellationToken::new();
        let renewal = Renewal {
            age: Duration::ZERO,
            period: Duration::from_millis(300),
        };
        let maker = Maker::new(authority, vec!["localhost".into(), "127.0.0.1".into()]);
        let mut made = maker.start(renewal, stop.clone()).unwrap();
        let tls = tls::config(&ca.certificate, made.clone()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let app = Router::new().route("/", axum::routing::get(|| async { "1" }));
        tokio::spawn(crate::http::serve::serve(listener, tls, app, stop.clone()));
        let fresh =
            || Client::new(&url, Trust::Ca(ca.certificate.clone()), Identity::None).unwrap();
        let old = fresh();
        assert_eq!(old.get::<u32>("/").await.unwrap(), 1);
        let first = made.borrow_and_update().end_entity_cert().unwrap().to_vec();
        made.changed().await.unwrap();
        assert_ne!(made.borrow().end_entity_cert().unwrap().to_vec(), first);
        // Who is connected stays so; who comes sees the new one, which is as good.
        assert_eq!(old.get::<u32>("/").await.unwrap(), 1);
        assert_eq!(fresh().get::<u32>("/").await.unwrap(), 1);
        stop.cancel();
    }
}
