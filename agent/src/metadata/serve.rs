//! The HTTP side: connections, their limits, and waiting. HTTP/1 only, as the ancestor spoke it.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use super::format::Format;
use super::node::Node;
use super::objects::{Version, View};
use super::question::{self, Bad, Question, Wait};
use super::views::Views;
use crate::Catalog;
use crate::gate::{Gate, Place};
use crate::identity::Own;

/// Connections in all, and from each address.
const CONNECTIONS: (usize, usize) = (2048, 512);
/// Requests that wait, in all and from each address.
const WAITING: (usize, usize) = (1024, 128);
/// Bytes of answers that were not taken yet, in all and for each address.
const UNTAKEN: (usize, usize) = (64 << 20, 16 << 20);
/// A connection that takes nothing of its answer for so long is closed, by the kernel: `TCP_USER_TIMEOUT` of tcp(7).
const TAKING: Duration = Duration::from_secs(30);
/// A connection that sends no whole request for so long is closed.
const HEADERS: Duration = Duration::from_secs(30);
/// Bytes of a request line with its headers, and how many headers.
const REQUEST: (usize, usize) = (16 << 10, 64);
/// Changes come in groups: who waits is answered once for a group.
const GROUP: Duration = Duration::from_millis(20);
/// After an error of `accept` (no descriptors left, say), before the next one.
const AGAIN: Duration = Duration::from_millis(100);

/// What all requests share.
struct Shared {
    views: Views,
    waiting: Arc<Gate>,
    untaken: Arc<Gate>,
    stop: CancellationToken,
}

/// Answers from `catalog` until `stop`.
pub async fn serve(
    listener: TcpListener,
    own: Own,
    catalog: watch::Receiver<Arc<Catalog>>,
    stop: CancellationToken,
) {
    let shared = Arc::new(Shared {
        views: Views::new(own, catalog),
        waiting: Gate::new(WAITING.0, WAITING.1),
        untaken: Gate::new(UNTAKEN.0, UNTAKEN.1),
        stop: stop.clone(),
    });
    let connections = Gate::new(CONNECTIONS.0, CONNECTIONS.1);
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, from)) => {
                // No place: the connection is closed.
                if let Some(place) = connections.enter(from.ip()) {
                    tasks.spawn(connection(stream, from, place, Arc::clone(&shared)));
                }
            }
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

async fn connection(stream: TcpStream, from: SocketAddr, place: Place, shared: Arc<Shared>) {
    let from = from.ip().to_canonical();
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(&shared, from, &request).await) }
    });
    stream.set_nodelay(true).ok();
    let taking = u32::try_from(TAKING.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(&stream, taking).ok();
    // How a connection ends is its client's business.
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(REQUEST.0)
        .max_headers(REQUEST.1)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
    drop(place);
}

async fn respond(
    shared: &Shared,
    from: IpAddr,
    request: &Request<Incoming>,
) -> Response<Full<Bytes>> {
    let header = request.headers().get(ACCEPT);
    let format = Format::accepted(
        header
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default(),
    );
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", format);
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    let uri = request.uri();
    let question = Question::parse(uri.path(), uri.query().unwrap_or_default());
    match question {
        Ok(Question::Versions) => {
            let body = format.render(&versions());
            response(StatusCode::OK, format, Bytes::from(body))
        }
        Ok(Question::Path {
            version,
            keys,
            wait,
        }) => {
            let path = Path {
                from,
                version,
                keys,
                format,
            };
            answer(shared, &path, wait).await
        }
        Err(Bad::Version) => refusal(StatusCode::NOT_FOUND, "Invalid version", format),
        Err(Bad::Escape(part)) => {
            let message = format!("invalid URL escape {part:?}");
            refusal(StatusCode::BAD_REQUEST, &message, format)
        }
    }
}

/// What is looked up.
struct Path {
    from: IpAddr,
    version: Version,
    keys: Vec<String>,
    format: Format,
}

impl Path {
    /// What it leads to now; `None`: nothing.
    fn look(&self, views: &Views) -> Option<String> {
        let index = views.now();
        let view = View {
            index: &index,
            version: self.version,
        };
        let lower = || {
            self.keys
                .iter()
                .map(|key| key.to_lowercase())
                .collect::<Vec<_>>()
        };
        let found = view.root(self.from).at(&self.keys);
        // As in the ancestor: who writes a key in the wrong case means the right one.
        let found = found.or_else(|| view.root(self.from).at(&lower()));
        found.map(|node| self.format.render(&node))
    }
}

async fn answer(shared: &Shared, path: &Path, wait: Option<Wait>) -> Response<Full<Bytes>> {
    let found = match wait {
        None => path.look(&shared.views),
        Some(wait) => {
            let Some(_place) = shared.waiting.enter(path.from) else {
                return too_much("Too many requests wait already", path.format);
            };
            other_value(shared, path, &wait).await
        }
    };
    match found {
        Some(body) => match shared.untaken.take(path.from, body.len()) {
            Some(place) => response(StatusCode::OK, path.format, held(body, place)),
            None => too_much("Too much was asked for and not read", path.format),
        },
        None => refusal(StatusCode::NOT_FOUND, "Not found", path.format),
    }
}

/// The value once it is another one than `wait` has, or as it is when the time is over.
async fn other_value(shared: &Shared, path: &Path, wait: &Wait) -> Option<String> {
    let deadline = Instant::now() + wait.longest;
    let mut changes = shared.views.changes();
    loop {
        changes.mark_unchanged();
        shared.views.caught_up().await;
        let found = path.look(&shared.views);
        let is_other = found
            .as_ref()
            .is_some_and(|found| !is_same(found, &wait.value, path.format));
        if is_other {
            return found;
        }
        let change = async {
            // A sender that is gone changes nothing any more.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(GROUP).await;
        };
        tokio::select! {
            () = change => {}
            () = tokio::time::sleep_until(deadline) => return path.look(&shared.views),
            () = shared.stop.cancelled() => return found,
        }
    }
}

/// Whether a value is the one that is known: as it was sent, or a text without JSON's quotation marks, or without the end of the line.
fn is_same(found: &str, known: &str, format: Format) -> bool {
    let (found, known) = (found.trim_end_matches('\n'), known.trim_end_matches('\n'));
    let bare = || {
        found
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
    };
    found == known || (format != Format::Text && bare() == Some(known))
}

fn versions() -> Node<'static> {
    let all = question::versions().map(|name| (name, Node::text(format!("/{name}"))));
    Node::map(all)
}

/// A body that keeps its place until it is written.
fn held(body: String, place: Place) -> Bytes {
    struct Held(
        String,
        #[expect(dead_code, reason = "kept for its end")] Place,
    );
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            self.0.as_bytes()
        }
    }
    Bytes::from_owner(Held(body, place))
}

fn too_much(message: &str, format: Format) -> Response<Full<Bytes>> {
    let mut answer = refusal(StatusCode::SERVICE_UNAVAILABLE, message, format);
    let wait = HeaderValue::from_static("5");
    answer.headers_mut().insert(RETRY_AFTER, wait);
    answer
}

fn refusal(status: StatusCode, message: &str, format: Format) -> Response<Full<Bytes>> {
    let body = match format {
        Format::Text => message.to_owned(),
        Format::Json | Format::Yaml => {
            let code = Node::Number(u64::from(status.as_u16()));
            let (message, kind) = (Node::text(message), Node::text("error"));
            format.render(&Node::map([
                ("code", code),
                ("message", message),
                ("type", kind),
            ]))
        }
    };
    let body = format!("{}\n", body.trim_end());
    response(status, format, Bytes::from(body))
}

fn response(status: StatusCode, format: Format, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}
