//! Networks between the hosts of a project.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::resource::kind;

/// How packets travel from host to host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encapsulation {
    /// WireGuard: encrypted and authenticated, UDP.
    #[default]
    Wireguard,
    /// VXLAN (RFC 7348): not encrypted, for networks that are trusted.
    Vxlan,
    /// Plain routes: hosts must share a link.
    Direct,
}

impl Encapsulation {
    /// The UDP port that it usually has; none: it uses none.
    #[must_use]
    pub fn usual_port(self) -> Option<u16> {
        match self {
            Self::Wireguard => Some(51_820),
            Self::Vxlan => Some(4789),
            Self::Direct => None,
        }
    }

    /// Bytes that each packet grows by, over IPv4 and (6) IPv6.
    #[must_use]
    pub fn overhead(self, over_ipv6: bool) -> u32 {
        let ip = if over_ipv6 { 40 } else { 20 };
        match self {
            // UDP, then the data message's header and tag (WireGuard paper, 5.4.6).
            Self::Wireguard => ip + 8 + 32,
            // UDP, VXLAN, and the inner Ethernet header.
            Self::Vxlan => ip + 8 + 8 + 14,
            Self::Direct => 0,
        }
    }
}

/// What is wished of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkSpec {
    /// Addresses of all its containers. Cannot be changed while a host has a block of it.
    #[schema(value_type = String, example = "10.42.0.0/16")]
    pub subnet: Ipv4Net,
    /// Prefix length of the block that each host gets.
    pub block_prefix: u8,
    /// How packets travel.
    pub encapsulation: Encapsulation,
    /// UDP port of the encapsulation on every host; none: its usual one.
    pub port: Option<u16>,
    /// Largest packet; none: found out by each host from its own links.
    pub mtu: Option<u32>,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self {
            subnet: Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 42, 0, 0), 16),
            block_prefix: 24,
            encapsulation: Encapsulation::default(),
            port: None,
            mtu: None,
        }
    }
}

/// What is seen of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct NetworkStatus {
    /// Blocks that hosts have, when it is asked for.
    pub blocks_used: u32,
    /// Blocks that it has.
    pub blocks: u32,
}

kind!(
    Network,
    NetworkKind,
    NetworkSpec,
    NetworkStatus,
    "network",
    "networks",
    "n",
    true
);
