//! Connections: TLS with an optional client certificate of the cluster's CA, HTTP/2 or HTTP/1.1 on top.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::pki::{HostIdentity, Identity};

/// Longest time that a stranger may take to say who it is.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A silent connection is asked whether it lives after this time …
const PING: Duration = Duration::from_secs(4);
/// … and ended when it has not answered after this.
const PONG: Duration = Duration::from_secs(6);
/// How long a dead connection goes unnoticed, at most.
pub const UNNOTICED: Duration = Duration::from_secs(PING.as_secs() + PONG.as_secs());
/// Time for requests that are under way when the server stops.
const FAREWELL: Duration = Duration::from_secs(2);
/// Connections at a time.
const CONNECTIONS: usize = 8192;
/// After a failure to accept: the process has no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

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
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(Current(certificate)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Serves `app` until `stop`; then lets what is under way end, for a moment.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    app: Router,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let (tasks, places) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS)));
    loop {
        // Never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, address)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (acceptor, app, stop) = (acceptor.clone(), app.clone(), stop.clone());
        tasks.spawn(async move {
            let _place = place;
            connection(stream, address, acceptor, app, stop).await;
        });
    }
    tasks.close();
    tokio::time::timeout(PONG, tasks.wait()).await.ok();
}

/// One connection, to its end. What goes wrong on it is the other end's business.
async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    app: Router,
    stop: CancellationToken,
) {
    stream.set_nodelay(true).ok();
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else {
        return;
    };
    let shown = stream.get_ref().1.peer_certificates();
    let host = shown.and_then(|chain| HostIdentity::of(chain.first()?));
    let app = app.layer(Extension(Peer { address, host }));
    let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .max_concurrent_streams(256);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE);
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    tokio::pin!(serving);
    tokio::select! {
        _ = serving.as_mut() => return,
        () = stop.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    // Streams have no end of their own.
    tokio::time::timeout(FAREWELL, serving).await.ok();
}
