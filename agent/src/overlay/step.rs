//! The steps of a plan, each with its reason. Pure.

use std::fmt;

use super::docker_network::Bridge;
use super::firewall::{Chains, Family};
use super::kernel::{Mac, Neighbour, Route, Vxlan};
use super::tunnel::Change;
use super::{SERVICES, VXLAN, WIREGUARD};

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A setting of the kernel.
    Set { path: String, value: &'static str },
    /// Docker's network; whether its engine filters.
    MakeNetwork { bridge: Bridge, filters: bool },
    /// Docker's network is to be another one, or not to be.
    RemoveNetwork { id: String, why: String },
    /// The VXLAN.
    MakeVxlan { vxlan: Vxlan, mac: Mac, mtu: u32 },
    /// WireGuard's link.
    MakeWireguard { mtu: u32 },
    /// What WireGuard's link is to be set to.
    Tunnel(Change),
    /// A link of ours.
    RemoveLink {
        index: u32,
        name: String,
        why: &'static str,
    },
    /// A link of ours has another MTU.
    Mtu {
        index: u32,
        name: String,
        from: u32,
        to: u32,
    },
    /// A link of ours is down.
    Up { index: u32, name: String },
    /// The address of names and metadata, on the loopback link.
    AddServices { index: u32 },
    /// The same is not wanted any more.
    RemoveServices { index: u32 },
    /// A route.
    AddRoute { route: Route, name: String },
    /// A route of ours that is not wanted any more.
    RemoveRoute { route: Route, name: String },
    /// An entry of a VXLAN's tables.
    AddNeighbour { index: u32, neighbour: Neighbour },
    /// The same is not wanted any more.
    RemoveNeighbour { index: u32, neighbour: Neighbour },
    /// What iptables-restore is to be told, and the chains that are there then.
    Firewall {
        family: Family,
        text: String,
        chains: Chains,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { path, value } => write!(
                f,
                "set {path} to {value}: packets between containers and hosts need it"
            ),
            Self::MakeNetwork { bridge, .. } => write!(
                f,
                "make Docker's network {} ({} of {}, mtu {}): it is not there",
                bridge.name, bridge.made.range, bridge.made.subnet, bridge.made.mtu
            ),
            Self::RemoveNetwork { why, .. } => write!(f, "remove Docker's network: {why}"),
            Self::MakeVxlan { vxlan, mtu, .. } => {
                write!(
                    f,
                    "make link {VXLAN} (id {}, port {}, mtu {mtu}): it is not there",
                    vxlan.id, vxlan.port
                )
            }
            Self::MakeWireguard { mtu } => {
                write!(f, "make link {WIREGUARD} (mtu {mtu}): it is not there")
            }
            Self::Tunnel(change) => write!(f, "{change}"),
            Self::RemoveLink { name, why, .. } => write!(f, "remove link {name}: {why}"),
            Self::Mtu { name, from, to, .. } => write!(
                f,
                "set the mtu of {name} from {from} to {to}: that is what fits"
            ),
            Self::Up { name, .. } => write!(f, "set link {name} up: it is down"),
            Self::AddServices { .. } => write!(
                f,
                "add {SERVICES} to the loopback link: names and metadata are there"
            ),
            Self::RemoveServices { .. } => write!(
                f,
                "remove {SERVICES} from the loopback link: there is no network"
            ),
            Self::AddRoute { route, name } => {
                write!(f, "route {} by {name}: containers are there", route.to)
            }
            Self::RemoveRoute { route, name } => write!(
                f,
                "remove the route {} by {name}: nothing is there any more",
                route.to
            ),
            Self::AddNeighbour { neighbour, .. } => {
                write!(f, "add {neighbour} to {VXLAN}: a host is there")
            }
            Self::RemoveNeighbour { neighbour, .. } => write!(
                f,
                "remove {neighbour} from {VXLAN}: no host is there any more"
            ),
            Self::Firewall { family, text, .. } => {
                write!(
                    f,
                    "load {} lines of firewall rules ({family:?}): ours are not as they should be",
                    text.lines().count()
                )
            }
        }
    }
}
