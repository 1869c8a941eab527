//! cloud-init's network configuration, versions 1 and 2, and OpenStack's, as a `rancher.network` map. Pure.
//!
//! Ethernet links with DHCP, addresses, gateways, MTU and name servers are taken; bonds, bridges, VLANs and policy routes are not.

use serde_json::{Map, Value, json};

/// Converts; null when there is nothing to take.
#[must_use]
pub fn convert(value: &Value) -> Value {
    let value = match &value["network"] {
        Value::Null => value,
        inner => inner,
    };
    let network = match value["version"].as_u64() {
        Some(1) => version_1(value),
        Some(2) => version_2(value),
        _ => Network::default(),
    };
    network.into_value()
}

#[derive(Debug, Default)]
struct Network {
    interfaces: Map<String, Value>,
    nameservers: Vec<Value>,
    search: Vec<Value>,
}

impl Network {
    fn into_value(self) -> Value {
        let mut map = Map::new();
        if !self.interfaces.is_empty() {
            map.insert("interfaces".into(), Value::Object(self.interfaces));
        }
        let mut dns = Map::new();
        if !self.nameservers.is_empty() {
            dns.insert("nameservers".into(), Value::Array(self.nameservers));
        }
        if !self.search.is_empty() {
            dns.insert("search".into(), Value::Array(self.search));
        }
        if !dns.is_empty() {
            map.insert("dns".into(), Value::Object(dns));
        }
        if map.is_empty() {
            return Value::Null;
        }
        Value::Object(map)
    }

    fn name_servers(&mut self, servers: &Value, search: &Value) {
        self.nameservers.extend(strings(servers));
        self.search.extend(strings(search));
    }

    fn add(&mut self, name: &str, interface: Interface) {
        let mut map = Map::new();
        map.insert("dhcp".into(), interface.dhcp.into());
        if !interface.addresses.is_empty() {
            map.insert("addresses".into(), Value::Array(interface.addresses));
        }
        for (key, value) in [
            ("gateway", interface.gateway),
            ("gateway_ipv6", interface.gateway_ipv6),
        ] {
            if let Some(value) = value {
                map.insert(key.into(), value.into());
            }
        }
        if let Some(mtu) = interface.mtu {
            map.insert("mtu".into(), mtu.into());
        }
        self.interfaces.insert(name.to_owned(), Value::Object(map));
    }
}

#[derive(Debug, Default)]
struct Interface {
    dhcp: bool,
    addresses: Vec<Value>,
    gateway: Option<String>,
    gateway_ipv6: Option<String>,
    mtu: Option<u64>,
}

impl Interface {
    fn gateway(&mut self, gateway: &Value) {
        if let Some(gateway) = gateway.as_str() {
            let place = if gateway.contains(':') {
                &mut self.gateway_ipv6
            } else {
                &mut self.gateway
            };
            *place = Some(gateway.to_owned());
        }
    }
}

fn strings(value: &Value) -> Vec<Value> {
    match value {
        Value::String(_) => vec![value.clone()],
        Value::Array(list) => list
            .iter()
            .filter(|item| item.is_string())
            .cloned()
            .collect(),
        _ => Vec::new(),
    }
}

fn version_2(value: &Value) -> Network {
    let mut network = Network::default();
    let Some(ethernets) = value["ethernets"].as_object() else {
        return network;
    };
    let bonds = value["bonds"].as_object().into_iter().flatten();
    let members: Vec<&Value> = bonds
        .flat_map(|(_, bond)| bond["interfaces"].as_array().into_iter().flatten())
        .collect();
    for (id, link) in ethernets {
        // Its bond is left out: what else is configured for the card stays.
        if members.iter().any(|member| member.as_str() == Some(id)) {
            continue;
        }
        let matched = &link["match"];
        let name = match (matched["macaddress"].as_str(), matched["name"].as_str()) {
            (Some(mac), _) => format!("mac:{}", mac.to_ascii_lowercase()),
            (None, Some(name)) => name.to_owned(),
            (None, None) => id.clone(),
        };
        let mut interface = Interface {
            dhcp: link["dhcp4"] == true || link["dhcp4"] == "yes",
            mtu: link["mtu"].as_u64(),
            ..Interface::default()
        };
        for address in link["addresses"].as_array().into_iter().flatten() {
            // An address is text, or a map with the address as its only key and options below.
            match address {
                Value::String(_) => interface.addresses.push(address.clone()),
                Value::Object(map) => interface
                    .addresses
                    .extend(map.keys().next().cloned().map(Value::String)),
                _ => {}
            }
        }
        interface.gateway(&link["gateway4"]);
        interface.gateway(&link["gateway6"]);
        for route in link["routes"].as_array().into_iter().flatten() {
            let to = route["to"].as_str().unwrap_or_default();
            if matches!(to, "default" | "0.0.0.0/0" | "::/0") {
                interface.gateway(&route["via"]);
            }
        }
        network.name_servers(
            &link["nameservers"]["addresses"],
            &link["nameservers"]["search"],
        );
        network.add(&name, interface);
    }
    network
}

fn version_1(value: &Value) -> Network {
    let mut network = Network::default();
    let items = value["config"].as_array();
    let bonds = items
        .into_iter()
        .flatten()
        .filter(|item| item["type"] == "bond");
    let members: Vec<&Value> = bonds
        .flat_map(|bond| bond["bond_interfaces"].as_array().into_iter().flatten())
        .collect();
    for item in items.into_iter().flatten() {
        match item["type"].as_str() {
            Some("physical") if members.contains(&&item["name"]) => {}
            Some("physical") => physical(&mut network, item),
            Some("nameserver") => network.name_servers(&item["address"], &item["search"]),
            _ => {}
        }
    }
    network
}

fn physical(network: &mut Network, item: &Value) {
    let name = match (item["mac_address"].as_str(), item["name"].as_str()) {
        (Some(mac), _) => format!("mac:{}", mac.to_ascii_lowercase()),
        (None, Some(name)) => name.to_owned(),
        (None, None) => return,
    };
    let mut interface = Interface {
        mtu: item["mtu"].as_u64(),
        ..Interface::default()
    };
    for subnet in item["subnets"].as_array().into_iter().flatten() {
        let kind = subnet["type"].as_str().unwrap_or_default();
        if matches!(kind, "dhcp" | "dhcp4") {
            interface.dhcp = true;
        }
        if kind.starts_with("static")
            && let Some(address) = subnet["address"].as_str()
        {
            let address = with_prefix(address, &subnet["netmask"]);
            interface.addresses.push(address.into());
            interface.gateway(&subnet["gateway"]);
        }
        network.name_servers(&subnet["dns_nameservers"], &subnet["dns_search"]);
    }
    network.add(&name, interface);
}

/// OpenStack's `network_data.json`; null when there is nothing to take. Source: "Networking" of Nova's metadata documentation.
#[must_use]
pub fn from_openstack(value: &Value) -> Value {
    let mut network = Network::default();
    let mut links: Map<String, Value> = Map::new();
    for link in value["links"].as_array().into_iter().flatten() {
        let is_plain = !matches!(link["type"].as_str(), Some("bond" | "vlan"));
        if let Some(id) = link["id"].as_str().filter(|_| is_plain) {
            links.insert(id.to_owned(), link.clone());
        }
    }
    let all = value["links"].as_array().into_iter().flatten();
    let members: Vec<&str> = all
        .flat_map(|link| link["bond_links"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .collect();
    for (id, link) in &links {
        // Its bond is left out: what else is configured for the card stays.
        if members.contains(&id.as_str()) {
            continue;
        }
        let Some(mac) = link["ethernet_mac_address"].as_str() else {
            continue;
        };
        let mut interface = Interface {
            mtu: link["mtu"].as_u64(),
            ..Interface::default()
        };
        let networks = value["networks"].as_array().into_iter().flatten();
        for item in networks.filter(|item| item["link"].as_str() == Some(id.as_str())) {
            openstack_network(&mut network, &mut interface, item);
        }
        network.add(&format!("mac:{}", mac.to_ascii_lowercase()), interface);
    }
    for service in value["services"].as_array().into_iter().flatten() {
        openstack_service(&mut network, service);
    }
    network.into_value()
}

fn openstack_network(network: &mut Network, interface: &mut Interface, item: &Value) {
    let kind = item["type"].as_str().unwrap_or_default();
    if kind == "ipv4_dhcp" {
        interface.dhcp = true;
    }
    if matches!(kind, "ipv4" | "ipv6")
        && let Some(address) = item["ip_address"].as_str()
    {
        let address = with_prefix(address, &item["netmask"]);
        interface.addresses.push(address.into());
        interface.gateway(&item["gateway"]);
        for route in item["routes"].as_array().into_iter().flatten() {
            if matches!(route["network"].as_str(), Some("0.0.0.0" | "::")) {
                interface.gateway(&route["gateway"]);
            }
        }
    }
    for service in item["services"].as_array().into_iter().flatten() {
        openstack_service(network, service);
    }
}

fn openstack_service(network: &mut Network, service: &Value) {
    if service["type"] == "dns" && !network.nameservers.contains(&service["address"]) {
        network.name_servers(&service["address"], &Value::Null);
    }
}

/// `192.168.1.5` and netmask `255.255.255.0` (or 24) as `192.168.1.5/24`.
pub fn with_prefix(address: &str, netmask: &Value) -> String {
    if address.contains('/') {
        return address.to_owned();
    }
    let bits = match netmask {
        Value::Number(bits) => bits.to_string(),
        Value::String(mask) => match mask.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(mask)) => mask.to_bits().leading_ones().to_string(),
            Ok(std::net::IpAddr::V6(mask)) => mask.to_bits().leading_ones().to_string(),
            Err(_) => mask.clone(),
        },
        _ => if address.contains(':') { "64" } else { "24" }.to_owned(),
    };
    format!("{address}/{bits}")
}

/// The map as it stands in `network.yml`.
#[must_use]
pub fn document(network: &Value) -> Value {
    json!({ "rancher": { "network": network } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_with_a_mac_and_routes() {
        let config = json!({ "network": { "version": 2, "ethernets": {
            "id0": {
                "match": { "macaddress": "52:54:00:AA:00:01" },
                "addresses": ["10.0.0.5/24", { "fd00::5/64": { "label": "x" } }],
                "routes": [{ "to": "default", "via": "10.0.0.1" }, { "to": "::/0", "via": "fd00::1" }],
                "nameservers": { "addresses": ["1.1.1.1"], "search": ["example.org"] },
                "mtu": 9000
            },
            "eth1": { "dhcp4": true }
        } } });
        assert_eq!(
            convert(&config),
            json!({
                "interfaces": {
                    "mac:52:54:00:aa:00:01": {
                        "dhcp": false, "addresses": ["10.0.0.5/24", "fd00::5/64"],
                        "gateway": "10.0.0.1", "gateway_ipv6": "fd00::1", "mtu": 9000
                    },
                    "eth1": { "dhcp": true }
                },
                "dns": { "nameservers": ["1.1.1.1"], "search": ["example.org"] }
            })
        );
    }

    #[test]
    fn version_1_with_a_netmask() {
        let config = json!({ "version": 1, "config": [
            { "type": "physical", "name": "eth0", "subnets": [{
                "type": "static", "address": "192.168.1.5", "netmask": "255.255.255.128", "gateway": "192.168.1.1",
                "dns_nameservers": ["192.168.1.1"]
            }] },
            { "type": "nameserver", "address": ["9.9.9.9"], "search": ["lan"] }
        ] });
        assert_eq!(
            convert(&config),
            json!({
                "interfaces": { "eth0": { "dhcp": false, "addresses": ["192.168.1.5/25"], "gateway": "192.168.1.1" } },
                "dns": { "nameservers": ["192.168.1.1", "9.9.9.9"], "search": ["lan"] }
            })
        );
    }

    #[test]
    fn openstack_names_links_apart_from_networks() {
        let config = json!({
            "links": [
                { "id": "a", "ethernet_mac_address": "fa:16:3e:00:00:01", "type": "phy" },
                { "id": "b", "ethernet_mac_address": "fa:16:3e:00:00:02", "type": "vif", "mtu": 1400 },
                { "id": "c", "ethernet_mac_address": "fa:16:3e:00:00:03", "type": "vlan" }
            ],
            "networks": [
                { "link": "a", "type": "ipv4_dhcp" },
                { "link": "b", "type": "ipv6", "ip_address": "fd00::5", "netmask": "ffff:ffff:ffff:ff00::",
                  "routes": [{ "network": "::", "netmask": "::", "gateway": "fd00::1" }],
                  "services": [{ "type": "dns", "address": "fd00::53" }] }
            ],
            "services": [{ "type": "dns", "address": "10.0.0.2" }, { "type": "dns", "address": "fd00::53" }]
        });
        assert_eq!(
            from_openstack(&config),
            json!({
                "interfaces": {
                    "mac:fa:16:3e:00:00:01": { "dhcp": true },
                    "mac:fa:16:3e:00:00:02": {
                        "dhcp": false, "addresses": ["fd00::5/56"], "gateway_ipv6": "fd00::1", "mtu": 1400
                    }
                },
                "dns": { "nameservers": ["fd00::53", "10.0.0.2"] }
            })
        );
        assert_eq!(from_openstack(&json!({})), Value::Null);
        assert_eq!(from_openstack(&json!([])), Value::Null);
    }

    #[test]
    fn what_is_not_understood_gives_nothing() {
        assert_eq!(convert(&json!({ "version": 3 })), Value::Null);
        assert_eq!(convert(&json!("x")), Value::Null);
        assert_eq!(
            convert(&json!({ "version": 2, "ethernets": [] })),
            Value::Null
        );
    }
}
