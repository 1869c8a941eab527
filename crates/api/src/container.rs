//! Containers as their hosts see them. Nobody wishes them through this interface yet: the user's Docker starts them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::id::Id;
use crate::resource::{Kind, kind};

/// Labels by which people say to the cluster what Docker has no word for.
pub mod label {
    /// `true`: the container is in the project's network, whatever `--network` says.
    pub const NETWORK: &str = "io.rancher.container.network";
    /// Addresses in the project's network, with commas between them: the first that is free is the container's.
    pub const REQUESTED_IP: &str = "io.rancher.container.requested_ip";
    /// `false`: the container's questions to other name servers are left alone.
    pub const DNS: &str = "io.rancher.container.dns";
}

/// What is wished of a container: nothing yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ContainerSpec {}

/// Docker's states of a container (Docker API, `ContainerState.Status`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Made, never started.
    #[default]
    Created,
    /// Running.
    Running,
    /// Paused.
    Paused,
    /// Between two runs.
    Restarting,
    /// Ended.
    Stopped,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Port {
    /// Address of the host that is bound; empty: all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host_ip: String,
    /// Port of the host.
    pub public: u16,
    /// Port of the container.
    pub private: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

/// What is seen of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ContainerStatus {
    /// Where it is.
    pub host: Option<Id>,
    /// Docker's id of it.
    pub docker_id: String,
    /// As it was named.
    pub image: String,
    /// Its state.
    pub state: ContainerState,
    /// Its address in the project's network.
    #[schema(value_type = Option<String>)]
    pub address: Option<Ipv4Addr>,
    /// It is in its host's own network: its host's address is its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
    /// Its link address there.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Its own host name.
    pub hostname: String,
    /// Docker's labels of it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Published ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// When it was last started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started: Option<Timestamp>,
    /// What hinders its part in the cluster, in words for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

kind!(
    Container,
    ContainerKind,
    ContainerSpec,
    ContainerStatus,
    "container",
    "containers",
    "c",
    true
);

/// The id of a host's container: always the same, so that it may be told of twice, and by whoever sees it.
#[must_use]
pub fn id_of(host: &Id, docker_id: &str) -> Id {
    let digest = Sha256::digest(format!("{host}/{docker_id}"));
    let bits = digest
        .iter()
        .take(8)
        .fold(0, |bits, byte| (bits << 8) | u64::from(*byte));
    Id::from_bits(ContainerKind::PREFIX, bits)
}
