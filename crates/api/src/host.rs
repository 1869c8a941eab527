//! Hosts: machines with a Docker and an agent.

use std::net::IpAddr;

use ipnet::Ipv4Net;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::Id;
use crate::resource::kind;

/// What is wished of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HostSpec {
    /// Address at which the other hosts reach it; none: the one it reaches the server from.
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
}

/// How well the server hears of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
    /// It has joined and was never heard of since.
    #[default]
    Joining,
    /// It speaks.
    Connected,
    /// It has been silent for a moment.
    Reconnecting,
    /// It has been silent for long.
    Disconnected,
}

/// What a host tells of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HostFacts {
    /// As `uname -n` says it.
    pub hostname: String,
    /// `PRETTY_NAME` of os-release.
    pub os: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Version of Docker.
    pub docker: String,
    /// Version of the agent.
    pub agent: String,
    /// Processors.
    pub processors: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Whether its kernel has WireGuard.
    pub wireguard: bool,
    /// MTU of the link it reaches the others by.
    pub mtu: u32,
}

/// How a host reaches another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerReach {
    /// The other one.
    pub host: Id,
    /// Whether it answers through the project's network.
    pub reachable: bool,
    /// Time there and back, the least of a few, microseconds; none: no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u32>,
    /// Whether packets as large as the network lets them be come through; none: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu_ok: Option<bool>,
    /// Whether it answers at its own address, beside the project's network; none: not asked. A firewall may keep that from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<bool>,
    /// Since when it has been reachable, or not.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
}

/// How a host reaches the others, as it finds out by itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Reach {
    /// When it has found this out; what has hardly changed since is not told again. None: it has not looked yet.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// How far its clock is ahead of the server's, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_skew_ms: Option<i64>,
    /// The others, at most [`Reach::MOST`]: those that are not reached well, before the rest.
    pub peers: Vec<PeerReach>,
}

impl Reach {
    /// Most hosts that are told of. All that are not well fit into it unless most of a large project is away.
    pub const MOST: usize = 64;
}

/// What is seen of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HostStatus {
    /// Whether it is heard of.
    pub state: HostState,
    /// Since when.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
    /// Address at which the other hosts reach it.
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// Its block of the project's network.
    #[schema(value_type = Option<String>)]
    pub block: Option<Ipv4Net>,
    /// WireGuard's public key, base64; made on the host, where the private one stays.
    pub public_key: Option<String>,
    /// What it tells of itself.
    pub facts: HostFacts,
    /// What hinders it, in words for people.
    pub problems: Vec<String>,
    /// How it reaches the others.
    pub reach: Reach,
}

kind!(
    Host, HostKind, HostSpec, HostStatus, "host", "hosts", "h", true
);
