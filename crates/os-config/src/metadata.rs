//! What a datasource says about the machine (`/var/lib/rancher/conf/metadata`), and how it fills gaps.
//! Owns the file's format and the fill rules; reading and writing the file is `store`'s.

use crate::types::Ordered;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The metadata of the machine. Empty fields are not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Host name, used when the configuration has none.
    #[serde(rename = "Hostname")]
    pub hostname: String,
    /// Public keys by name, appended to `ssh_authorized_keys` in the order of the names.
    #[serde(rename = "SSHPublicKeys")]
    pub ssh_public_keys: Ordered<String>,
    /// A `rancher.network` map, or null.
    #[serde(rename = "NetworkConfig")]
    pub network_config: Value,
    /// Disk of the root file system, for `rancher.resize_device`.
    #[serde(rename = "RootDisk")]
    pub root_disk: String,
    /// `$public_ipv4`
    #[serde(rename = "PublicIPv4")]
    pub public_ipv4: String,
    /// `$public_ipv6`
    #[serde(rename = "PublicIPv6")]
    pub public_ipv6: String,
    /// `$private_ipv4`
    #[serde(rename = "PrivateIPv4")]
    pub private_ipv4: String,
    /// `$private_ipv6`
    #[serde(rename = "PrivateIPv6")]
    pub private_ipv6: String,
}
