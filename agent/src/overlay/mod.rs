//! The network between the hosts: a Docker network of this host's block, routes to the others' blocks, and the firewall rules that let
//! them through. Owns what carries its marks, and nothing else.

mod alive;
mod apply;
mod desired;
mod docker_network;
mod firewall;
mod iptables;
mod kernel;
mod keys;
mod observe;
mod plan;
mod step;
mod tunnel;
mod wanted;
mod wireguard;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use ipnet::Ipv4Net;
use rtnetlink::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Catalog;
use crate::identity::Own;

pub use alive::tell_alive;
pub use desired::gateway;

use desired::{Key, Wish};
use docker_network::Engine;
use iptables::Iptables;
use keys::{Keys, Turn};
use observe::Ip6tables;
use wireguard::Wireguard;

/// Where every host answers its own containers: names on port 53, metadata on port 80. Never leaves the host.
pub const SERVICES: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 250);

/// Mark (SO_MARK, socket(7)) of what this host's own resolver sends: it is not brought back to it.
const MARK: u32 = 0x53;
/// What the names of our links begin with.
pub const PREFIX: &str = "ros-";
/// Link of Docker's network.
pub const BRIDGE: &str = "ros-br";
/// Link of the VXLAN.
pub const VXLAN: &str = "ros-vx";
/// Link of WireGuard.
pub const WIREGUARD: &str = "ros-wg";
/// Everything is looked at again after this long, whatever happens.
const AGAIN: Duration = Duration::from_secs(10);
/// Two looks are at least this far apart: what comes in between is seen by the second one.
const GATHER: Duration = Duration::from_millis(200);
/// The others have been told a new key this long before it is used.
const TOLD: Duration = Duration::from_secs(1);
/// Plans for one look: what is made builds on each other, a few steps deep.
const PLANS: u32 = 6;

/// What the network of this host is made with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Who this host is.
    pub own: Own,
    /// The agent's folder: keys lie there.
    pub folder: PathBuf,
    /// The Docker whose containers are wired.
    pub docker: Docker,
}

/// How the network of this host is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// WireGuard's public key, base64.
    pub public_key: Option<String>,
    /// Whether the kernel has WireGuard.
    pub wireguard: bool,
    /// MTU of the link by which the others are reached.
    pub mtu: u32,
    /// Docker's network, once it is there.
    pub network: Option<DockerNetwork>,
    /// What hinders it, in words for people, each with what to do.
    pub problems: Vec<String>,
}

/// Docker's network of this host's block.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerNetwork {
    /// Docker's id of it.
    pub id: String,
    /// Its name: the project network's.
    pub name: String,
    /// Addresses of all containers, if Docker says them.
    pub subnet: Option<Ipv4Net>,
    /// Those that Docker gives out here.
    pub block: Option<Ipv4Net>,
}

/// Keeps the network of this host as `catalog` wants it until `stop`: whatever `wake` or time tells it to look again, it reads the kernel and Docker
/// anew. Leaves everything in place when it ends: containers keep their network while the agent is away.
pub async fn run(
    options: Options,
    mut catalog: watch::Receiver<Arc<Catalog>>,
    state: watch::Sender<State>,
    wake: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut network = match Network::new(options) {
        Ok(network) => network,
        Err(error) => {
            let problems = vec![format!("the kernel's network cannot be reached: {error}")];
            state.send_modify(|state| state.problems = problems);
            stop.cancelled().await;
            return;
        }
    };
    let looking = async {
        loop {
            let known = catalog.borrow_and_update().clone();
            let now = network.settle(&known).await;
            state.send_if_modified(|state| {
                let is_new = *state != now;
                *state = now;
                is_new
            });
            network.wait(&mut catalog, &wake).await;
        }
    };
    // It may be cut anywhere: the next one begins by looking.
    stop.run_until_cancelled(looking).await;
}

/// Marks a socket that asks other resolvers, so that its questions are not brought to this host's own.
pub fn asks_others(socket: &impl std::os::fd::AsFd) {
    use nix::sys::socket::{setsockopt, sockopt};
    // Who may not, may not bring questions here either.
    setsockopt(socket, sockopt::Mark, &MARK).ok();
}

/// What is spoken to.
struct Tools {
    handle: Handle,
    docker: Docker,
    iptables: Iptables,
    wireguard: Wireguard,
}

/// What is remembered between two looks. Without it, all comes out the same, later.
#[derive(Default)]
struct Memory {
    /// What Docker has said last.
    engine: Engine,
    /// Resolvers that Docker's own may ask, the newest first.
    resolvers: Vec<Ipv4Addr>,
    /// WireGuard's keys, once they are needed.
    keys: Option<Keys>,
    /// Where WireGuard's peers were said to be when they were last set.
    told: BTreeMap<Key, SocketAddr>,
    /// What was wished last.
    wish: Wish,
    /// Whether ip6tables may hold something of ours.
    ip6tables: Ip6tables,
    /// What was told last.
    state: State,
    /// Since when the others know this host's next key.
    known_since: Option<Instant>,
}

/// The network of this host.
pub struct Network {
    options: Options,
    tools: Tools,
    memory: Memory,
    steps: usize,
}

impl Network {
    /// Speaks to the kernel of the network namespace that it is made in.
    ///
    /// # Errors
    /// When netlink cannot be opened.
    pub fn new(options: Options) -> std::io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        // Ends with the handle.
        tokio::spawn(connection);
        let tools = Tools {
            handle,
            docker: options.docker.clone(),
            iptables: Iptables::default(),
            wireguard: Wireguard::default(),
        };
        Ok(Self {
            options,
            tools,
            memory: Memory::default(),
            steps: 0,
        })
    }

    /// How many steps it has taken since it was made: none, when everything was as it should be.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Until there is a reason to look again. A change of the catalog is one only when it asks for another network: most are of containers that need
    /// no route of their own.
    async fn wait(&self, catalog: &mut watch::Receiver<Arc<Catalog>>, wake: &Notify) {
        let again = Instant::now() + self.next_look();
        loop {
            tokio::time::sleep(GATHER).await;
            tokio::select! {
                Ok(()) = catalog.changed() => {
                    let known = catalog.borrow_and_update().clone();
                    if desired::desired(&known, &self.options.own) != self.memory.wish {
                        return;
                    }
                }
                () = wake.notified() => return,
                () = tokio::time::sleep_until(again) => return,
            }
        }
    }

    /// When to look again if nothing happens.
    fn next_look(&self) -> Duration {
        let due = self
            .memory
            .known_since
            .map(|since| TOLD.saturating_sub(since.elapsed()));
        due.unwrap_or(AGAIN)
    }

    /// Looks and does until nothing is left to do, or something fails.
    pub async fn settle(&mut self, catalog: &Catalog) -> State {
        let mut state = State::default();
        for _ in 0..PLANS {
            let (steps, next) = self.round(catalog).await;
            state = next;
            if steps == 0 {
                return state;
            }
        }
        state.problems.push("the network of this host does not come to rest: does another program change it? See the agent's log".into());
        state
    }

    /// Looks once and does what can be done now. Gives how many steps that were; failed ones do not count.
    async fn round(&mut self, catalog: &Catalog) -> (usize, State) {
        let wish = desired::desired(catalog, &self.options.own);
        let mut problems = Vec::new();
        if let Err(error) = self.turn_keys(&wish).await {
            problems.push(api::problem::chain(&error));
        }
        let observed = match observe::observe(&mut self.tools, &self.memory).await {
            Ok(observed) => observed,
            Err(error) => {
                problems.push(api::problem::chain(&error));
                // What was there is still there, for all that is known.
                let state = self.memory.state.clone();
                return (0, State { problems, ..state });
            }
        };
        let plan = plan::plan(&wish, &observed);
        let errors = apply::apply(&mut self.tools, self.memory.keys.as_ref(), &plan.steps).await;
        problems.extend(plan.problems);
        problems.extend(errors.iter().map(|error| api::problem::chain(error)));
        let ours = observed.engine.ours().filter(|_| wish != Wish::Nothing);
        let network = ours.map(|ours| DockerNetwork {
            id: ours.id.clone(),
            name: ours.name.clone(),
            subnet: ours.made.subnet.parse().ok(),
            block: ours.made.range.parse().ok(),
        });
        self.memory.engine = observed.engine;
        self.memory.resolvers = observed.resolvers;
        self.memory.ip6tables = plan.ip6tables;
        if errors.is_empty() {
            self.memory.told = plan.told;
        }
        self.steps += plan.steps.len();
        let state = State {
            public_key: self.memory.keys.as_ref().map(Keys::to_tell),
            wireguard: observed.wireguard,
            mtu: plan.mtu,
            network,
            problems,
        };
        self.memory.state.clone_from(&state);
        self.memory.wish = wish;
        (plan.steps.len() - errors.len(), state)
    }

    /// A kernel that has WireGuard has a key, whether packets travel so or not: then they can at any time.
    async fn turn_keys(&mut self, wish: &Wish) -> Result<(), keys::Error> {
        // What cannot be asked is told by the look that follows.
        if !self.tools.wireguard.is_there().await.unwrap_or(false) {
            return Ok(());
        }
        let memory = &mut self.memory;
        let keys = match &mut memory.keys {
            Some(keys) => keys,
            none => none.insert(Keys::open(&self.options.folder)?),
        };
        let told = match wish {
            Wish::Network(desired) => desired.told_key,
            _ => return Ok(()),
        };
        let turn = keys.due(told);
        if turn == Turn::Switch {
            let since = *memory.known_since.get_or_insert_with(Instant::now);
            if since.elapsed() < TOLD {
                return Ok(());
            }
        }
        memory.known_since = None;
        keys.turn(turn)
    }
}

/// What could not be taken down.
#[derive(Debug, thiserror::Error)]
#[error("cannot take down {what}")]
pub struct TakeDownError {
    what: String,
}

/// Removes everything that carries this network's marks from the host: of Docker's only when it is there to be asked. May be run again.
///
/// # Errors
/// What stays.
pub async fn take_down(docker: Option<&Docker>, folder: &Path) -> Result<(), TakeDownError> {
    let mut failed: Vec<String> = Vec::new();
    match docker {
        Some(docker) => {
            if let Err(error) = docker_network::take_down(docker).await {
                failed.push(format!("Docker's network: {error}"));
            }
        }
        None => failed.push("Docker's network: there is no Docker to ask".into()),
    }
    if let Err(error) = take_down_kernel().await {
        failed.push(format!("links and routes: {error}"));
    }
    if let Err(error) = Iptables::take_down().await {
        failed.push(format!("firewall rules: {error}"));
    }
    if let Err(error) = Keys::forget(folder) {
        failed.push(format!("WireGuard's key: {error}"));
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(TakeDownError {
        what: failed.join("; "),
    })
}

async fn take_down_kernel() -> Result<(), String> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(|error| error.to_string())?;
    let running = tokio::spawn(connection);
    let kernel = kernel::observe(&handle)
        .await
        .map_err(|error| error.to_string())?;
    let observed = observe::Observed {
        kernel,
        ..observe::Observed::default()
    };
    let mut failed = Vec::new();
    for step in plan::plan(&Wish::Nothing, &observed).steps {
        if let Err(error) = apply::kernel(&handle, &step).await {
            failed.push(format!("{step}: {error}"));
        }
    }
    running.abort();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("; "))
    }
}
