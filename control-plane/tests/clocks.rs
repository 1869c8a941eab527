//! Clocks that are wrong: by hours they do no harm, and by more it is said whose clock may be wrong, with the times.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::SocketAddr;

use api::Id;
use axum::Router;
use client::{Client, Error, Identity, Trust, fingerprint};
use control_plane::http::{serve, tls};
use control_plane::pki::{Authority, CaPem};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const DAY: i64 = 24;

/// So many hours from now.
fn hours(hours: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(hours)
}

/// A server whose certificate was made by a clock that is off.
struct Server {
    ca: CaPem,
    authority: Authority,
    address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Server {
    async fn start(ca_made: Timestamp, made: Timestamp) -> Self {
        let ca = CaPem::fresh(ca_made).unwrap();
        let authority = Authority::new(&ca).unwrap();
        let identity = authority.server(&[], &[], made).unwrap();
        let certified = tls::certified(&identity, &ca.certificate).unwrap();
        let (_, certificate) = watch::channel(certified);
        let tls = tls::config(&ca.certificate, certificate).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/", axum::routing::get(|| async { "1" }));
        let stop = CancellationToken::new();
        tokio::spawn(serve::serve(listener, tls, app, stop.clone()));
        Self {
            ca,
            authority,
            address,
            stop,
        }
    }

    async fn ask(&self, trust: Trust, identity: Identity) -> Result<u32, Error> {
        let url = format!("https://{}", self.address);
        let client = Client::new(&url, trust, identity).unwrap();
        client.get("/").await
    }

    /// As a host that knows the CA whole, and as one that knows its hash only.
    async fn strangers(&self) -> [Result<u32, Error>; 2] {
        let hash = fingerprint(&self.ca.certificate).unwrap();
        [
            self.ask(Trust::Ca(self.ca.certificate.clone()), Identity::None)
                .await,
            self.ask(Trust::Hash(hash), Identity::None).await,
        ]
    }

    /// As a host whose certificate was made by a clock that is off.
    async fn host(&self, made: Timestamp) -> Result<u32, Error> {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![]).unwrap();
        let csr = params.serialize_request(&key).unwrap().pem().unwrap();
        let (project, host) = (Id::from_bits("p", 1), Id::from_bits("h", 1));
        let identity = Identity::Certificate {
            certificate: self.authority.host(&project, &host, &csr, made).unwrap(),
            key: key.serialize_pem(),
        };
        self.ask(Trust::Ca(self.ca.certificate.clone()), identity)
            .await
    }
}

#[tokio::test]
async fn a_servers_clock_is_off() {
    for off in [-20, 20] {
        let server = Server::start(hours(off), hours(off)).await;
        for answer in server.strangers().await {
            assert_eq!(answer.unwrap(), 1, "{off} hours");
        }
    }
    for (off, said) in [
        (30, "is valid from "),
        (30 * DAY, "is valid from "),
        (-31 * DAY, "has ended on "),
    ] {
        let server = Server::start(hours(0), hours(off)).await;
        for answer in server.strangers().await {
            let error = answer.unwrap_err();
            assert!(
                matches!(error, Error::Clock { .. }),
                "{off} hours: {error:?}"
            );
            let text = error.to_string();
            assert!(
                text.contains(said) && text.contains("here it is 20"),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_hosts_certificate_was_made_by_a_clock_that_was_off() {
    let server = Server::start(hours(0), hours(0)).await;
    for off in [-20, 0, 20, -29 * DAY] {
        assert_eq!(server.host(hours(off)).await.unwrap(), 1, "{off} hours");
    }
    for off in [30, -31 * DAY] {
        let error = server.host(hours(off)).await.unwrap_err();
        assert!(
            matches!(error, Error::Expired { .. }),
            "{off} hours: {error:?}"
        );
        let text = error.to_string();
        assert!(
            text.contains("joining again") && text.contains("a clock is wrong"),
            "{text}"
        );
    }
}

/// A machine without a clock of its own makes the cluster, and learns the time later.
#[tokio::test]
async fn a_cluster_outlasts_the_clock_that_it_was_made_by() {
    for made in [
        Timestamp::UNIX_EPOCH,
        hours(-40 * 365 * DAY),
        hours(300 * DAY),
    ] {
        let server = Server::start(made, hours(0)).await;
        for answer in server.strangers().await {
            assert_eq!(answer.unwrap(), 1, "made at {made}");
        }
        assert_eq!(server.host(hours(0)).await.unwrap(), 1, "made at {made}");
    }
}
