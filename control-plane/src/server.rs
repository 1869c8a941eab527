//! A running server: its parts, and how they come up.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use api::Id;
use api::access::{ApiKeyKind, Role, TokenKind, UserKind};
use api::problem::{Problem, Reason};
use api::project::ProjectKind;
use api::resource::Kind;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::agents::Hub;
use crate::certificate::{self, Maker};
use crate::http::{self, serve, tls};
use crate::mirror::Mirror;
use crate::objects::{self, Draft, Objects, now};
use crate::pki::{self, Authority, CaPem};
use crate::rules::{TOKEN_LIFETIME, first_network};
use crate::secret::{self, JoinToken, Key};
use crate::store::{self, Etcd, LeaseId, Sqlite, Store, Transaction, Write};
use crate::{events, loops, presence};

/// Where the CA lies in the store.
const CA: &str = "/ca";
/// Name of the first user.
pub const ADMIN: &str = "admin";
/// Name of the first project.
pub const PROJECT: &str = "default";
/// Name of the first join token.
const TOKEN: &str = "first";

/// How a server is to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Names and addresses under which it is reached, for its certificate.
    pub names: Vec<String>,
    /// Where its state lies.
    pub store: StoreOptions,
}

/// Where the state of the cluster lies.
#[derive(Debug, Clone)]
pub enum StoreOptions {
    /// In a file.
    File(PathBuf),
    /// In etcd.
    Etcd {
        /// `https://host:2379`, any number.
        endpoints: Vec<String>,
        /// For etcd's own TLS.
        certificates: Option<store::Certificates>,
    },
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] store::OpenError),
    /// The store does not answer.
    #[error("the store cannot be read")]
    Store(#[from] store::Error),
    /// The CA is not one.
    #[error(transparent)]
    Pki(#[from] pki::Error),
    /// Its certificate is not one.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The store holds what cannot be.
    #[error("the first objects cannot be made")]
    First(#[source] Problem),
    /// The address cannot be listened on.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
}

/// A running server.
pub struct Server {
    /// Name of this server among others.
    pub name: String,
    /// The objects in the store.
    pub objects: Objects,
    /// The store in memory.
    pub mirror: Mirror,
    /// The cluster's CA.
    pub authority: Arc<Authority>,
    /// The agents' streams.
    pub hub: Hub,
    /// Hosts join one after the other: at a time they would want the same name and block.
    pub(crate) door: Semaphore,
    /// 0: none yet.
    lease: AtomicI64,
}

impl Server {
    /// The lease of this server, once it has one: what it says of hosts ends with it.
    #[must_use]
    pub fn lease(&self) -> Option<LeaseId> {
        let lease = self.lease.load(Ordering::Acquire);
        (lease != 0).then_some(LeaseId(lease))
    }

    pub(crate) fn set_lease(&self, lease: LeaseId) {
        self.lease.store(lease.0, Ordering::Release);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
impl Server {
    /// One that does not listen: its parts, as `start` puts them together.
    pub async fn bare(store: Arc<dyn Store>, name: &str) -> Arc<Self> {
        let authority = Arc::new(authority(&*store).await.unwrap());
        let objects = Objects::new(Arc::clone(&store));
        first_objects(&objects, authority.hash()).await.unwrap();
        let stop = CancellationToken::new();
        let mirror = Mirror::start(Arc::clone(&store), stop.clone())
            .await
            .unwrap();
        let hub = Hub::start(&*store, &mirror, stop).await.unwrap();
        Arc::new(Self {
            name: name.to_owned(),
            objects,
            mirror,
            authority,
            hub,
            door: Semaphore::new(1),
            lease: AtomicI64::new(0),
        })
    }
}

/// A server that listens.
pub struct Started {
    /// Where.
    pub address: SocketAddr,
    /// The administrator's key, when this start has made the cluster.
    pub admin_key: Option<String>,
    /// A join token of the first project, when this start has made the cluster.
    pub join_token: Option<String>,
    /// The server.
    pub server: Arc<Server>,
    /// Ends when the server has ended.
    pub ended: tokio::task::JoinHandle<()>,
}

/// Starts a server, which runs until `stop`.
///
/// # Errors
/// Why it cannot start.
pub async fn start(options: Options, stop: CancellationToken) -> Result<Started, Error> {
    // Before a new cluster is made: its secrets come out of a start that succeeds, once.
    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(|error| Error::Listen(options.listen, error))?;
    let address = listener
        .local_addr()
        .map_err(|error| Error::Listen(options.listen, error))?;
    let store = open(&options.store).await?;
    let authority = Arc::new(authority(&*store).await?);
    let objects = Objects::new(Arc::clone(&store));
    let first = first_objects(&objects, authority.hash())
        .await
        .map_err(Error::First)?;
    let (admin_key, join_token) = first.unzip();
    let mirror = Mirror::start(Arc::clone(&store), stop.clone()).await?;
    let hub = Hub::start(&*store, &mirror, stop.clone()).await?;
    let server = Arc::new(Server {
        name: format!("{:016x}", rand::random::<u64>()),
        objects,
        mirror,
        authority,
        hub,
        door: Semaphore::new(1),
        lease: AtomicI64::new(0),
    });
    let urls: Vec<String> = options
        .names
        .iter()
        .map(|name| presence::url(name, address.port()))
        .collect();
    let maker = Maker::new(Arc::clone(&server.authority), options.names);
    let certificate = maker.start(certificate::USUAL, stop.clone())?;
    let tls = tls::config(server.authority.certificate(), certificate)?;
    let (running, stopping) = (Arc::clone(&server), stop.clone());
    let ended = tokio::spawn(async move {
        let router = http::router(Arc::clone(&running));
        tokio::join!(
            serve::serve(listener, tls, router, stopping.clone()),
            loops::run(Arc::clone(&running), stopping.clone()),
            stopping.run_until_cancelled(presence::run(&running, &urls)),
        );
        presence::end(&running).await;
    });
    Ok(Started {
        address,
        admin_key,
        join_token,
        server,
        ended,
    })
}

pub(crate) async fn open(options: &StoreOptions) -> Result<Arc<dyn Store>, Error> {
    Ok(match options {
        StoreOptions::File(path) => Arc::new(Sqlite::open(Path::new(path))?),
        StoreOptions::Etcd {
            endpoints,
            certificates,
        } => Arc::new(Etcd::connect(endpoints, "/ros", certificates.clone()).await?),
    })
}

/// The CA of the store; the first server makes it.
async fn authority(store: &dyn Store) -> Result<Authority, Error> {
    loop {
        let snapshot = store.snapshot(CA).await?;
        if let Some(entry) = snapshot.entries.iter().find(|entry| entry.key == CA) {
            let pem: CaPem = serde_json::from_slice(&entry.value)
                .map_err(|_| pki::Error::Ca(rcgen::Error::CouldNotParseCertificate))?;
            return Ok(Authority::new(&pem)?);
        }
        let pem = serde_json::to_vec(&CaPem::fresh(now())?).unwrap_or_default();
        let make = Transaction {
            expect: vec![(CA.into(), 0)],
            writes: vec![Write::put(CA, pem)],
        };
        match store.commit(make).await {
            Ok(_) | Err(store::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The administrator with a key, and the first project with a join token: in a new store, in one transaction. Gives key and token.
async fn first_objects(
    objects: &Objects,
    ca: [u8; 32],
) -> Result<Option<(String, String)>, Problem> {
    let (_, users) = objects.list::<UserKind>(None).await?;
    if !users.is_empty() {
        return Ok(None);
    }
    let fresh = |prefix: &str| Id::from_bits(prefix, rand::random());
    let mut admin: Draft<UserKind> = Draft::named(None, ADMIN);
    admin.spec.admin = true;
    let user_id = fresh(UserKind::PREFIX);
    let key = Key {
        id: fresh(ApiKeyKind::PREFIX),
        secret: secret::fresh(),
    };
    let mut key_draft: Draft<ApiKeyKind> = Draft::named(None, ADMIN);
    key_draft.spec.user = Some(user_id.clone());
    key_draft.status.secret_hash = secret::hash(&key.secret);
    let mut project: Draft<ProjectKind> = Draft::named(None, PROJECT);
    project.spec.members.insert(user_id.clone(), Role::Owner);
    let project_id = fresh(ProjectKind::PREFIX);
    let token = JoinToken {
        id: fresh(TokenKind::PREFIX),
        secret: secret::fresh(),
        ca,
    };
    let mut token_draft: Draft<TokenKind> = Draft::named(Some(project_id.clone()), TOKEN);
    token_draft.spec.expires = Some(now() + TOKEN_LIFETIME);
    token_draft.status.secret_hash = secret::hash(&token.secret);
    let mut beside = Transaction::default();
    for part in [
        objects::prepare(key.id.clone(), key_draft)?.1,
        objects::prepare(token.id.clone(), token_draft)?.1,
        first_network(&project_id)?,
        objects::prepare(project_id, project)?.1,
    ] {
        beside.expect.extend(part.expect);
        beside.writes.extend(part.writes);
    }
    let event = api::event::EventSpec {
        what: "cluster.create".into(),
        ..Default::default()
    };
    beside.writes.push(events::write(None, event));
    match objects.create::<UserKind>(user_id, admin, beside).await {
        Ok(_) => Ok(Some((key.reveal(), token.reveal()))),
        // Another server was quicker, with one of the names.
        Err(problem) if matches!(problem.reason, Reason::Exists | Reason::Changed) => Ok(None),
        Err(problem) => Err(problem),
    }
}
