//! Equinix Metal (once Packet), and services that are made like it: host name, keys and addresses of one document. Source: "Metadata" of
//! Equinix Metal's documentation. The bond that the document describes is not set up.

use os_config::Metadata;
use os_config::types::Ordered;
use serde_json::Value;

use super::service::Service;
use super::{ipv4, ipv6};
use crate::cloud_init::Found;
use crate::cloud_init::fetch::Error;

/// Asks it.
pub fn ask(service: &mut Service<'_>) -> Result<Option<Found>, Error> {
    let Some(document) = service.json("metadata")? else {
        return Ok(None);
    };
    if !document["network"].is_object() {
        return Ok(None);
    }
    Ok(Some(Found {
        user_data: service.bytes("userdata")?.unwrap_or_default(),
        metadata: read(&document),
        ..Found::default()
    }))
}

fn read(document: &Value) -> Metadata {
    let keys = document["ssh_keys"].as_array().into_iter().flatten();
    let keys: Ordered<String> = keys
        .filter_map(Value::as_str)
        .map(str::trim)
        .filter(|key| !key.is_empty())
        .enumerate()
        .map(|(number, key)| (format!("key-{number}"), key.to_owned()))
        .collect();
    let address = |family: u64, is_public: bool| {
        let all = document["network"]["addresses"].as_array();
        let found = all.into_iter().flatten().find(|address| {
            address["address_family"].as_u64() == Some(family)
                && address["public"].as_bool() == Some(is_public)
        });
        found
            .and_then(|address| address["address"].as_str())
            .unwrap_or_default()
    };
    Metadata {
        hostname: document["hostname"].as_str().unwrap_or_default().to_owned(),
        ssh_public_keys: keys,
        public_ipv4: ipv4(address(4, true)),
        private_ipv4: ipv4(address(4, false)),
        public_ipv6: ipv6(address(6, true)),
        private_ipv6: ipv6(address(6, false)),
        ..Metadata::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cloud;
    use super::super::testing::{Fake, Rule, keys};
    use serde_json::json;

    #[test]
    fn a_metal_machine_is_told_its_addresses() {
        let document = json!({
            "id": "9307216f", "hostname": "metal.example", "ssh_keys": ["ssh-rsa A me"],
            "network": { "addresses": [
                { "address_family": 4, "public": true, "address": "147.75.1.2", "cidr": 31 },
                { "address_family": 6, "public": true, "address": "2604:1380::1", "cidr": 127 },
                { "address_family": 4, "public": false, "address": "10.99.1.2", "cidr": 31 }
            ] }
        });
        let mut fake = Fake::new();
        fake.add(Rule::get("/metadata", &document.to_string()));
        fake.add(Rule::get("/userdata", "#cloud-config\n"));
        let found = fake.ask(Cloud::Packet).unwrap().unwrap();
        assert_eq!(found.user_data, b"#cloud-config\n");
        assert_eq!(found.metadata.public_ipv4, "147.75.1.2");
        assert_eq!(found.metadata.private_ipv4, "10.99.1.2");
        assert_eq!(found.metadata.public_ipv6, "2604:1380::1");
        assert_eq!(keys(&found), [("key-0", "ssh-rsa A me")]);
        assert_eq!(Fake::new().ask(Cloud::Packet).unwrap(), None);
    }
}
