//! Connections: how many, for how long, and what a slow or silent other end may cost. HTTP/2 or HTTP/1.1 over TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tls::{H2, Peer};
use crate::pki::HostIdentity;

/// Longest time that the other end may take to say who it is, and to send the head of a request.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A connection on which nothing is asked for this long is ended …
const QUIET: Duration = Duration::from_secs(60);
/// … which is looked at so often.
const LOOK: Duration = Duration::from_secs(5);
/// A silent connection is asked whether it lives after this time …
const PING: Duration = Duration::from_secs(4);
/// … and ended when it has not answered after this.
const PONG: Duration = Duration::from_secs(6);
/// How long a dead connection goes unnoticed, at most.
pub const UNNOTICED: Duration = Duration::from_secs(PING.as_secs() + PONG.as_secs());
/// Time for requests that are under way when the server stops.
const FAREWELL: Duration = Duration::from_secs(2);
/// Connections at a time.
const CONNECTIONS: usize = 16_384;
/// How many of them without a host's certificate: whoever floods the server takes no host's place.
const STRANGERS: usize = 2048;
/// Requests at a time on one connection.
const REQUESTS: u32 = 64;
/// Bytes of answers that wait for a slow other end, for each request.
const UNSENT: usize = 64 << 10;
/// After a failure to accept: the process has no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves `app` until `stop`; then lets what is under way end, for a moment.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    app: Router,
    stop: CancellationToken,
) {
    let door = Door {
        acceptor: TlsAcceptor::from(tls),
        app,
        strangers: Arc::new(Semaphore::new(STRANGERS)),
        stop: stop.clone(),
    };
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
        let door = door.clone();
        tasks.spawn(async move {
            let _place = place;
            door.connection(stream, address).await;
        });
    }
    tasks.close();
    tokio::time::timeout(PONG, tasks.wait()).await.ok();
}

#[derive(Clone)]
struct Door {
    acceptor: TlsAcceptor,
    app: Router,
    strangers: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Door {
    /// One connection, to its end. What goes wrong on it is the other end's business.
    async fn connection(&self, stream: TcpStream, address: SocketAddr) {
        stream.set_nodelay(true).ok();
        let accepting = self.acceptor.accept(stream);
        let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, accepting).await else {
            return;
        };
        let shown = stream.get_ref().1.peer_certificates();
        let host = shown.and_then(|chain| HostIdentity::of(chain.first()?));
        let place = Arc::clone(&self.strangers).try_acquire_owned();
        // One too many; hosts have places of their own.
        if host.is_none() && place.is_err() {
            return;
        }
        let _place = host.is_none().then_some(place);
        self.serve(stream, Peer { address, host }).await;
    }

    async fn serve(&self, stream: TlsStream<TcpStream>, peer: Peer) {
        let activity = Arc::new(Activity::default());
        let (app, counted) = (
            TowerToHyperService::new(self.app.clone()),
            Arc::clone(&activity),
        );
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            let busy = Busy::new(&counted);
            let answering = app.call(request);
            async move {
                let response: Response<Body> = answering.await?;
                // Busy until the last byte of the answer.
                Ok::<_, Infallible>(response.map(|body| {
                    body.map_frame(move |frame| {
                        let _ = &busy;
                        frame
                    })
                }))
            }
        });
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(H2);
        let stream = TokioIo::new(stream);
        if is_h2 {
            self.drive(http2().serve_connection(stream, service), &activity)
                .await;
        } else {
            self.drive(http1().serve_connection(stream, service), &activity)
                .await;
        }
    }

    async fn drive<C: GracefulConnection>(&self, connection: C, activity: &Activity) {
        let mut connection = pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            () = self.stop.cancelled() => {}
            () = activity.quiet() => {}
        }
        connection.as_mut().graceful_shutdown();
        // Streams have no end of their own.
        tokio::time::timeout(FAREWELL, connection).await.ok();
    }
}

fn http2() -> hyper::server::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .max_concurrent_streams(REQUESTS)
        .max_send_buf_size(UNSENT);
    builder
}

fn http1() -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE);
    builder
}

/// Whether anything is asked on a connection.
#[derive(Debug)]
struct Activity {
    /// Those that were ever made, and those that are under way.
    made: AtomicUsize,
    requests: AtomicUsize,
    since: Mutex<Instant>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            made: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            since: Mutex::new(Instant::now()),
        }
    }
}

impl Activity {
    /// Returns when nothing has been asked for long.
    async fn quiet(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
            let patience = match self.made.load(Ordering::Acquire) {
                0 => HANDSHAKE,
                _ => QUIET,
            };
            if self.requests.load(Ordering::Acquire) == 0 && since.elapsed() > patience {
                return;
            }
        }
    }
}

/// A request that is under way.
struct Busy(Arc<Activity>);

impl Busy {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.made.fetch_add(1, Ordering::AcqRel);
        activity.requests.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}
