//! `rancher.network`: interfaces, DNS, proxies, Wi-Fi and modems. Owns names and types only.

use super::{Ordered, Secret};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The network as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// By interface name, glob (`eth*`) or `mac=…`/`mac:…`, in the order of the files.
    pub interfaces: Ordered<Interface>,
    /// Name servers and search domains; when set, DHCP does not touch them.
    pub dns: Dns,
    /// Seconds to wait for a lease; 0: the default. Use `Config::dhcp_timeout`.
    pub dhcp_timeout: u32,
    /// Commands before everything, split into words, no shell.
    pub pre_cmds: Vec<String>,
    /// Commands after everything, split into words, no shell.
    pub post_cmds: Vec<String>,
    /// Proxy for http, a URL.
    pub http_proxy: Option<String>,
    /// Proxy for https, a URL.
    pub https_proxy: Option<String>,
    /// Hosts reached without a proxy, comma-separated.
    pub no_proxy: Option<String>,
    /// Wi-Fi networks by name.
    pub wifi_networks: Ordered<WifiNetwork>,
    /// Modems by interface.
    pub modem_networks: Ordered<ModemNetwork>,
}

/// One entry of `rancher.network.interfaces`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// What the entry matches instead of its own name.
    #[serde(rename = "match")]
    pub matches: Option<String>,
    /// `None`: not said. False with a lease present releases it.
    pub dhcp: Option<bool>,
    /// Replaces the DHCP client's whole command.
    pub dhcp_args: Option<String>,
    /// One address with prefix length.
    pub address: Option<String>,
    /// Addresses with prefix length.
    pub addresses: Vec<String>,
    /// Take a link-local IPv4 address.
    pub ipv4ll: bool,
    /// IPv4 default gateway.
    pub gateway: Option<String>,
    /// IPv6 default gateway.
    pub gateway_ipv6: Option<String>,
    /// MTU in bytes; 0: unchanged.
    pub mtu: u32,
    /// `true`: is a bridge; `false`: nothing; a name: port of that bridge.
    pub bridge: Option<String>,
    /// Bond it is a member of.
    pub bond: Option<String>,
    /// Options of a bond, with the kernel's names.
    #[serde(deserialize_with = "texts")]
    pub bond_opts: Ordered<String>,
    /// VLANs on it: `100,200:name`.
    pub vlans: Option<String>,
    /// Commands before the interface is set up; `$iface` is replaced.
    pub pre_up: Vec<String>,
    /// Commands after.
    pub post_up: Vec<String>,
    /// Name of the Wi-Fi network to join.
    pub wifi_network: Option<String>,
}

/// Keys that the schema does not know are told by it and stay in the tree, with values of any type: they must not cost the whole network.
fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ordered<String>, D::Error> {
    let all = Ordered::<Value>::deserialize(deserializer)?;
    let is_text = |(key, value)| match value {
        Value::String(text) => Some((key, text)),
        _ => None,
    };
    Ok(all.into_iter().filter_map(is_text).collect())
}

/// `rancher.network.dns`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses.
    pub nameservers: Vec<String>,
    /// Search domains.
    pub search: Vec<String>,
}

/// One entry of `rancher.network.wifi_networks`, in wpa_supplicant's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct WifiNetwork {
    pub address: Option<String>,
    pub gateway: Option<String>,
    pub ssid: Option<String>,
    pub psk: Secret,
    pub scan_ssid: Option<u32>,
    pub priority: Option<i32>,
    pub pairwise: Option<String>,
    pub group: Option<String>,
    pub eap: Option<String>,
    pub identity: Option<String>,
    pub anonymous_identity: Option<String>,
    pub ca_certs: Vec<String>,
    pub client_certs: Vec<String>,
    pub private_keys: Vec<Secret>,
    pub private_key_passwds: Vec<Secret>,
    pub phases: Vec<String>,
    pub eapol_flags: Option<u32>,
    pub key_mgmt: Option<String>,
    pub password: Secret,
}

/// One entry of `rancher.network.modem_networks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModemNetwork {
    /// Access point name.
    pub apn: Option<String>,
    /// Further arguments of the dialler.
    pub extra_args: Option<String>,
}
