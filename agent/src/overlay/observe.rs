//! Reads the kernel, Docker and the firewall into a plain struct. Changes nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::desired::Key;
use super::docker_network::{self, Engine};
use super::firewall::{Family, Loaded};
use super::iptables;
use super::kernel::{self, Kernel};
use super::tunnel::Tunnel;
use super::{BRIDGE, Memory, Tools, WIREGUARD, wireguard};
use crate::dns::Files;

/// A Docker that takes longer is one that does not answer: the others' hosts come and go meanwhile.
const DOCKER_PATIENCE: Duration = Duration::from_secs(10);

/// Resolvers that are known at most: a host that wanders has others everywhere.
const RESOLVERS: usize = 8;

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Links, addresses, routes, neighbours.
    pub kernel: Kernel,
    /// Settings of the kernel that we look after, by path below `/proc/sys`; those that are not there are missing.
    pub settings: BTreeMap<String, String>,
    /// What Docker says, or has said last.
    pub engine: Engine,
    /// Docker does not answer: why.
    pub engine_down: Option<String>,
    /// Resolvers that Docker's own may ask, for containers that start now and for those that run.
    pub resolvers: Vec<Ipv4Addr>,
    /// The firewall.
    pub firewall: BTreeMap<Family, Loaded>,
    /// Whether the kernel has WireGuard.
    pub wireguard: bool,
    /// What WireGuard's link is set to, if it is there.
    pub tunnel: Option<Tunnel>,
    /// This host's public key.
    pub public: Option<Key>,
    /// Where WireGuard's peers were said to be when they were last set.
    pub told: BTreeMap<Key, SocketAddr>,
}

/// Whether ip6tables may hold something of ours: it is not asked without a reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ip6tables {
    /// It may: nobody has looked yet, or something of ours is there or should be.
    #[default]
    Asked,
    /// It does not, and nothing is to be there.
    Left,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not answer.
    #[error("the kernel's links and routes cannot be read")]
    Kernel(#[source] rtnetlink::Error),
    /// The firewall cannot be read.
    #[error("the firewall cannot be read")]
    Firewall(#[source] iptables::Error),
    /// WireGuard cannot be read.
    #[error("WireGuard cannot be read")]
    Wireguard(#[source] wireguard::Error),
}

/// Path of the setting that lets a host pass packets on.
pub const FORWARD: &str = "net/ipv4/ip_forward";

/// Settings that we look after, with the values that they need.
///
/// The bridge answers for addresses that are routed elsewhere (containers believe the whole subnet on their link), at once and not after a
/// random delay of up to 0.8 s.
#[must_use]
pub fn settings() -> [(String, &'static str); 3] {
    [
        (FORWARD.to_owned(), "1"),
        (format!("net/ipv4/conf/{BRIDGE}/proxy_arp"), "1"),
        (format!("net/ipv4/neigh/{BRIDGE}/proxy_delay"), "0"),
    ]
}

/// Reads it all. While Docker does not answer, what it said last stands for what it would say: its containers may go on without it.
///
/// # Errors
/// When the kernel or the firewall cannot be read.
pub async fn observe(tools: &mut Tools, memory: &Memory) -> Result<Observed, Error> {
    let kernel = kernel::observe(&tools.handle)
        .await
        .map_err(Error::Kernel)?;
    let asked = docker_network::observe(&tools.docker);
    let (engine, engine_down) = match tokio::time::timeout(DOCKER_PATIENCE, asked).await {
        Ok(Ok(engine)) => (engine, None),
        Ok(Err(error)) => (memory.engine.clone(), Some(api::problem::chain(&error))),
        Err(_) => (memory.engine.clone(), Some("it takes too long".into())),
    };
    let wireguard = tools.wireguard.is_there().await.map_err(Error::Wireguard)?;
    let tunnel = match kernel.link(WIREGUARD) {
        Some(link) if link.kind == "wireguard" => {
            Some(tools.wireguard.observe().await.map_err(Error::Wireguard)?)
        }
        _ => None,
    };
    let read = |(path, _): &(String, &str)| {
        let value = std::fs::read_to_string(Path::new("/proc/sys").join(path)).ok()?;
        Some((path.clone(), value.trim().to_owned()))
    };
    Ok(Observed {
        kernel,
        settings: settings().iter().filter_map(read).collect(),
        engine,
        engine_down,
        resolvers: resolvers(crate::dns::asked_by_docker(&Files::default()), memory),
        firewall: firewall(tools, memory.ip6tables).await?,
        wireguard,
        tunnel,
        public: memory.keys.as_ref().map(super::keys::Keys::public),
        told: memory.told.clone(),
    })
}

/// The resolvers of now, and then those that containers were started with since the agent is there: Docker does not tell them of a change.
fn resolvers(now: Vec<Ipv4Addr>, memory: &Memory) -> Vec<Ipv4Addr> {
    let mut all = now;
    for before in &memory.resolvers {
        if !all.contains(before) {
            all.push(*before);
        }
    }
    all.truncate(RESOLVERS);
    all
}

async fn firewall(
    tools: &mut Tools,
    ip6tables: Ip6tables,
) -> Result<BTreeMap<Family, Loaded>, Error> {
    let loaded = tools.iptables.observe(Family::V4).await;
    let mut firewall = BTreeMap::from([(Family::V4, loaded.map_err(Error::Firewall)?)]);
    // Without ip6tables there is nothing of ours in it.
    if ip6tables == Ip6tables::Asked
        && let Ok(loaded) = tools.iptables.observe(Family::V6).await
    {
        firewall.insert(Family::V6, loaded);
    }
    Ok(firewall)
}

/// Whether an address is one of this host's.
#[must_use]
pub fn is_own(kernel: &Kernel, address: IpAddr) -> bool {
    kernel
        .addresses
        .iter()
        .any(|(_, net)| net.addr() == address)
}

/// Addresses of containers on this host that run.
pub fn containers(engine: &Engine) -> impl Iterator<Item = Ipv4Addr> + '_ {
    engine.members.iter().filter_map(|member| member.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_of_before_are_still_asked() {
        let [old, new] = [Ipv4Addr::new(192, 0, 2, 53), Ipv4Addr::new(127, 0, 0, 1)];
        let memory = Memory {
            resolvers: vec![old],
            ..Memory::default()
        };
        assert_eq!(resolvers(vec![new], &memory), [new, old]);
        assert_eq!(resolvers(vec![old], &memory), [old]);
        let many: Vec<Ipv4Addr> = (0..9).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
        assert_eq!(resolvers(many.clone(), &memory), many[..RESOLVERS]);
    }
}
