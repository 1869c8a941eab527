//! Which containers the labels want in the project's network, and at which address. The decision is pure; [`apply`] does it.

use std::net::Ipv4Addr;

use api::container::label;
use bollard::Docker;
use bollard::models::{
    ContainerInspectResponse, EndpointIpamConfig, EndpointSettings, NetworkConnectRequest,
    NetworkDisconnectRequest,
};

use super::observe::{endpoint, mode};
use crate::overlay::DockerNetwork;

/// What is to be done for a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing.
    Nothing,
    /// Connect it, at the first of these addresses that is free; without any: at any.
    Connect(Vec<Ipv4Addr>),
    /// It is connected, and is to have another address: the first of these that is free.
    Move(Vec<Ipv4Addr>),
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
    let has = [
        connected.ip_address.as_deref(),
        connected
            .ipam_config
            .as_ref()
            .and_then(|ipam| ipam.ipv4_address.as_deref()),
    ];
    let has = has.into_iter().flatten().find_map(|text| text.parse().ok());
    if addresses.is_empty() || has.is_some_and(|has| addresses.contains(&has)) {
        return Wanted::Nothing;
    }
    Wanted::Move(addresses)
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
    docker: &Docker,
    network: &DockerNetwork,
    inspected: &ContainerInspectResponse,
    wanted: Wanted,
) -> Result<(), String> {
    let id = inspected.id.clone().unwrap_or_default();
    match wanted {
        Wanted::Nothing => Ok(()),
        Wanted::Refused(why) => Err(why),
        Wanted::Connect(addresses) => connect(docker, network, &id, (addresses, None)).await,
        Wanted::Move(addresses) => {
            let aliases = inspected
                .network_settings
                .as_ref()
                .and_then(|settings| settings.networks.as_ref())
                .and_then(|networks| endpoint(networks, network))
                .and_then(|endpoint| endpoint.aliases.clone());
            let leave = NetworkDisconnectRequest {
                container: id.clone(),
                force: Some(false),
            };
            docker
                .disconnect_network(&network.id, leave)
                .await
                .map_err(|error| format!("cannot change the address: {error}"))?;
            connect(docker, network, &id, (addresses, aliases)).await
        }
    }
}

/// Connects at the first address that Docker gives; when it gives none of them, at any, and says so.
async fn connect(
    docker: &Docker,
    network: &DockerNetwork,
    id: &str,
    (addresses, aliases): (Vec<Ipv4Addr>, Option<Vec<String>>),
) -> Result<(), String> {
    let mut refusals = Vec::new();
    let tries = addresses.into_iter().map(Some).chain([None]);
    for address in tries {
        let request = NetworkConnectRequest {
            container: id.to_owned(),
            endpoint_config: Some(EndpointSettings {
                aliases: aliases.clone(),
                ipam_config: address.map(|address| EndpointIpamConfig {
                    ipv4_address: Some(address.to_string()),
                    ..EndpointIpamConfig::default()
                }),
                ..EndpointSettings::default()
            }),
        };
        match (docker.connect_network(&network.id, request).await, address) {
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
    Err(format!(
        "label {}: not every address could be had ({})",
        label::REQUESTED_IP,
        refusals.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn want(labels: serde_json::Value, mode: &str, ip: Option<&str>) -> Wanted {
        let mut networks = json!({"bridge": {"NetworkID": "b", "IPAddress": "172.17.0.2"}});
        if let Some(ip) = ip {
            networks["ros"] = json!({"NetworkID": "n1", "IPAddress": ip});
        }
        let inspected = serde_json::from_value(json!({
            "Id": "abc",
            "Config": {"Labels": labels},
            "HostConfig": {"NetworkMode": mode},
            "NetworkSettings": {"Networks": networks},
        }))
        .unwrap();
        let network = DockerNetwork {
            id: "n1".into(),
            name: "ros".into(),
        };
        wanted(&inspected, &network)
    }

    const IP: &str = "io.rancher.container.requested_ip";
    const NET: &str = "io.rancher.container.network";

    #[test]
    fn labels_attach() {
        let at = |last| Ipv4Addr::new(10, 42, 1, last);
        assert_eq!(want(json!({}), "default", None), Wanted::Nothing);
        assert_eq!(
            want(json!({NET: "false"}), "default", None),
            Wanted::Nothing
        );
        assert_eq!(
            want(json!({NET: "True"}), "default", None),
            Wanted::Connect(vec![])
        );
        assert_eq!(
            want(
                json!({NET: "true", IP: "10.42.1.7, 10.42.1.8/16"}),
                "bridge",
                None
            ),
            Wanted::Connect(vec![at(7), at(8)])
        );
        assert_eq!(
            want(json!({NET: "true"}), "bridge", Some("10.42.1.2")),
            Wanted::Nothing
        );
        assert_eq!(
            want(json!({IP: "10.42.1.7"}), "ros", Some("10.42.1.7")),
            Wanted::Nothing
        );
        assert_eq!(
            want(json!({IP: "10.42.1.7"}), "ros", Some("10.42.1.2")),
            Wanted::Move(vec![at(7)])
        );
    }

    #[test]
    fn what_cannot_be_says_why() {
        for (labels, mode, said) in [
            (json!({NET: "true"}), "host", "--network host"),
            (json!({NET: "true"}), "container:x", "--network container:x"),
            (
                json!({NET: "true", IP: "10.42.1"}),
                "bridge",
                "`10.42.1` is not an IPv4 address",
            ),
        ] {
            let Wanted::Refused(why) = want(labels, mode, None) else {
                panic!("not refused");
            };
            assert!(why.contains(said), "{why}");
        }
    }
}
