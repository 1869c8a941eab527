//! What an agent and a server say to each other, over mutual TLS, always on the agent's initiative.
//!
//! An agent joins once ([`JoinRequest`]), then keeps one stream open ([`Frame`]s, newline-delimited JSON in HTTP's content coding `deflate`)
//! and sends [`Report`]s beside it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::container::{ContainerState, ContainerStatus, Port};
use crate::host::{HostFacts, HostState, Reach};
use crate::id::Id;
use crate::network::NetworkSpec;

/// The first contact. The agent has checked the server's CA by the hash in the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The join token.
    pub token: String,
    /// Name that the host wishes.
    pub name: String,
    /// Labels that the host wishes.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Address at which the other hosts reach it.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// PKCS #10 request for its certificate, PEM. Only the key of it is used.
    pub csr: String,
    /// What it is.
    #[serde(default)]
    pub facts: HostFacts,
}

/// The host's identity from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinAnswer {
    /// Its id.
    pub host: Id,
    /// Its name: as it wished, or with a number when that was taken.
    pub name: String,
    /// Its project.
    pub project: Id,
    /// Name of the project.
    pub project_name: String,
    /// Its certificate, PEM.
    pub certificate: String,
    /// The CA's certificate, PEM.
    pub ca: String,
}

/// A new certificate before the old one ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewRequest {
    /// PKCS #10 request, PEM. Only the key of it is used.
    pub csr: String,
}

/// A host takes itself out of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LeaveRequest {
    /// The instance of the agent that runs on the machine that asks; empty: none runs there. While another one is connected with the
    /// host's identity, the request comes from a copy of the host and is refused.
    pub instance: String,
}

/// The answer to [`RenewRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RenewAnswer {
    /// The certificate, PEM.
    pub certificate: String,
    /// The CA's certificate, PEM.
    pub ca: String,
}

/// What a host must know of its project's network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkFact {
    /// Its id.
    pub id: Id,
    /// Its name: also that of Docker's network.
    pub name: String,
    /// What is wished of it.
    pub spec: NetworkSpec,
}

/// What a host must know of each host of its project, itself among them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostFact {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Its own host name.
    #[serde(default)]
    pub hostname: String,
    /// Where it is reached.
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// Its block.
    #[schema(value_type = Option<String>)]
    pub block: Option<Ipv4Net>,
    /// WireGuard's public key, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Whether it is heard of.
    pub state: HostState,
}

/// What a host must know of each container of its project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContainerFact {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub host: Id,
    /// Its address in the network.
    #[schema(value_type = Option<String>)]
    pub address: Option<Ipv4Addr>,
    /// It is in its host's own network: its host's address is its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host_network: bool,
    /// Its state.
    pub state: ContainerState,
    /// Docker's id of it.
    pub docker_id: String,
    /// Its own host name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Its link address in the network.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Docker's labels of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Published ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
}

/// One thing that has come, changed or gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// A network is as given.
    Network(NetworkFact),
    /// A host is as given.
    Host(HostFact),
    /// A container is as given.
    Container(ContainerFact),
    /// A network is gone.
    NoNetwork(Id),
    /// A host is gone.
    NoHost(Id),
    /// A container is gone.
    NoContainer(Id),
}

/// One line of an agent's stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Frame {
    /// Everything, instead of what was known before.
    Whole {
        /// Name of the store's history: revisions of another one mean nothing.
        store: String,
        /// Revision that this shows.
        revision: u64,
        /// All of it.
        facts: Vec<Fact>,
    },
    /// What has changed between two revisions. An agent at `from`, or between the two, takes it: each fact is as it is at `to`. One that is
    /// elsewhere has missed something, and asks anew.
    Changes {
        /// Revision that it builds on.
        from: u64,
        /// Revision that it leads to.
        to: u64,
        /// In any order: one for each thing.
        facts: Vec<Fact>,
    },
    /// Nothing has changed; the server lives.
    Alive {
        /// Revision up to which everything was told: an agent that has not come so far has missed something.
        revision: u64,
        /// The name that the store's history has now: what the agent knows is good, and goes by this name from here on. None: as before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        store: Option<String>,
    },
    /// Where the servers are reached, `https://host:port`: any of them will do. Told at the beginning and when it changes; a server that
    /// knows of no name that it is reached by does not stand here.
    Servers {
        /// In any order.
        urls: Vec<String>,
    },
    /// The host was removed: take down what was set up, and end.
    Removed,
}

/// What a host tells of itself and its containers. Idempotent: it may come twice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Report {
    /// Random, by each start of the agent: tells a restart from a second machine with the same identity.
    pub instance: String,
    /// Counts the reports of this instance.
    pub sequence: u64,
    /// What the host is; none: as before.
    pub facts: Option<HostFacts>,
    /// Address that it speaks from, once it has left the one that the other hosts are told; none: as before. One that the report does not come
    /// from is not taken: there is a NAT in between.
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// WireGuard's public key, base64; none: as before.
    pub public_key: Option<String>,
    /// What hinders the host; none: as before.
    pub problems: Option<Vec<String>>,
    /// How it reaches the others; none: as before.
    pub reach: Option<Reach>,
    /// True: containers that are not named here are gone.
    pub whole: bool,
    /// Containers that are new or have changed, by Docker's id, with their names.
    pub containers: Vec<Seen>,
    /// Containers that are gone, by Docker's id.
    pub gone: Vec<String>,
}

/// The answer to a [`Report`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reported {
    /// Revision of the store that holds it.
    pub revision: u64,
}

/// A container as its host sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Seen {
    /// Docker's name of it, without the slash.
    pub name: String,
    /// The rest.
    pub status: ContainerStatus,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_small() {
        let fact = Fact::Container(ContainerFact {
            id: Id::from_bits("c", 1),
            name: "web".into(),
            host: Id::from_bits("h", 2),
            address: Some(Ipv4Addr::new(10, 42, 3, 7)),
            host_network: false,
            state: ContainerState::Running,
            docker_id: "0".repeat(64),
            hostname: "000000000000".into(),
            mac: "02:42:0a:2a:03:07".into(),
            labels: BTreeMap::new(),
            ports: Vec::new(),
        });
        let frame = Frame::Changes {
            from: 7,
            to: 8,
            facts: vec![fact],
        };
        let text = serde_json::to_string(&frame).unwrap();
        assert!(text.len() < 360, "{} bytes: {text}", text.len());
        assert_eq!(serde_json::from_str::<Frame>(&text).unwrap(), frame);
    }
}
