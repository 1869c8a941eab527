//! DigitalOcean: one document, with the addresses of all links. Source: "Metadata API" of DigitalOcean, version 1.

use os_config::Metadata;
use os_config::types::Ordered;
use serde_json::{Map, Value, json};

use super::service::Service;
use super::{ipv4, ipv6};
use crate::cloud_init::Found;
use crate::cloud_init::fetch::Error;
use crate::cloud_init::network_config::with_prefix;

/// Asks it.
pub fn ask(service: &mut Service<'_>) -> Result<Option<Found>, Error> {
    let Some(document) = service.json("metadata/v1.json")? else {
        return Ok(None);
    };
    if document["droplet_id"].is_null() {
        return Ok(None);
    }
    let mut found = read(&document);
    if found.user_data.is_empty() {
        found.user_data = service.bytes("metadata/v1/user-data")?.unwrap_or_default();
    }
    Ok(Some(found))
}

fn read(document: &Value) -> Found {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let links = &document["interfaces"];
    let (public, private) = (&links["public"][0], &links["private"][0]);
    let keys = document["public_keys"].as_array().into_iter().flatten();
    let keys = keys.filter_map(Value::as_str).map(str::trim).enumerate();
    let keys: Ordered<String> = keys
        .filter(|(_, key)| !key.is_empty())
        .map(|(number, key)| (format!("key-{number}"), key.to_owned()))
        .collect();
    Found {
        user_data: text(&document["user_data"]).into_bytes(),
        metadata: Metadata {
            hostname: text(&document["hostname"]),
            ssh_public_keys: keys,
            public_ipv4: ipv4(&text(&public["ipv4"]["ip_address"])),
            public_ipv6: ipv6(&text(&public["ipv6"]["ip_address"])),
            private_ipv4: ipv4(&text(&private["ipv4"]["ip_address"])),
            private_ipv6: ipv6(&text(&private["ipv6"]["ip_address"])),
            ..Metadata::default()
        },
        network: network(document),
        ..Found::default()
    }
}

/// A link is known by its MAC; only the public ones have a gateway of use.
fn network(document: &Value) -> Value {
    let mut interfaces = Map::new();
    for (kind, is_public) in [("public", true), ("private", false)] {
        let links = document["interfaces"][kind].as_array();
        for link in links.into_iter().flatten() {
            let Some(mac) = link["mac"].as_str() else {
                continue;
            };
            let mut addresses = Vec::new();
            let mut map = Map::new();
            map.insert("dhcp".into(), false.into());
            for (family, mask, gateway) in [
                ("ipv4", "netmask", "gateway"),
                ("anchor_ipv4", "netmask", ""),
                ("ipv6", "cidr", "gateway_ipv6"),
            ] {
                let Some(address) = link[family]["ip_address"].as_str() else {
                    continue;
                };
                addresses.push(Value::from(with_prefix(address, &link[family][mask])));
                if let Some(via) = link[family]["gateway"].as_str()
                    && is_public
                    && !gateway.is_empty()
                {
                    map.insert(gateway.into(), via.into());
                }
            }
            if !addresses.is_empty() {
                map.insert("addresses".into(), addresses.into());
                interfaces.insert(format!("mac:{}", mac.to_ascii_lowercase()), map.into());
            }
        }
    }
    if interfaces.is_empty() {
        return Value::Null;
    }
    let mut network = json!({ "interfaces": interfaces });
    let servers = &document["dns"]["nameservers"];
    if servers.as_array().is_some_and(|list| !list.is_empty()) {
        network["dns"] = json!({ "nameservers": servers });
    }
    network
}

#[cfg(test)]
mod tests {
    use super::super::Cloud;
    use super::super::testing::{Fake, Rule, keys};
    use super::*;

    #[test]
    fn a_droplet_is_told_its_links() {
        let document = json!({
            "droplet_id": 2_756_294,
            "hostname": "sample-droplet",
            "public_keys": ["ssh-ed25519 AAAA me\n"],
            "dns": { "nameservers": ["67.207.67.3"] },
            "interfaces": {
                "public": [{
                    "ipv4": { "ip_address": "104.131.20.105", "netmask": "255.255.192.0", "gateway": "104.131.0.1" },
                    "ipv6": { "ip_address": "2604:A880:0800:0010::017D:2001", "cidr": 64, "gateway": "2604:A880:0800:0010::1" },
                    "anchor_ipv4": { "ip_address": "10.17.0.9", "netmask": "255.255.0.0", "gateway": "10.17.0.1" },
                    "mac": "04:01:2A:0F:2A:01", "type": "public"
                }],
                "private": [{
                    "ipv4": { "ip_address": "10.132.255.113", "netmask": "255.255.0.0", "gateway": "10.132.0.1" },
                    "mac": "04:01:2a:0f:2a:02", "type": "private"
                }]
            }
        });
        let mut fake = Fake::new();
        fake.add(Rule::get("/metadata/v1.json", &document.to_string()));
        fake.add(Rule::get("/metadata/v1/user-data", "#cloud-config\n"));
        let found = fake.ask(Cloud::DigitalOcean).unwrap().unwrap();
        assert_eq!(found.user_data, b"#cloud-config\n");
        assert_eq!(found.metadata.hostname, "sample-droplet");
        assert_eq!(found.metadata.public_ipv4, "104.131.20.105");
        assert_eq!(found.metadata.public_ipv6, "2604:a880:800:10::17d:2001");
        assert_eq!(found.metadata.private_ipv4, "10.132.255.113");
        assert_eq!(keys(&found), [("key-0", "ssh-ed25519 AAAA me")]);
        assert_eq!(
            found.network,
            json!({
                "interfaces": {
                    "mac:04:01:2a:0f:2a:01": {
                        "dhcp": false,
                        "addresses": ["104.131.20.105/18", "10.17.0.9/16", "2604:A880:0800:0010::017D:2001/64"],
                        "gateway": "104.131.0.1",
                        "gateway_ipv6": "2604:A880:0800:0010::1"
                    },
                    "mac:04:01:2a:0f:2a:02": { "dhcp": false, "addresses": ["10.132.255.113/16"] }
                },
                "dns": { "nameservers": ["67.207.67.3"] }
            })
        );
    }

    #[test]
    fn another_document_is_not_of_a_droplet() {
        let mut fake = Fake::new();
        fake.add(Rule::get("/metadata/v1.json", "{\"id\": 1}"));
        assert_eq!(fake.ask(Cloud::DigitalOcean).unwrap(), None);
        let mut fake = Fake::new();
        fake.add(Rule::get("/metadata/v1.json", "<html>"));
        assert_eq!(fake.ask(Cloud::DigitalOcean).unwrap(), None);
    }
}
