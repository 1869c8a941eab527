//! Which containers the labels want in the project's network, and at which address. The decision is pure; [`apply`] does it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use api::container::label;
use bollard::Docker;
use bollard::models::{
    ContainerInspectResponse, EndpointIpamConfig, EndpointSettings, NetworkConnectRequest,
    NetworkDisconnectRequest,
};

use super::observe::{endpoint, mode};
use crate::overlay::{DockerNetwork, gateway};

/// What is to be done for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing.
    Nothing,
    /// Connect it, at the first of these addresses that is free; without any: at any.
    Connect(Vec<Ipv4Addr>),
    /// It is connected, and is to have another address: the first of these that is free.
    Move(Vec<Ipv4Addr>),
    /// It did not start with the address that it was connected with: connect it without one. What is told of it.
    Release(String),
    /// Not possible: why, and what to do.
    Refused(String),
}

/// What the labels of a container want.
#[must_use]
pub fn wanted(inspected: &ContainerInspectResponse, network: &DockerNetwork) -> Wanted {
    let labels = inspected
        .config
        .as_ref()
        .and_then(|config| config.labels.as_ref());
    let value = |key: &str| {
        let labels = labels?;
        labels.get(key).map(|value| value.trim())
    };
    let is_wished = value(label::NETWORK).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let asked = value(label::REQUESTED_IP).unwrap_or_default();
    let addresses = match addresses(asked) {
        Ok(addresses) => addresses,
        Err(why) => return Wanted::Refused(why),
    };
    let networks = inspected
        .network_settings
        .as_ref()
        .and_then(|settings| settings.networks.as_ref());
    let connected = networks.and_then(|networks| endpoint(networks, network));
    let Some(connected) = connected else {
        if !is_wished {
            return Wanted::Nothing;
        }
        return match mode(inspected) {
            mode @ ("host" | "none") => refused(network, mode),
            mode if mode.starts_with("container:") => refused(network, mode),
            _ => Wanted::Connect(addresses),
        };
    };
    let fixed = connected.ipam_config.as_ref();
    let fixed = fixed.and_then(|ipam| ipam.ipv4_address.as_deref());
    let fixed = fixed.filter(|text| !text.is_empty());
    if let Some(error) = failed_start(inspected).filter(|_| !addresses.is_empty()) {
        let why = format!(
            "label {}: it could not be started ({error}); started again, it gets any address",
            label::REQUESTED_IP
        );
        match fixed.map(str::parse) {
            // One that was not asked for by the label is its user's.
            Some(Ok(fixed)) if addresses.contains(&fixed) => return Wanted::Release(why),
            None => return Wanted::Refused(why),
            Some(_) => {}
        }
    }
    let has = [connected.ip_address.as_deref(), fixed];
    let has = has.into_iter().flatten().find_map(|text| text.parse().ok());
    if addresses.is_empty() || has.is_some_and(|has| addresses.contains(&has)) {
        return Wanted::Nothing;
    }
    Wanted::Move(addresses)
}

/// Whether it runs.
#[must_use]
pub fn runs(inspected: &ContainerInspectResponse) -> bool {
    let state = inspected.state.as_ref();
    state.and_then(|state| state.running).unwrap_or_default()
}

/// Why its last start failed, when that was for its address. Docker has no code for it. What is said of published ports is not meant.
fn failed_start(inspected: &ContainerInspectResponse) -> Option<&str> {
    let error = inspected.state.as_ref()?.error.as_deref()?;
    let text = error.to_lowercase();
    let is_port = ["bind", "external connectivity", "port is"]
        .iter()
        .any(|part| text.contains(part));
    (!runs(inspected) && text.contains("address") && !is_port).then_some(error)
}

/// Where containers are connected.
pub struct Place<'a> {
    /// The Docker.
    pub docker: &'a Docker,
    /// The network.
    pub network: &'a DockerNetwork,
    /// Addresses in it that containers have, with their names.
    pub taken: BTreeMap<Ipv4Addr, String>,
}

impl Place<'_> {
    /// Why no container can be started with an address: Docker says it only then.
    fn is_not_free(&self, address: Ipv4Addr) -> Option<String> {
        let name = &self.network.name;
        if let Some(subnet) = self.network.subnet {
            if !subnet.contains(&address) {
                return Some(format!("{address}: it is not in network {name} ({subnet})"));
            }
            if [subnet.network(), subnet.broadcast()].contains(&address) {
                return Some(format!("{address}: it is that of network {name} itself"));
            }
        }
        let own = |block: &ipnet::Ipv4Net| [block.network(), gateway(*block)].contains(&address);
        if self.network.block.as_ref().is_some_and(own) {
            return Some(format!("{address}: it is this host's own"));
        }
        let holder = self.taken.get(&address)?;
        Some(format!("{address}: container {holder} has it"))
    }

    /// What is told of a container that runs with another address than these.
    #[must_use]
    pub fn waits(&self, addresses: &[Ipv4Addr]) -> String {
        let refusals: Vec<String> = addresses
            .iter()
            .map_while(|address| self.is_not_free(*address))
            .collect();
        match addresses.get(refusals.len()) {
            Some(next) => format!(
                "label {}: it runs with another address; it gets {next} after `docker stop`, before its next start",
                label::REQUESTED_IP
            ),
            None => not_all(&refusals),
        }
    }

    /// Those of `addresses` that a container can have, and what is said of the others. One that runs is told by Docker itself.
    fn free(
        &self,
        inspected: &ContainerInspectResponse,
        addresses: Vec<Ipv4Addr>,
    ) -> (Vec<Ipv4Addr>, Vec<String>) {
        if runs(inspected) {
            return (addresses, Vec::new());
        }
        let refusals: Vec<String> = addresses
            .iter()
            .filter_map(|address| self.is_not_free(*address))
            .collect();
        let free = addresses.into_iter();
        let free = free.filter(|address| self.is_not_free(*address).is_none());
        (free.collect(), refusals)
    }
}

fn not_all(refusals: &[String]) -> String {
    format!(
        "label {}: not every address could be had ({})",
        label::REQUESTED_IP,
        refusals.join("; ")
    )
}

fn refused(network: &DockerNetwork, mode: &str) -> Wanted {
    Wanted::Refused(format!(
        "label {}: a container with --network {mode} cannot be in network {}; leave --network out",
        label::NETWORK,
        network.name
    ))
}

fn addresses(asked: &str) -> Result<Vec<Ipv4Addr>, String> {
    let parts = asked
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let bare = part.split('/').next().unwrap_or(part);
            bare.parse().map_err(|_| {
                format!(
                    "label {}: `{part}` is not an IPv4 address; write addresses of the network, with commas between them",
                    label::REQUESTED_IP
                )
            })
        })
        .collect()
}

/// Does it.
///
/// # Errors
/// What is in the way, for people.
pub async fn apply(
    place: &Place<'_>,
    inspected: &ContainerInspectResponse,
    wanted: Wanted,
) -> Result<(), String> {
    match wanted {
        Wanted::Nothing => Ok(()),
        Wanted::Refused(why) => Err(why),
        Wanted::Connect(addresses) => {
            let found = place.free(inspected, addresses);
            connect(place, inspected, found, None).await
        }
        Wanted::Move(addresses) => {
            let found = place.free(inspected, addresses);
            if found.0.is_empty() {
                return Err(not_all(&found.1));
            }
            reconnect(place, inspected, found).await
        }
        Wanted::Release(why) => {
            reconnect(place, inspected, (Vec::new(), Vec::new())).await?;
            Err(why)
        }
    }
}

/// Takes it off, and connects it anew under the same names.
async fn reconnect(
    place: &Place<'_>,
    inspected: &ContainerInspectResponse,
    found: (Vec<Ipv4Addr>, Vec<String>),
) -> Result<(), String> {
    let aliases = inspected
        .network_settings
        .as_ref()
        .and_then(|settings| settings.networks.as_ref())
        .and_then(|networks| endpoint(networks, place.network))
        .and_then(|endpoint| endpoint.aliases.clone());
    let leave = NetworkDisconnectRequest {
        container: inspected.id.clone().unwrap_or_default(),
        force: Some(false),
    };
    place
        .docker
        .disconnect_network(&place.network.id, leave)
        .await
        .map_err(|error| format!("cannot change the address: {error}"))?;
    connect(place, inspected, found, aliases).await
}

/// Connects at the first address that Docker gives; when it gives none of them, at any. Says which could not be had.
async fn connect(
    place: &Place<'_>,
    inspected: &ContainerInspectResponse,
    (addresses, mut refusals): (Vec<Ipv4Addr>, Vec<String>),
    aliases: Option<Vec<String>>,
) -> Result<(), String> {
    let tries = addresses.into_iter().map(Some).chain([None]);
    for address in tries {
        let request = NetworkConnectRequest {
            container: inspected.id.clone().unwrap_or_default(),
            endpoint_config: Some(EndpointSettings {
                aliases: aliases.clone(),
                ipam_config: address.map(|address| EndpointIpamConfig {
                    ipv4_address: Some(address.to_string()),
                    ..EndpointIpamConfig::default()
                }),
                ..EndpointSettings::default()
            }),
        };
        let network = place.network;
        let done = place.docker.connect_network(&network.id, request).await;
        match (done, address) {
            (Ok(()), _) if refusals.is_empty() => return Ok(()),
            (Ok(()), _) => break,
            (Err(error), Some(address)) => refusals.push(format!("{address}: {error}")),
            (Err(error), None) => {
                return Err(format!(
                    "cannot connect it to network {}: {error}",
                    network.name
                ));
            }
        }
    }
    Err(not_all(&refusals))
}

#[cfg(test)]
mod tests;
