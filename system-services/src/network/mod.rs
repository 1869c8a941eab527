//! `ros netconf`: the network, main process of container `network`.
//!
//! Owns the addresses and default routes that carry our mark (`observe::MARK`), the links of our groups (`observe::MADE`), the DHCP clients, `/etc/resolv.conf`, the own lines of
//! `/etc/hosts`, the host name once DHCP may give it, and `/run/network-done`. Level-triggered: a link that appears, a lease or a timer only
//! wakes it; then it reads everything, plans, and carries the plan out. It needs no udev and starts at once.

mod apply;
mod bond;
mod cidr;
mod complaint;
mod desired;
mod dhcp;
mod links;
mod names;
mod observe;
mod plan;
#[cfg(test)]
mod plan_tests;
#[cfg(test)]
mod stack_tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use os_config::effects::Reader;
use os_config::store::load_running;
use os_config::{Config, Loaded, Problem};
use rtnetlink::{Handle, MulticastGroup};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use self::apply::Refused;
use self::desired::Desired;
use self::dhcp::Dhcp;
use self::observe::{Observed, observe};
use self::plan::{Known, Step};
use crate::applied;
use crate::files;
use crate::log::{Chain, Log};

const LOG: Log = Log::of("netconf");
/// Until the network is done, what nothing announces (udev's stamp, a deadline) is looked at this often.
const GLANCE: Duration = Duration::from_millis(200);
/// Several events come together: the plan waits this long for the others.
const GATHER: Duration = Duration::from_millis(20);

/// Written to the wake-up pipe by whoever changed the configuration; the DHCP hook writes link names.
const RELOAD: &str = "/reload";

/// Where files are; other in tests.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Our own files: leases, the client's configuration, the wake-up pipe.
    pub folder: PathBuf,
    /// `/etc`
    pub etc: PathBuf,
    /// `/run`
    pub run: PathBuf,
    /// What dhcpcd runs at each change of a lease.
    pub dhcp_hook: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            folder: "/run/ros/network".into(),
            etc: "/etc".into(),
            run: "/run".into(),
            dhcp_hook: "/usr/lib/ros/dhcp-hook".into(),
        }
    }
}

/// Why the network cannot be set up at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime, a signal or a pipe cannot be had.
    #[error("cannot {0}")]
    Setup(&'static str, #[source] io::Error),
    /// The kernel's announcements have ended.
    #[error("the kernel no longer tells about links")]
    Deaf,
    /// netlink fails.
    #[error("cannot read the state of the network")]
    Observe(#[source] rtnetlink::Error),
}

/// `ros netconf`: runs until SIGTERM. SIGHUP reads the configuration again.
///
/// # Errors
/// When the kernel's side cannot be reached; the service manager starts us again.
pub fn run() -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Setup("start the runtime", error))?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())
            .map_err(|error| Error::Setup("take over signals", error))?;
        let stop = async {
            terminate.recv().await;
        };
        let load = || {
            let loaded = load_running();
            applied::note(LOG, Reader::Network, &loaded);
            loaded.config
        };
        serve(&Paths::default(), load, stop).await
    })
}

/// What of `rancher.network.interfaces` cannot be done as configured, with its place in the files.
#[must_use]
pub fn complaints(loaded: &Loaded) -> Vec<Problem> {
    Desired::of(&loaded.config)
        .complaints
        .iter()
        .map(|complaint| complaint.placed(loaded))
        .collect()
}

/// Has the running service, if there is one, read the configuration again.
///
/// # Errors
/// When it runs and cannot be told.
pub fn reload(paths: &Paths) -> io::Result<()> {
    let path = paths.folder.join("wake");
    if !path.exists() {
        return Ok(());
    }
    // Opened for reading too, so that it does not wait when nobody listens.
    let mut pipe = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)?;
    writeln!(pipe, "{RELOAD}")
}

/// The service itself, with its files under `paths` and the configuration that `load` reads, until `stop`.
///
/// # Errors
/// As [`run`].
pub async fn serve(
    paths: &Paths,
    load: impl Fn() -> Config,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let (connection, handle, mut links) =
        rtnetlink::new_multicast_connection(&[MulticastGroup::Link])
            .map_err(|error| Error::Setup("open a netlink socket", error))?;
    tokio::spawn(connection);
    let listen = |kind| signal(kind).map_err(|error| Error::Setup("take over signals", error));
    let mut reload: Signal = listen(SignalKind::hangup())?;
    let mut children: Signal = listen(SignalKind::child())?;
    let mut netconf = Netconf::new(paths, handle, load())?;
    let mut wake =
        wake_pipe(&paths.folder).map_err(|error| Error::Setup("make the wake-up pipe", error))?;
    let mut bytes = [0_u8; 256];
    let mut stop = std::pin::pin!(stop);

    netconf.begin().await;
    loop {
        let again = netconf.settle().await?;
        tokio::select! {
            () = &mut stop => break,
            _ = reload.recv() => netconf.reload(load()),
            _ = children.recv() => {}
            Ok(read) = wake.read(&mut bytes) => {
                if String::from_utf8_lossy(&bytes[..read]).lines().any(|line| line == RELOAD) {
                    netconf.reload(load());
                }
            }
            event = links.next() => {
                if event.is_none() {
                    return Err(Error::Deaf);
                }
                tokio::time::sleep(GATHER).await;
                while let Some(Some(_)) = futures_util::FutureExt::now_or_never(links.next()) {}
            }
            () = sleep_until(again) => {}
        }
    }
    netconf.dhcp.stop().await;
    Ok(())
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// The pipe that the DHCP hook writes to. Opened for writing too, so that it never reads as closed.
fn wake_pipe(folder: &Path) -> io::Result<pipe::Receiver> {
    let path = folder.join("wake");
    match nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)) {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    pipe::OpenOptions::new()
        .read_write(true)
        .open_receiver(path)
}

/// The service's memory.
struct Netconf {
    paths: Paths,
    handle: Handle,
    config: Config,
    desired: Desired,
    known: Known,
    refused: Refused,
    obstacles: Vec<String>,
    dhcp: Dhcp,
    started: Instant,
    done: bool,
    host_name: String,
}

impl Netconf {
    fn new(paths: &Paths, handle: Handle, config: Config) -> Result<Self, Error> {
        let desired = Desired::of(&config);
        Ok(Self {
            dhcp: Dhcp::new(&paths.folder, &paths.dhcp_hook)
                .map_err(|error| Error::Setup("make /run/ros/network", error))?,
            paths: paths.clone(),
            handle,
            desired,
            config,
            known: Known::default(),
            refused: Refused::default(),
            obstacles: Vec::new(),
            started: Instant::now(),
            done: false,
            host_name: String::new(),
        })
    }

    async fn begin(&self) {
        for complaint in &self.desired.complaints {
            LOG.warn(complaint);
        }
        hooks(&self.config.rancher.network.pre_cmds).await;
    }

    /// Takes a new configuration: every link is met for the first time again.
    fn reload(&mut self, config: Config) {
        LOG.info("reading the configuration again");
        self.desired = Desired::of(&config);
        for complaint in &self.desired.complaints {
            LOG.warn(complaint);
        }
        self.config = config;
        self.known = Known::default();
        self.refused = Refused::default();
        self.obstacles.clear();
    }

    /// Brings everything to what is wanted; returns when to look again though nothing happens.
    async fn settle(&mut self) -> Result<Option<Instant>, Error> {
        let observed = observe(&self.handle).await.map_err(Error::Observe)?;
        let plan = plan::plan(&self.desired, &observed, &self.known);
        self.report(&plan.obstacles);
        self.dhcp.let_go(&plan.dhcp).await;
        let again = apply::apply(&self.handle, &plan.steps, &mut self.refused).await;
        self.remember(&plan);
        if let Err(error) = self.dhcp.keep(&plan.dhcp) {
            LOG.error(format_args!("DHCP client: {error}"));
        }
        let retry = self.dhcp.revive();
        self.write_names();
        // The kernel takes more with an address than the address: routes, and others of its network. No event tells of that.
        let takes = |step: &Step| matches!(step, Step::RemoveAddress { .. });
        let moved = plan
            .steps
            .iter()
            .any(|step| takes(step) && !self.refused.holds(step));
        if !self.done && !moved && self.is_done(&plan, &observed) {
            self.finish().await;
        }
        let glance = (!self.done || moved).then(|| Instant::now() + GLANCE);
        Ok([retry, glance, again].into_iter().flatten().min())
    }

    /// Says what stands in the way, once.
    fn report(&mut self, obstacles: &[String]) {
        for obstacle in obstacles {
            if !self.obstacles.contains(obstacle) {
                LOG.error(obstacle);
            }
        }
        self.obstacles = obstacles.to_vec();
    }

    fn remember(&mut self, plan: &plan::Plan) {
        self.known.links.clone_from(&plan.links);
        self.known.unopened.clear();
        for step in &plan.steps {
            match step {
                Step::Make { name, .. } => drop(self.known.made.insert(name.clone())),
                Step::Up { link } if self.refused.holds(step) => {
                    self.known.unopened.insert(link.index);
                }
                _ => {}
            }
        }
    }

    /// Every static link that is named is there and one lease has come; or no more can be expected in time.
    fn is_done(&self, plan: &plan::Plan, observed: &Observed) -> bool {
        let limit = Duration::from_secs(u64::from(self.config.dhcp_timeout()));
        if self.started.elapsed() >= limit {
            LOG.warn(format_args!(
                "no lease or link for {} s; going on without",
                limit.as_secs()
            ));
            return true;
        }
        let builds = |step: &Step| step.builds() && !self.refused.holds(step);
        if !self.desired.missing(observed).is_empty() || plan.steps.iter().any(builds) {
            return false;
        }
        if plan.links.is_empty() {
            // No link at all: perhaps its driver is still to be loaded.
            return self.paths.run.join("udev-done").exists();
        }
        plan.dhcp.is_empty() || !self.dhcp.leases().is_empty()
    }

    async fn finish(&mut self) {
        self.done = true;
        hooks(&self.config.rancher.network.post_cmds).await;
        let stamp = self.paths.run.join("network-done");
        match std::fs::write(&stamp, "") {
            Ok(()) => LOG.info(format_args!(
                "network is up after {} ms",
                self.started.elapsed().as_millis()
            )),
            Err(error) => LOG.error(format_args!("{}: {error}", stamp.display())),
        }
    }

    fn write_names(&mut self) {
        let leases = self.dhcp.leases();
        let write = |name: &str, text: &str| {
            let path = self.paths.etc.join(name);
            if let Err(error) = files::rewrite(&path, text.as_bytes()) {
                LOG.error(format_args!("{}: {error}", path.display()));
            }
        };
        write("resolv.conf", &names::resolv_conf(&self.config, &leases));
        let host_name = names::host_name(&self.config, &leases);
        let old = std::fs::read_to_string(self.paths.etc.join("hosts")).unwrap_or_default();
        write("hosts", &names::hosts(&old, host_name));
        // Once for each name: one that the user gives by hand stays until ours changes.
        if self.host_name != host_name {
            set_host_name(host_name);
            self.host_name = host_name.to_owned();
        }
    }
}

/// Through /proc, which asks for no CAP_SYS_ADMIN.
fn set_host_name(name: &str) {
    let present = rustix::system::uname();
    if present.nodename().to_bytes() == name.as_bytes() {
        return;
    }
    if let Err(error) = kernel::sysctl::set("kernel.hostname", name) {
        LOG.error(Chain(&error));
    }
}

async fn hooks(commands: &[String]) {
    for command in commands {
        LOG.info(format_args!("running {command}"));
        if let Err(error) = apply::run(command).await {
            LOG.error(Chain(&error));
        }
    }
}
