//! A running agent: its parts, how they come up, and what ends it.

use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::host::Reach;
use bollard::{API_DEFAULT_VERSION, Docker};
use rustix::net::sockopt;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::identity::{Identity, Own};
use crate::overlay::{self, SERVICES, State};
use crate::reach::Looker;
use crate::report::Reporter;
use crate::session::{Link, Session};
use crate::{containers, disk, dns, leave, metadata, renew, status, view};

/// Port of the names.
const DNS: u16 = 53;
/// Port of the metadata.
const METADATA: u16 = 80;
/// Seconds after which a request to Docker without an answer fails.
const DOCKER_PATIENCE: u64 = 60;
/// Pause before something that is not there yet is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// How an agent is to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where its identity, keys and what it knows lie.
    pub folder: PathBuf,
    /// Docker's socket.
    pub docker: PathBuf,
    /// Where it says how it is.
    pub status: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            folder: "/var/lib/rancher/agent".into(),
            docker: "/var/run/docker.sock".into(),
            status: status::FILE.into(),
        }
    }
}

/// Why an agent has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to. Everything stays as it is.
    Stopped,
    /// The cluster has removed this host: everything was taken down.
    Removed,
}

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It has not joined.
    #[error(
        "this host is in no cluster; `ros agent join https://SERVER:6440 TOKEN` takes it into one"
    )]
    NotJoined,
    /// Its files cannot be used.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// Another agent runs here.
    #[error("another agent runs on this host with {0}")]
    Twice(PathBuf),
}

/// Runs until `stop`, or until the cluster has removed this host.
///
/// # Errors
/// Why it cannot run.
pub async fn run(options: Options, stop: CancellationToken) -> Result<Ended, Error> {
    let identity = Identity::load(&options.folder)?.ok_or(Error::NotJoined)?;
    let _lock = disk::lock(&options.folder)?.ok_or_else(|| Error::Twice(options.folder.clone()))?;
    let own = identity.own();
    let session = Arc::new(Session::new(options.folder.clone(), identity));
    let mut link = session.link();
    let all = CancellationToken::new();
    let tasks = start(&options, &own, &session, &all);
    let ended = tokio::select! {
        () = stop.cancelled() => Ended::Stopped,
        _ = link.wait_for(|link| *link == Link::Removed) => Ended::Removed,
    };
    all.cancel();
    let mut tasks = tasks;
    while tasks.join_next().await.is_some() {}
    if ended == Ended::Removed {
        eprintln!("agent: the cluster has removed this host; its part in it is taken down");
        let docker = connect(&options.docker);
        for problem in leave::take_down(&options.folder, docker.as_ref()).await {
            eprintln!("agent: {problem}");
        }
    }
    std::fs::remove_file(&options.status).ok();
    Ok(ended)
}

fn start(
    options: &Options,
    own: &Own,
    session: &Arc<Session>,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let catalog = session.catalog();
    let known = catalog.borrow().clone();
    let parts = Parts {
        view: watch::Sender::new(known),
        local: watch::Sender::new(None),
        network: watch::Sender::new(State::default()),
        services: watch::Sender::new(Vec::new()),
        reach: watch::Sender::new(Reach::default()),
    };
    let until = |stop: &CancellationToken| stop.clone();
    let (running, stopping) = (Arc::clone(session), until(stop));
    tasks.spawn(async move { running.run(stopping).await });
    let merging = view::run(
        own.host.clone(),
        catalog,
        parts.local.subscribe(),
        parts.view.clone(),
    );
    spawn(&mut tasks, stop, merging);
    let renewing = Arc::clone(session);
    spawn(&mut tasks, stop, async move {
        renew::run(&renewing, renewing.server()).await;
    });
    let services = Services {
        own: own.clone(),
        view: parts.view.subscribe(),
        network: parts.network.subscribe(),
        problems: parts.services.clone(),
        stop: stop.clone(),
    };
    tasks.spawn(services.run());
    let sources = status::Sources {
        own: own.clone(),
        instance: session.instance().to_owned(),
        link: session.link(),
        view: parts.view.subscribe(),
        local: parts.local.subscribe(),
        network: parts.network.subscribe(),
        services: parts.services.subscribe(),
        unkept: session.unkept(),
    };
    let path = options.status.clone();
    spawn(&mut tasks, stop, async move { sources.run(&path).await });
    tasks.spawn(follow_docker(
        options.clone(),
        own.clone(),
        Arc::clone(session),
        (parts, stop.clone()),
    ));
    tasks
}

fn spawn(
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.clone();
    tasks.spawn(async move {
        stop.run_until_cancelled(task).await;
    });
}

/// What the parts tell each other.
struct Parts {
    view: watch::Sender<Arc<Catalog>>,
    local: watch::Sender<Option<Arc<containers::Local>>>,
    network: watch::Sender<State>,
    services: watch::Sender<Vec<String>>,
    reach: watch::Sender<Reach>,
}

/// What needs Docker: waits for it, then wires and reports its containers.
async fn follow_docker(
    options: Options,
    own: Own,
    session: Arc<Session>,
    (parts, stop): (Parts, CancellationToken),
) {
    let Some(docker) = stop
        .run_until_cancelled(wait_for_docker(&options.docker))
        .await
    else {
        return;
    };
    let wake = Arc::new(Notify::new());
    let mut tasks = JoinSet::new();
    let reporter = Reporter {
        instance: session.instance().to_owned(),
        host: own.host.clone(),
        catalog: session.catalog(),
        docker: docker.clone(),
        local: parts.local.subscribe(),
        network: parts.network.subscribe(),
        unkept: session.unkept(),
        reach: parts.reach.subscribe(),
        server: session.server(),
    };
    spawn(&mut tasks, &stop, reporter.run());
    let looker = Looker {
        own: own.clone(),
        catalog: parts.view.subscribe(),
        network: parts.network.subscribe(),
        server: session.server(),
        found: parts.reach,
    };
    spawn(&mut tasks, &stop, looker.run());
    let waking = (parts.local.subscribe(), Arc::clone(&wake));
    spawn(&mut tasks, &stop, wake_by(waking.0, waking.1));
    tasks.spawn(containers::run(
        docker.clone(),
        parts.network.subscribe(),
        parts.local,
        stop.clone(),
    ));
    let overlay = overlay::Options {
        own,
        folder: options.folder,
        docker,
    };
    tasks.spawn(overlay::run(
        overlay,
        parts.view.subscribe(),
        parts.network,
        wake,
        stop,
    ));
    while tasks.join_next().await.is_some() {}
}

/// Containers that come and go, and Docker's own restarts, are reasons to look at the network again.
async fn wake_by(mut local: watch::Receiver<Option<Arc<containers::Local>>>, wake: Arc<Notify>) {
    while local.changed().await.is_ok() {
        wake.notify_one();
    }
}

/// Docker's client, if its socket is there.
#[must_use]
pub fn connect(socket: &Path) -> Option<Docker> {
    let path = socket.to_str()?;
    Docker::connect_with_unix(path, DOCKER_PATIENCE, API_DEFAULT_VERSION).ok()
}

async fn wait_for_docker(socket: &Path) -> Docker {
    loop {
        if let Some(docker) = connect(socket)
            && let Ok(docker) = docker.negotiate_version().await
        {
            return docker;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Names and metadata, which need no Docker: what was known last is good from the first second on.
struct Services {
    own: Own,
    view: watch::Receiver<Arc<Catalog>>,
    network: watch::Receiver<State>,
    problems: watch::Sender<Vec<String>>,
    stop: CancellationToken,
}

impl Services {
    async fn run(self) {
        let names = async {
            let sockets = self.bind("names", DNS, bind_names).await;
            // Not before the sockets are there: a host that cannot answer must not draw questions.
            tokio::select! {
                () = dns::serve(sockets, self.view.clone(), self.stop.clone()) => {}
                () = overlay::tell_alive(self.network.clone()) => {}
            }
        };
        let metadata = async {
            let listener = self.bind("metadata", METADATA, bind_tcp).await;
            let (own, view) = (self.own.clone(), self.view.clone());
            metadata::serve(listener, own, view, self.stop.clone()).await;
        };
        // Each ends by the token; what still waits for its port is left.
        self.stop
            .run_until_cancelled(async { tokio::join!(names, metadata) })
            .await;
    }

    /// Binds as soon as nobody else has the port.
    async fn bind<S>(
        &self,
        what: &str,
        port: u16,
        bind: impl AsyncFn(SocketAddr) -> std::io::Result<S>,
    ) -> S {
        let address = SocketAddr::V4(SocketAddrV4::new(SERVICES, port));
        loop {
            match bind(address).await {
                Ok(bound) => {
                    self.problems
                        .send_modify(|problems| problems.retain(|one| !one.starts_with(what)));
                    return bound;
                }
                Err(error) => {
                    let problem = format!(
                        "{what}: cannot listen on {address}: {error}; which program has the port? `ss -lnp 'sport = :{port}'`"
                    );
                    self.problems.send_if_modified(|problems| {
                        let is_new = !problems.contains(&problem);
                        if is_new {
                            eprintln!("agent: {problem}");
                            problems.retain(|one| !one.starts_with(what));
                            problems.push(problem);
                        }
                        is_new
                    });
                    tokio::time::sleep(PAUSE * 5).await;
                }
            }
        }
    }
}

async fn bind_names(address: SocketAddr) -> std::io::Result<dns::Sockets> {
    Ok(dns::Sockets {
        udp: UdpSocket::from_std(bind_free(address, rustix::net::SocketType::DGRAM)?.into())?,
        tcp: bind_tcp(address).await?,
    })
}

async fn bind_tcp(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = bind_free(address, rustix::net::SocketType::STREAM)?;
    rustix::net::listen(&socket, 1024)?;
    TcpListener::from_std(socket.into())
}

/// Bound also while the address is not there yet (ip(7), `IP_FREEBIND`): the network puts it up later.
fn bind_free(
    address: SocketAddr,
    kind: rustix::net::SocketType,
) -> std::io::Result<std::os::fd::OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, bind, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, kind, flags, None)?;
    sockopt::set_ip_freebind(&socket, true)?;
    if kind == rustix::net::SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &address)?;
    Ok(socket)
}
