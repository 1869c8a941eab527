//! Hosts: machines with a Docker and an agent.

use std::net::IpAddr;

use ipnet::Ipv4Net;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
}

kind!(
    Host, HostKind, HostSpec, HostStatus, "host", "hosts", "h", true
);
