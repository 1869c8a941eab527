//! What Docker says of a container, as the cluster knows it. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use api::agent::Seen;
use api::container::{ContainerState, ContainerStatus, Port};
use bollard::models::{
    ContainerConfig, ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary,
    ContainerSummaryStateEnum, EndpointSettings, HostConfig, NetworkSettings,
};
use std::collections::HashMap;

use crate::overlay::DockerNetwork;

/// A container of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// As the cluster is told of it.
    pub seen: Seen,
    /// It is in the network of this other container, by Docker's id.
    pub shares: Option<String>,
}

/// A container as the cluster knows it; `None`: it was made and never started, which is nobody's business yet.
#[must_use]
pub fn observed(
    inspected: &ContainerInspectResponse,
    network: Option<&DockerNetwork>,
) -> Option<Observed> {
    let state = state(inspected.state.as_ref()?.status?)?;
    let config = inspected.config.clone().unwrap_or_default();
    let endpoint = network.and_then(|network| {
        let settings = inspected.network_settings.as_ref()?;
        endpoint(settings.networks.as_ref()?, network)
    });
    let mode = mode(inspected);
    let status = ContainerStatus {
        host: None,
        docker_id: inspected.id.clone()?,
        image: config.image.unwrap_or_default(),
        state,
        address: endpoint.and_then(address),
        host_network: mode == "host",
        mac: endpoint
            .and_then(|endpoint| endpoint.mac_address.clone())
            .unwrap_or_default(),
        hostname: config.hostname.unwrap_or_default(),
        labels: config.labels.map(BTreeMap::from_iter).unwrap_or_default(),
        ports: inspected
            .network_settings
            .as_ref()
            .map(ports)
            .unwrap_or_default(),
        started: started(inspected),
        problems: Vec::new(),
    };
    Some(Observed {
        seen: Seen {
            name: name(inspected),
            status,
        },
        shares: mode.strip_prefix("container:").map(str::to_owned),
    })
}

/// Docker's name of a container, without the slash.
#[must_use]
pub fn name(inspected: &ContainerInspectResponse) -> String {
    let name = inspected.name.as_deref().unwrap_or_default();
    name.trim_start_matches('/').to_owned()
}

/// The network mode it was made with.
#[must_use]
pub fn mode(inspected: &ContainerInspectResponse) -> &str {
    let host = inspected.host_config.as_ref();
    host.and_then(|host| host.network_mode.as_deref())
        .unwrap_or_default()
}

/// A container as a listing shows it, with what was `known` of it before: less than [`observed`], for when Docker cannot tell more.
#[must_use]
pub fn listed(
    summary: &ContainerSummary,
    known: Option<&Observed>,
    network: Option<&DockerNetwork>,
) -> Option<Observed> {
    let status = summary.state?.to_string().parse().ok();
    let settings = summary.network_settings.clone();
    let mode = summary
        .host_config
        .clone()
        .and_then(|host| host.network_mode);
    let inspected = ContainerInspectResponse {
        id: summary.id.clone(),
        name: listed_name(summary).map(str::to_owned),
        state: Some(bollard::models::ContainerState {
            status,
            ..Default::default()
        }),
        config: Some(ContainerConfig {
            image: summary.image.clone(),
            labels: summary.labels.clone(),
            ..ContainerConfig::default()
        }),
        host_config: Some(HostConfig {
            network_mode: mode,
            ..HostConfig::default()
        }),
        network_settings: Some(NetworkSettings {
            networks: settings.and_then(|settings| settings.networks),
            ..NetworkSettings::default()
        }),
        ..ContainerInspectResponse::default()
    };
    let mut one = observed(&inspected, network)?;
    if let Some(known) = known {
        let (status, before) = (&mut one.seen.status, &known.seen.status);
        status.hostname.clone_from(&before.hostname);
        status.started = before.started;
        if before.state == status.state {
            status.ports.clone_from(&before.ports);
        }
    }
    Some(one)
}

/// Docker's name in a listing, without the slash.
fn listed_name(summary: &ContainerSummary) -> Option<&str> {
    let names = summary.names.iter().flatten();
    // A link to another container has a second slash.
    names
        .map(|name| name.strip_prefix('/').unwrap_or(name))
        .find(|name| !name.contains('/'))
}

/// Whether what a listing says differs from what is known: then the container is worth a closer look.
#[must_use]
pub fn is_news(
    summary: &ContainerSummary,
    known: Option<&Observed>,
    network: Option<&DockerNetwork>,
) -> bool {
    let Some(known) = known else {
        return summary.state != Some(ContainerSummaryStateEnum::CREATED);
    };
    let state = summary.state.and_then(|state| match state {
        ContainerSummaryStateEnum::RUNNING => Some(ContainerState::Running),
        ContainerSummaryStateEnum::PAUSED => Some(ContainerState::Paused),
        ContainerSummaryStateEnum::RESTARTING => Some(ContainerState::Restarting),
        ContainerSummaryStateEnum::CREATED => None,
        _ => Some(ContainerState::Stopped),
    });
    let name = listed_name(summary);
    let networks = summary
        .network_settings
        .as_ref()
        .and_then(|settings| settings.networks.as_ref());
    let address = network
        .zip(networks)
        .and_then(|(network, networks)| endpoint(networks, network))
        .and_then(address);
    state != Some(known.seen.status.state)
        || name != Some(known.seen.name.as_str())
        || (known.shares.is_none() && address != known.seen.status.address)
}

fn state(status: ContainerStateStatusEnum) -> Option<ContainerState> {
    use ContainerStateStatusEnum as Docker;
    match status {
        Docker::RUNNING | Docker::STOPPING => Some(ContainerState::Running),
        Docker::PAUSED => Some(ContainerState::Paused),
        Docker::RESTARTING => Some(ContainerState::Restarting),
        Docker::EXITED | Docker::DEAD | Docker::REMOVING => Some(ContainerState::Stopped),
        Docker::CREATED | Docker::EMPTY => None,
    }
}

/// The container's end in our network. By id: a network of the same name may be another one.
pub fn endpoint<'n>(
    networks: &'n HashMap<String, EndpointSettings>,
    network: &DockerNetwork,
) -> Option<&'n EndpointSettings> {
    networks
        .values()
        .find(|endpoint| endpoint.network_id.as_deref() == Some(&network.id))
        // Before its first start a container knows networks by name only.
        .or_else(|| {
            networks
                .get(&network.name)
                .filter(|one| one.network_id.as_deref().is_none_or(str::is_empty))
        })
}

fn address(endpoint: &EndpointSettings) -> Option<Ipv4Addr> {
    endpoint.ip_address.as_ref()?.parse().ok()
}

/// Published ports, in order. What is bound on all IPv4 and all IPv6 addresses is one.
fn ports(settings: &NetworkSettings) -> Vec<Port> {
    let mut all: Vec<Port> = Vec::new();
    for (inside, bindings) in settings.ports.iter().flatten() {
        let (private, protocol) = inside.split_once('/').unwrap_or((inside, "tcp"));
        for binding in bindings.iter().flatten() {
            let public = binding
                .host_port
                .as_ref()
                .and_then(|port| port.parse().ok());
            let (Some(public), Ok(private)) = (public, private.parse()) else {
                continue;
            };
            let host_ip = match binding.host_ip.as_deref() {
                None | Some("0.0.0.0" | "::") => String::new(),
                Some(ip) => ip.to_owned(),
            };
            all.push(Port {
                host_ip,
                public,
                private,
                protocol: protocol.to_owned(),
            });
        }
    }
    all.sort_by(|a, b| {
        (a.private, &a.protocol, a.public, &a.host_ip).cmp(&(
            b.private,
            &b.protocol,
            b.public,
            &b.host_ip,
        ))
    });
    all.dedup();
    all
}

/// When it was last started; Docker says the year 1 for never.
fn started(inspected: &ContainerInspectResponse) -> Option<jiff::Timestamp> {
    let text = inspected.state.as_ref()?.started_at.as_ref()?;
    let time: jiff::Timestamp = text.parse().ok()?;
    (time > jiff::Timestamp::UNIX_EPOCH).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn inspected(change: serde_json::Value) -> ContainerInspectResponse {
        let mut base = json!({
            "Id": "abc", "Name": "/web",
            "State": {"Status": "running", "StartedAt": "2026-01-02T03:04:05.6Z"},
            "Config": {"Image": "web:1", "Hostname": "abc", "Labels": {"a": "b"}},
            "HostConfig": {"NetworkMode": "ros"},
            "NetworkSettings": {
                "Ports": {
                    "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
                    "53/udp": null,
                },
                "Networks": {
                    "ros": {"NetworkID": "n1", "IPAddress": "10.42.1.5", "MacAddress": "02:42:0a:2a:01:05"},
                    "other": {"NetworkID": "n2", "IPAddress": "172.18.0.2"},
                },
            },
        });
        let (base_map, serde_json::Value::Object(change)) = (base.as_object_mut().unwrap(), change)
        else {
            panic!("not an object");
        };
        base_map.extend(change);
        serde_json::from_value(base).unwrap()
    }

    fn ros(id: &str) -> DockerNetwork {
        DockerNetwork {
            id: id.into(),
            name: "ros".into(),
            ..DockerNetwork::default()
        }
    }

    #[test]
    fn a_running_container_is_told_of() {
        let one = observed(&inspected(json!({})), Some(&ros("n1"))).unwrap();
        let status = &one.seen.status;
        assert_eq!(one.seen.name, "web");
        assert_eq!(status.address, Some(Ipv4Addr::new(10, 42, 1, 5)));
        assert_eq!(status.ports.len(), 1);
        assert_eq!(
            (status.ports[0].public, status.ports[0].private),
            (8080, 80)
        );
        assert_eq!(status.labels["a"], "b");
        assert!(status.started.is_some());
        // A network of that name that is not ours.
        let other = observed(&inspected(json!({})), Some(&ros("n9"))).unwrap();
        assert_eq!(other.seen.status.address, None);
    }

    #[test]
    fn what_was_only_made_is_not() {
        let made = inspected(json!({"State": {"Status": "created"}}));
        assert_eq!(observed(&made, None), None);
        let ended =
            inspected(json!({"State": {"Status": "exited", "StartedAt": "0001-01-01T00:00:00Z"}}));
        let ended = observed(&ended, None).unwrap().seen.status;
        assert_eq!(
            (ended.state, ended.started),
            (ContainerState::Stopped, None)
        );
    }

    #[test]
    fn a_network_may_be_shared() {
        let shares = inspected(json!({"HostConfig": {"NetworkMode": "container:def"}}));
        let shares = observed(&shares, None).unwrap().shares;
        assert_eq!(shares.as_deref(), Some("def"));
    }

    #[test]
    fn listings_show_what_to_look_at() {
        let known = observed(&inspected(json!({})), Some(&ros("n1"))).unwrap();
        let summary = |state: &str, ip: &str| -> ContainerSummary {
            serde_json::from_value(json!({
                "Id": "abc", "Names": ["/a/web", "/web"], "State": state,
                "NetworkSettings": {"Networks": {"ros": {"NetworkID": "n1", "IPAddress": ip}}},
            }))
            .unwrap()
        };
        let news = |state, ip| is_news(&summary(state, ip), Some(&known), Some(&ros("n1")));
        assert!(!news("running", "10.42.1.5"));
        assert!(news("exited", "10.42.1.5"));
        assert!(news("running", "10.42.1.6"));
        assert!(!is_news(&summary("created", ""), None, None));
        assert!(is_news(&summary("running", ""), None, None));
    }
}
