//! A host's connection, which counts the bytes that come over it: what the server really sends, TLS and HTTP/2 included.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Outcome;

/// Longest waits for a connection and for an answer, as an agent waits.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);

/// An open connection.
pub type Sender = SendRequest<Full<Bytes>>;

struct Counting {
    inner: TcpStream,
    received: Arc<AtomicU64>,
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = ready!(Pin::new(&mut self.inner).poll_read(context, buffer));
        let count = buffer.filled().len() - before;
        self.received.fetch_add(count as u64, Ordering::Relaxed);
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// Certificate and key of a host, PEM.
pub struct Shown<'a> {
    /// The certificate.
    pub certificate: &'a str,
    /// Its key.
    pub key: &'a str,
}

/// TLS as an agent speaks it.
pub fn tls(ca: &str, shown: Option<Shown<'_>>) -> Outcome<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let mut config = match shown {
        Some(Shown { certificate, key }) => builder.with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.as_bytes())?,
        )?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Connects.
pub async fn connect(
    server: SocketAddr,
    tls: &Arc<ClientConfig>,
    received: &Arc<AtomicU64>,
) -> Outcome<Sender> {
    tokio::time::timeout(CONNECT, open(server, tls, received)).await?
}

async fn open(
    server: SocketAddr,
    tls: &Arc<ClientConfig>,
    received: &Arc<AtomicU64>,
) -> Outcome<Sender> {
    let inner = TcpStream::connect(server).await?;
    inner.set_nodelay(true)?;
    let counting = Counting {
        inner,
        received: Arc::clone(received),
    };
    let name = ServerName::try_from(api::SERVER_NAME)?;
    let stream = TlsConnector::from(Arc::clone(tls))
        .connect(name, counting)
        .await?;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(512 << 10)
        .keep_alive_interval(Duration::from_secs(4))
        .keep_alive_timeout(Duration::from_secs(20))
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await?;
    // What ends it is seen by the requests on it.
    tokio::spawn(connection);
    Ok(sender)
}

/// `GET`, or `POST` when there is a body.
pub async fn ask(sender: &Sender, path: &str, body: Vec<u8>) -> Outcome<Response<Incoming>> {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let request = Request::builder()
        .method(method)
        .uri(format!("https://{}{path}", api::SERVER_NAME))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let mut sender = sender.clone();
    let response = tokio::time::timeout(ANSWER, sender.send_request(request)).await??;
    if response.status().is_success() {
        return Ok(response);
    }
    let refusal = response.into_body().collect().await?.to_bytes();
    Err(String::from_utf8_lossy(&refusal).into())
}

/// The same for an answer that is read whole.
pub async fn whole(sender: &Sender, path: &str, body: Vec<u8>) -> Outcome<Bytes> {
    let answering = async {
        let response = ask(sender, path, body).await?;
        Ok(response.into_body().collect().await?.to_bytes())
    };
    tokio::time::timeout(ANSWER, answering).await?
}
