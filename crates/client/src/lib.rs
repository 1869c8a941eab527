//! Speaks to a cluster's servers: one HTTP/2 connection over TLS 1.3, made when it is needed and made anew when it breaks.
//! Owns how a server is trusted and how answers and refusals are read; what is asked is the caller's business.

mod clock;
mod lines;
mod trust;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api::problem::Problem;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

pub use lines::Lines;
pub use trust::{Identity, Trust, fingerprint};

/// Port of a server where none is named.
pub const PORT: u16 = 6440;
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for an answer to begin.
const ANSWER: Duration = Duration::from_secs(30);
/// A silent connection is asked whether it lives after this time …
const PING: Duration = Duration::from_secs(4);
/// … and ended when it has not answered after this.
const PONG: Duration = Duration::from_secs(6);
/// Bytes of an answer, and of all, that may be under way. The server's questions whether this end lives stand behind them: over a slow line
/// the answer must not come too late.
const UNDER_WAY: (u32, u32) = (256 << 10, 512 << 10);
/// Largest answer, and longest line of a stream.
const LARGEST: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refuses.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// The address of the server is not one.
    #[error("`{0}` is not the address of a server: write https://host or https://host:port")]
    Address(String),
    /// A certificate or key that cannot be used.
    #[error("a certificate cannot be used")]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server cannot be reached.
    #[error("cannot reach {server}")]
    Unreachable {
        /// Which one.
        server: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is reached, but is not who it should be.
    #[error("{server} is not a server of this cluster")]
    Untrusted {
        /// Which one.
        server: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is reached, but its certificate does not fit the time that it is here.
    #[error(
        "the clock of this machine or that of {server} is wrong: here it is {here}, and the server's certificate {certificate}"
    )]
    Clock {
        /// Which one.
        server: String,
        /// What time it is here.
        here: String,
        /// Since or until when its certificate is valid.
        certificate: String,
    },
    /// It is reached, and does not take our certificate for its time.
    #[error(
        "{server} says that the certificate of this host has ended: either it has, which takes joining again with a token, or a clock is wrong; here it is {here}"
    )]
    Expired {
        /// Which one.
        server: String,
        /// What time it is here.
        here: String,
    },
    /// The connection broke.
    #[error("the connection to {server} broke")]
    Broken {
        /// Which one.
        server: String,
        /// How.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Its stream goes on, but nothing comes.
    #[error("{server} says nothing any more")]
    Silent {
        /// Which one.
        server: String,
    },
    /// The answer is not what it should be.
    #[error("the answer of {server} cannot be understood: {what}")]
    Answer {
        /// Which one.
        server: String,
        /// Why.
        what: String,
    },
}

type Sender = SendRequest<Full<Bytes>>;

/// A connection that is open, or was.
struct Connected {
    sender: Sender,
    /// Address of this end.
    from: Option<IpAddr>,
}

/// A server, as one caller speaks to it.
pub struct Client {
    server: String,
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
    bearer: Option<String>,
    connection: Mutex<Option<Connected>>,
}

impl Client {
    /// For the server at `https://host[:port]`.
    ///
    /// # Errors
    /// When the address or a certificate is not one.
    pub fn new(server: &str, trust: Trust, identity: Identity) -> Result<Self, Error> {
        let (host, port) = address(server).ok_or_else(|| Error::Address(server.to_owned()))?;
        let bearer = match &identity {
            Identity::Key(key) => Some(format!("Bearer {key}")),
            _ => None,
        };
        Ok(Self {
            server: server.to_owned(),
            host,
            port,
            tls: trust::config(trust, identity).map_err(Error::Certificate)?,
            bearer,
            connection: Mutex::new(None),
        })
    }

    /// The server's address, as it was given.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The address of this end of the open connection; none while none is open.
    pub async fn from(&self) -> Option<IpAddr> {
        let connection = self.connection.lock().await;
        let open = connection.as_ref().filter(|it| !it.sender.is_closed());
        open?.from
    }

    /// `GET`
    ///
    /// # Errors
    /// When there is no answer, or a refusal.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.json(Method::GET, path, &()).await
    }

    /// `POST`
    ///
    /// # Errors
    /// When there is no answer, or a refusal.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        self.json(Method::POST, path, body).await
    }

    /// `PUT`
    ///
    /// # Errors
    /// When there is no answer, or a refusal.
    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        self.json(Method::PUT, path, body).await
    }

    /// `DELETE`
    ///
    /// # Errors
    /// When there is no answer, or a refusal.
    pub async fn delete(&self, path: &str) -> Result<(), Error> {
        self.whole(Method::DELETE, path, Bytes::new())
            .await
            .map(drop)
    }

    /// A stream of lines of JSON.
    ///
    /// # Errors
    /// When there is no answer, or a refusal.
    pub async fn lines(&self, path: &str) -> Result<Lines, Error> {
        let response = self.send(Method::GET, path, Bytes::new()).await?;
        Lines::new(&self.server, response)
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let body = if method == Method::GET {
            Bytes::new()
        } else {
            serde_json::to_vec(body)
                .map_err(|error| self.strange(&error))?
                .into()
        };
        let answer = self.whole(method, path, body).await?;
        serde_json::from_slice(&answer).map_err(|error| self.strange(&error))
    }

    async fn whole(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Error> {
        let response = self.send(method, path, body).await?;
        let limited = http_body_util::Limited::new(response.into_body(), LARGEST);
        let collected = tokio::time::timeout(ANSWER, limited.collect()).await;
        match collected {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) => Err(self.broken(error)),
            Err(late) => Err(self.broken(late.into())),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", api::SERVER_NAME));
        if let Some(bearer) = &self.bearer {
            request = request.header(AUTHORIZATION, bearer);
        }
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| self.strange(&error))?;
        let response = match tokio::time::timeout(ANSWER, self.ask(request)).await {
            Ok(answered) => answered?,
            Err(late) => {
                self.connection.lock().await.take();
                return Err(self.broken(late.into()));
            }
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), LARGEST);
        let body = body.collect().await.map_err(|error| self.broken(error))?;
        match serde_json::from_slice::<Problem>(&body.to_bytes()) {
            Ok(problem) => Err(problem.into()),
            Err(_) => Err(self.strange(&format!("status {status}"))),
        }
    }

    /// Sends a request. A server ends connections on which nothing was asked for long: what never left goes over a new one.
    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        let mut connection = self.connection().await?;
        let mut error = match connection.try_send_request(request).await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let Some(request) = error.take_message() else {
            return Err(self.broken(error.into_error().into()));
        };
        self.connection.lock().await.take();
        let mut fresh = self.connection().await?;
        let answered = fresh.send_request(request).await;
        answered.map_err(|error| self.broken(error.into()))
    }

    /// The open connection, or a new one.
    async fn connection(&self) -> Result<Sender, Error> {
        let mut connection = self.connection.lock().await;
        let open = connection.as_ref().map(|connected| &connected.sender);
        if let Some(open) = open.filter(|open| !open.is_closed()) {
            return Ok(open.clone());
        }
        let connected = tokio::time::timeout(CONNECT, self.connect()).await;
        let fresh = connected.unwrap_or_else(|late| Err(self.unreachable(late.into())))?;
        let sender = fresh.sender.clone();
        *connection = Some(fresh);
        Ok(sender)
    }

    async fn connect(&self) -> Result<Connected, Error> {
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| self.unreachable(error.into()))?;
        stream.set_nodelay(true).ok();
        let from = stream.local_addr().ok().map(|at| at.ip().to_canonical());
        let name = ServerName::try_from(api::SERVER_NAME)
            .map_err(|error| Error::Certificate(error.into()))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await
            .map_err(|source| self.untrusted(source))?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(UNDER_WAY.0)
            .initial_connection_window_size(UNDER_WAY.1)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error.into()))?;
        // What ends it is seen by the requests on it.
        tokio::spawn(connection);
        Ok(Connected { sender, from })
    }

    fn unreachable(&self, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
        Error::Unreachable {
            server: with_port(&self.server, self.port),
            source,
        }
    }

    fn untrusted(&self, source: std::io::Error) -> Error {
        clock::judge(&self.server, &source).unwrap_or_else(|| Error::Untrusted {
            server: self.server.clone(),
            source: source.into(),
        })
    }

    fn broken(&self, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
        broken(&self.server, source)
    }

    fn strange(&self, what: &dyn std::fmt::Display) -> Error {
        Error::Answer {
            server: self.server.clone(),
            what: what.to_string(),
        }
    }
}

fn broken(server: &str, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    clock::judge(server, &*source).unwrap_or_else(|| Error::Broken {
        server: server.to_owned(),
        source,
    })
}

/// The address as it was given, with its port: who reads it need not know which one is usual.
fn with_port(server: &str, port: u16) -> String {
    let given = server.strip_suffix('/').unwrap_or(server);
    match given.ends_with(&format!(":{port}")) {
        true => given.to_owned(),
        false => format!("{given}:{port}"),
    }
}

/// `https://host[:port]`, also without the scheme.
fn address(server: &str) -> Option<(String, u16)> {
    let rest = server.strip_prefix("https://").unwrap_or(server);
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.is_empty() || rest.contains(['/', '@', ' ']) {
        return None;
    }
    if let Some(bracketed) = rest.strip_prefix('[') {
        let (host, port) = bracketed.split_once(']')?;
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok()?,
            None => PORT,
        };
        return Some((host.to_owned(), port));
    }
    match rest.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !host.contains(':') => {
            Some((host.to_owned(), port.parse().ok()?))
        }
        Some(_) => None,
        None => Some((rest.to_owned(), PORT)),
    }
}

#[cfg(test)]
mod tests {
    use super::{address, with_port};

    #[test]
    fn what_is_not_reached_is_named_with_its_port() {
        assert_eq!(
            with_port("https://127.0.0.1", 6440),
            "https://127.0.0.1:6440"
        );
        assert_eq!(with_port("https://a:443/", 443), "https://a:443");
        assert_eq!(
            with_port("https://[fd00::1]", 6440),
            "https://[fd00::1]:6440"
        );
    }

    #[test]
    fn addresses() {
        let of = |text: &str| address(text).map(|(host, port)| format!("{host} {port}"));
        for (text, expected) in [
            ("https://a.example", Some("a.example 6440")),
            ("https://a.example:1/", Some("a.example 1")),
            ("10.0.0.1:443", Some("10.0.0.1 443")),
            ("https://[fd00::1]:7", Some("fd00::1 7")),
            ("https://[fd00::1]", Some("fd00::1 6440")),
            ("fd00::1", None),
            ("https://a/b", None),
            ("https://user@a", None),
            ("https://a:x", None),
            ("", None),
        ] {
            assert_eq!(of(text).as_deref(), expected, "{text}");
        }
    }
}
