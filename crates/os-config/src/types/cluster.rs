//! The part of this machine in a cluster. Owns names, types and defaults only.

use super::{Ordered, Secret};
use serde::{Deserialize, Serialize};

/// `rancher.cluster`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// Whether and how this machine runs a server.
    pub server: ServerSwitch,
    /// Addresses of the servers of the cluster that this machine joins, `https://host[:port]`. Empty: it joins none.
    pub join: Vec<String>,
    /// Join token.
    pub token: Secret,
    /// Name in the cluster; `None`: the host name.
    pub name: Option<String>,
    /// Address at which the other hosts reach this one; `None`: the one by which it reaches the server.
    pub address: Option<String>,
    /// Labels of the host.
    pub labels: Ordered<String>,
}

/// `rancher.cluster.server`: true, or how the server runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ServerSwitch {
    /// With defaults, or not at all.
    Flag(bool),
    /// As it says.
    Settings(ServerSettings),
}

impl Default for ServerSwitch {
    fn default() -> Self {
        Self::Flag(false)
    }
}

impl ServerSwitch {
    /// How the server runs; `None`: there is none.
    #[must_use]
    pub fn settings(&self) -> Option<ServerSettings> {
        match self {
            Self::Flag(false) => None,
            Self::Flag(true) => Some(ServerSettings::default()),
            Self::Settings(settings) => Some(settings.clone()),
        }
    }
}

/// How a server of a cluster runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerSettings {
    /// `address:port` to listen on; `None`: all addresses, port 6440.
    pub listen: Option<String>,
    /// Names and addresses under which it is reached.
    pub names: Vec<String>,
    /// Folder of its state.
    pub data: Option<String>,
    /// `https://host:2379` of each member of an etcd that keeps the state instead.
    pub etcd: Vec<String>,
    /// File with the certificate of the CA that has signed etcd's.
    pub etcd_ca: Option<String>,
    /// File with the certificate to show to etcd.
    pub etcd_cert: Option<String>,
    /// File with the key of it.
    pub etcd_key: Option<String>,
}
