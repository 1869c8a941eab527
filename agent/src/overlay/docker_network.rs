//! Docker's network of this host's block: reads, makes and removes it. It is ours when it carries our label.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    ContainerSummary, ContainerSummaryStateEnum, Ipam, IpamConfig, Network, NetworkCreateRequest,
    NetworkDisconnectRequest,
};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptions, ListNetworksOptionsBuilder,
};

use ipnet::Ipv4Net;

use super::desired::{Desired, gateway};

/// Label of Docker's network: id of the project's network.
pub const LABEL: &str = "io.rancher.network";
/// Label of containers that are to keep their own resolvers, with the value `false`.
const DNS_LABEL: &str = "io.rancher.container.dns";
/// First version whose resolver asks any resolver from the host's network.
const ASKS_FROM_HOST: u32 = 27;
/// First version that drops what is routed to containers from other links, unless told otherwise.
const FILTERING: u32 = 28;

const BRIDGE: &str = "com.docker.network.bridge.name";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const GATEWAY_MODE: &str = "com.docker.network.bridge.gateway_mode_ipv4";
const MTU: &str = "com.docker.network.driver.mtu";

/// A network of Docker's bridge driver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bridge {
    /// Docker's id of it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Our mark, if it has it.
    pub mark: Option<String>,
    /// What it was made with.
    pub made: Made,
}

/// What a network was made with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    /// Its link.
    pub link: String,
    /// All addresses.
    pub subnet: String,
    /// Those that Docker gives out.
    pub range: String,
    /// This host's.
    pub gateway: String,
    /// Largest packet; 0: not set.
    pub mtu: u32,
}

/// A container that is attached to our network, running or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Docker's id of it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its address, while it runs.
    pub address: Option<Ipv4Addr>,
    /// Whether its names are looked up by us.
    pub dns: bool,
}

/// What Docker says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Engine {
    /// First number of its version.
    pub major: u32,
    /// Networks of the bridge driver.
    pub bridges: Vec<Bridge>,
    /// Names of networks of other drivers.
    pub others: Vec<String>,
    /// Containers attached to our network.
    pub members: Vec<Member>,
}

impl Engine {
    /// Our network.
    #[must_use]
    pub fn ours(&self) -> Option<&Bridge> {
        self.bridges.iter().find(|bridge| bridge.mark.is_some())
    }

    /// Whether its resolver asks `resolver` from the host's network, and not from the container's: one that listens on the host's loopback link
    /// cannot be asked from elsewhere.
    #[must_use]
    pub fn asks_from_host(&self, resolver: Ipv4Addr) -> bool {
        self.major >= ASKS_FROM_HOST || resolver.is_loopback()
    }

    /// Whether it drops what is routed to containers.
    #[must_use]
    pub fn filters(&self) -> bool {
        self.major >= FILTERING
    }
}

/// Reads it all.
///
/// # Errors
/// When Docker does not answer.
pub async fn observe(docker: &Docker) -> Result<Engine, Error> {
    let version = docker.version().await?.version.unwrap_or_default();
    let mut engine = Engine {
        major: major(&version),
        ..Engine::default()
    };
    for network in docker.list_networks(None::<ListNetworksOptions>).await? {
        if network.driver.as_deref() == Some("bridge") {
            engine.bridges.push(bridge(network));
        } else {
            engine.others.extend(network.name);
        }
    }
    engine.bridges.sort_by(|a, b| a.id.cmp(&b.id));
    if let Some(ours) = engine.ours() {
        engine.members = members(docker, &ours.id, &ours.name).await?;
    }
    Ok(engine)
}

fn major(version: &str) -> u32 {
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

fn bridge(network: Network) -> Bridge {
    let id = network.id.unwrap_or_default();
    let options = network.options.unwrap_or_default();
    let ipam = network
        .ipam
        .and_then(|ipam| ipam.config)
        .unwrap_or_default();
    let config = ipam.into_iter().next().unwrap_or_default();
    let usual = || format!("br-{}", id.chars().take(12).collect::<String>());
    let made = Made {
        link: options.get(BRIDGE).cloned().unwrap_or_else(usual),
        subnet: config.subnet.unwrap_or_default(),
        range: config.ip_range.unwrap_or_default(),
        gateway: config.gateway.unwrap_or_default(),
        mtu: options
            .get(MTU)
            .and_then(|mtu| mtu.parse().ok())
            .unwrap_or(0),
    };
    Bridge {
        id,
        name: network.name.unwrap_or_default(),
        mark: network.labels.unwrap_or_default().remove(LABEL),
        made,
    }
}

async fn members(docker: &Docker, id: &str, name: &str) -> Result<Vec<Member>, Error> {
    // One that has never run knows its network by name only.
    let filters = HashMap::from([("network", vec![id, name])]);
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filters);
    let all = docker.list_containers(Some(options.build())).await?;
    let mut members: Vec<Member> = all.into_iter().map(|one| member(one, name)).collect();
    members.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(members)
}

fn member(container: ContainerSummary, network: &str) -> Member {
    let is_there = matches!(
        container.state,
        Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED)
    );
    let networks = container.network_settings.and_then(|all| all.networks);
    let endpoint = networks.and_then(|mut all| all.remove(network));
    let address = endpoint.and_then(|endpoint| endpoint.ip_address?.parse().ok());
    let name = container.names.unwrap_or_default().into_iter().next();
    let label = container.labels.unwrap_or_default().remove(DNS_LABEL);
    Member {
        id: container.id.unwrap_or_default(),
        name: name.unwrap_or_default().trim_start_matches('/').to_owned(),
        address: address.filter(|_| is_there),
        dns: !label.is_some_and(|value| value.eq_ignore_ascii_case("false")),
    }
}

/// What the network is to be made with.
#[must_use]
pub fn wanted(desired: &Desired, mtu: u32) -> Made {
    Made {
        link: super::BRIDGE.into(),
        subnet: desired.subnet.to_string(),
        range: desired.block.to_string(),
        gateway: gateway(desired.block).to_string(),
        mtu,
    }
}

/// Addresses that no container gets: one that ends like a network's own is taken for one by people and by firewalls. Docker itself keeps
/// that of the whole subnet.
fn reserved(made: &Made) -> Option<HashMap<String, String>> {
    let (range, subnet): (Ipv4Net, Ipv4Net) = (made.range.parse().ok()?, made.subnet.parse().ok()?);
    let own = range.network();
    (own != subnet.network()).then(|| HashMap::from([("block".to_owned(), own.to_string())]))
}

/// Makes it.
///
/// # Errors
/// When Docker refuses.
pub async fn create(docker: &Docker, bridge: &Bridge, filters: bool) -> Result<(), Error> {
    let made = &bridge.made;
    let mut options = HashMap::from([
        (BRIDGE.to_owned(), made.link.clone()),
        // What leaves the project's network is masqueraded by our own rule: Docker's would do it to what goes to other hosts, too.
        (MASQUERADE.to_owned(), "false".to_owned()),
        (MTU.to_owned(), made.mtu.to_string()),
    ]);
    if filters {
        options.insert(GATEWAY_MODE.to_owned(), "nat-unprotected".to_owned());
    }
    let config = IpamConfig {
        subnet: Some(made.subnet.clone()),
        ip_range: Some(made.range.clone()),
        gateway: Some(made.gateway.clone()),
        auxiliary_addresses: reserved(made),
    };
    let request = NetworkCreateRequest {
        name: bridge.name.clone(),
        driver: Some("bridge".into()),
        ipam: Some(Ipam {
            config: Some(vec![config]),
            ..Ipam::default()
        }),
        options: Some(options),
        labels: bridge
            .mark
            .clone()
            .map(|mark| HashMap::from([(LABEL.to_owned(), mark)])),
        ..NetworkCreateRequest::default()
    };
    docker.create_network(request).await.map(drop)
}

/// Removes it; it need not be there.
///
/// # Errors
/// When Docker refuses.
pub async fn remove(docker: &Docker, id: &str) -> Result<(), Error> {
    gone(docker.remove_network(id).await)
}

/// Takes every container off every network of ours, and removes them.
///
/// # Errors
/// When Docker refuses.
pub async fn take_down(docker: &Docker) -> Result<(), Error> {
    let filters = HashMap::from([("label", vec![LABEL])]);
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    for network in docker.list_networks(Some(options)).await? {
        let (Some(id), Some(name)) = (network.id, network.name) else {
            continue;
        };
        for member in members(docker, &id, &name).await? {
            let request = NetworkDisconnectRequest {
                container: member.id,
                force: Some(true),
            };
            off(docker.disconnect_network(&id, request).await)?;
        }
        remove(docker, &id).await?;
    }
    Ok(())
}

fn gone(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::DockerResponseServerError {
            status_code: 404, ..
        }) => Ok(()),
        other => other,
    }
}

/// Somebody else may take the same container off: the agent that is told of the leaving, and the command that leaves.
fn off(result: Result<(), Error>) -> Result<(), Error> {
    match gone(result) {
        Err(Error::DockerResponseServerError { message, .. })
            if message.contains("is not connected to") =>
        {
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_of_a_block_is_nobodys() {
        let of = |range: &str| {
            let (subnet, range) = ("10.42.0.0/16".to_owned(), range.to_owned());
            let made = Made {
                subnet,
                range,
                ..Made::default()
            };
            reserved(&made).map(|mut all| all.remove("block").unwrap())
        };
        assert_eq!(of("10.42.3.0/24").as_deref(), Some("10.42.3.0"));
        assert_eq!(of("10.42.3.16/28").as_deref(), Some("10.42.3.16"));
        // Docker has it reserved, and would refuse it.
        assert_eq!(of("10.42.0.0/24"), None);
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(major("28.0.1+dfsg"), 28);
        assert_eq!(major("20.10.24+dfsg1"), 20);
        assert_eq!(major("dev"), 0);
    }
}
