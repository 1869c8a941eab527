//! One fact as the object that the ancestor's metadata shows of it, in each of its versions. Keys whose value nobody here knows are left out;
//! keys of what does not exist in this cluster are null or empty, as the ancestor has them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use api::Id;
use api::agent::{ContainerFact, HostFact, NetworkFact};
use api::container::{ContainerState, Port};
use api::host::HostState;
use api::network::Encapsulation;

use super::index::{Service, Stack};
use super::node::Node;
use super::objects::{Version, View, Which};

/// Name of the network that each project begins with.
const DEFAULT_NETWORK: &str = "ros";
/// Set by Compose: which of its service's containers one is, from 1.
const NUMBER: &str = "com.docker.compose.container-number";
/// Compose's own labels begin so.
const COMPOSE: &str = "com.docker.compose.";
/// Marks what belongs to the system and not to its user.
const SYSTEM: &str = "io.rancher.container.system";

impl<'a> View<'a> {
    /// This host is known by what it joined with until a server has told more.
    pub(super) fn host(self, id: &'a Id) -> Node<'a> {
        match self.index.host(id) {
            Some(fact) => host(fact),
            None if *id == self.index.own.host => Node::map([
                ("name", Node::text(&self.index.own.name)),
                ("uuid", Node::text(id.as_str())),
            ]),
            None => Node::map([("uuid", Node::text(id.as_str()))]),
        }
    }

    pub(super) fn container(self, one: &'a ContainerFact) -> Node<'a> {
        let is_system = one.labels.get(SYSTEM).is_some_and(|value| value == "true");
        let itself = [
            ("environment_uuid", self.environment()),
            ("external_id", Node::text_or_null(&one.docker_id)),
            ("health_check", Node::Null),
            ("health_check_hosts", Node::List(Vec::new())),
            ("health_state", Node::Null),
            ("host_uuid", Node::text(one.host.as_str())),
            ("labels", texts(&one.labels)),
            ("links", Node::Map(Vec::new())),
            ("name", Node::Text(self.case(&one.name))),
            ("state", Node::text(container_state(one.state))),
            ("system", Node::Flag(is_system)),
            ("uuid", Node::text(one.id.as_str())),
        ];
        let parts = itself.into_iter().chain(self.reached(one));
        Node::map(parts.chain(self.membership(one)))
    }

    /// How a container is reached.
    fn reached(self, one: &'a ContainerFact) -> [(&'static str, Node<'a>); 7] {
        // Who is in its host's network is reached where the host is.
        let host = || {
            self.index
                .host(&one.host)
                .filter(|_| one.host_network)?
                .address
        };
        let address = one.address.map(Into::into).or_else(host);
        let address = address.map(|address: std::net::IpAddr| address.to_string());
        let all = address.iter().cloned().map(Node::text).collect();
        [
            ("hostname", Node::text_or_null(&one.hostname)),
            ("ips", Node::List(all)),
            ("network_from_container_uuid", Node::Null),
            ("network_uuid", self.network_of(one)),
            ("ports", self.ports([one])),
            ("primary_ip", Node::maybe(address)),
            ("primary_mac_address", Node::text_or_null(&one.mac)),
        ]
    }

    /// Which service and stack a container is of.
    fn membership(self, one: &'a ContainerFact) -> [(&'static str, Node<'a>); 6] {
        let index = self.index;
        let place = index.service_of(one);
        let service = place.and_then(|place| index.services.get(place));
        let number = one.labels.get(NUMBER).filter(|_| service.is_some());
        let counted = number.and_then(|number| number.parse().ok());
        let name = service.map(|one| self.case(&one.name));
        let stack = service.map(|one| self.case(&one.stack));
        let stack_uuid = service.map(|one| stack_uuid(&one.stack));
        [
            ("create_index", counted.map_or(Node::Null, Node::Number)),
            ("service_index", Node::maybe(number.map(String::as_str))),
            ("service_name", Node::maybe(name)),
            ("service_uuid", Node::maybe(service.map(service_uuid))),
            ("stack_name", Node::maybe(stack)),
            ("stack_uuid", Node::maybe(stack_uuid)),
        ]
    }

    pub(super) fn environment(self) -> Node<'a> {
        Node::text(self.index.own.project.as_str())
    }

    fn network_of(self, one: &ContainerFact) -> Node<'a> {
        let networks = &self.index.catalog.networks;
        let of = |address| {
            networks
                .values()
                .find(|one| one.spec.subnet.contains(&address))
        };
        one.address
            .and_then(of)
            .map_or(Node::Null, |one| Node::text(one.id.as_str()))
    }

    /// Published ports, each once: Docker names one that is bound for IPv4 and IPv6 twice.
    fn ports(self, of: impl IntoIterator<Item = &'a ContainerFact>) -> Node<'a> {
        let mut ports = BTreeSet::new();
        for one in of {
            let host = self.index.host(&one.host).and_then(|host| host.address);
            let bound = match self.version {
                Version::Lower => Some("0.0.0.0".to_owned()),
                Version::Names | Version::Objects => {
                    host.map(|address| bracketed(&address.to_string()))
                }
            };
            ports.extend(one.ports.iter().map(|one| port(one, bound.as_deref())));
        }
        let texts = ports.into_iter().map(|(_, text)| Node::text(text));
        Node::List(texts.collect())
    }

    fn members(self, service: &'a Service) -> impl Iterator<Item = &'a ContainerFact> {
        let index = self.index;
        service
            .members
            .iter()
            .filter_map(move |id| index.container(id))
    }

    pub(super) fn service(self, one: &'a Service) -> Node<'a> {
        let name = |one: &'a ContainerFact| Node::text(one.name.as_str());
        let containers = match self.version {
            Version::Names => Node::List(self.members(one).map(name).collect()),
            Version::Objects | Version::Lower => self.all(Which::Members(&one.members)),
        };
        let scale = u64::try_from(one.members.len()).unwrap_or(u64::MAX);
        let itself = [
            ("containers", containers),
            ("environment_uuid", self.environment()),
            ("kind", Node::text("service")),
            ("labels", self.common_labels(one)),
            ("name", Node::Text(self.case(&one.name))),
            ("ports", self.ports(self.members(one))),
            ("primary_service_name", Node::Text(self.case(&one.name))),
            ("scale", Node::Number(scale)),
            ("stack_name", Node::Text(self.case(&one.stack))),
            ("stack_uuid", Node::text(stack_uuid(&one.stack))),
            ("state", Node::text("active")),
            ("system", Node::Flag(false)),
            ("uuid", Node::text(service_uuid(one))),
        ];
        // What a Compose file does not say and nobody else can.
        let nulls = ["fqdn", "health_check", "hostname", "lb_config", "vip"];
        let lists = ["expose", "external_ips", "sidekicks"];
        let maps = ["links", "metadata"];
        let nulls = nulls.map(|key| (key, Node::Null)).into_iter();
        let lists = lists.map(|key| (key, Node::List(Vec::new())));
        let maps = maps.map(|key| (key, Node::Map(Vec::new())));
        Node::map(itself.into_iter().chain(nulls).chain(lists).chain(maps))
    }

    /// The labels that all containers of a service have: those that its Compose file gives them.
    fn common_labels(self, service: &'a Service) -> Node<'a> {
        let mut members = self.members(service);
        let Some(first) = members.next() else {
            return Node::Map(Vec::new());
        };
        let others: Vec<_> = members.collect();
        let common = first.labels.iter().filter(|(key, value)| {
            !key.starts_with(COMPOSE)
                && others
                    .iter()
                    .all(|one| one.labels.get(*key) == Some(*value))
        });
        Node::texts(common.map(|(key, value)| (key.as_str(), value.as_str())))
    }

    pub(super) fn stack(self, one: &'a Stack) -> Node<'a> {
        let all = self
            .index
            .services
            .get(one.services.clone())
            .unwrap_or_default();
        let services = match self.version {
            Version::Names => Node::List(
                all.iter()
                    .map(|one| Node::text(one.name.as_str()))
                    .collect(),
            ),
            Version::Objects | Version::Lower => self.all(Which::Services(all)),
        };
        Node::map([
            ("environment_name", Node::text(&self.index.own.project_name)),
            ("environment_uuid", self.environment()),
            ("name", Node::Text(self.case(&one.name))),
            ("services", services),
            ("system", Node::Flag(false)),
            ("uuid", Node::text(stack_uuid(&one.name))),
        ])
    }
}

/// Nobody gives services of Compose an identity: their names are it.
pub(super) fn service_uuid(one: &Service) -> String {
    format!("compose:{}:{}", one.stack, one.name)
}

pub(super) fn stack_uuid(name: &str) -> String {
    format!("compose:{name}")
}

fn texts(all: &BTreeMap<String, String>) -> Node<'_> {
    Node::texts(
        all.iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    )
}

fn bracketed(address: &str) -> String {
    if address.contains(':') {
        format!("[{address}]")
    } else {
        address.to_owned()
    }
}

/// `address:public:private/protocol`, with what it is sorted by. `any` stands for all addresses of the host.
fn port(one: &Port, any: Option<&str>) -> ((u16, u16), String) {
    let ports = format!("{}:{}/{}", one.public, one.private, one.protocol);
    let is_any = matches!(one.host_ip.as_str(), "" | "0.0.0.0" | "::");
    let text = match any {
        _ if !is_any => format!("{}:{ports}", bracketed(&one.host_ip)),
        Some(any) => format!("{any}:{ports}"),
        None => ports,
    };
    ((one.private, one.public), text)
}

fn container_state(state: ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Paused => "paused",
        ContainerState::Restarting => "restarting",
        ContainerState::Stopped => "stopped",
    }
}

pub(super) fn host(one: &HostFact) -> Node<'_> {
    let agent_state = match one.state {
        HostState::Joining => "activating",
        HostState::Connected => "active",
        HostState::Reconnecting => "reconnecting",
        HostState::Disconnected => "disconnected",
    };
    let address = one.address.map(|address| address.to_string());
    Node::map([
        ("agent_ip", Node::maybe(address)),
        ("agent_state", Node::text(agent_state)),
        ("hostname", Node::text_or_null(&one.hostname)),
        ("labels", texts(&one.labels)),
        ("name", Node::text(one.name.as_str())),
        ("state", Node::text("active")),
        ("uuid", Node::text(one.id.as_str())),
    ])
}

pub(super) fn network(one: &NetworkFact) -> Node<'_> {
    let encapsulation = match one.spec.encapsulation {
        Encapsulation::Wireguard => "wireguard",
        Encapsulation::Vxlan => "vxlan",
        Encapsulation::Direct => "direct",
    };
    let metadata = Node::map([
        ("encapsulation", Node::text(encapsulation)),
        ("subnet", Node::text(one.spec.subnet.to_string())),
    ]);
    Node::map([
        ("default_policy_action", Node::text("allow")),
        ("host_ports", Node::Flag(true)),
        ("is_default", Node::Flag(one.name == DEFAULT_NETWORK)),
        ("metadata", metadata),
        ("name", Node::text(one.name.as_str())),
        ("policy", Node::List(Vec::new())),
        ("uuid", Node::text(one.id.as_str())),
    ])
}
