//! Azure's Instance Metadata Service. Source: "Azure Instance Metadata Service" of Microsoft. It gives a machine's `userData`, not its `customData`,
//! which is on the medium that Azure provisions machines with.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use os_config::Metadata;
use os_config::types::Ordered;
use serde_json::Value;

use super::service::Service;
use super::{ipv4, ipv6};
use crate::cloud_init::Found;
use crate::cloud_init::fetch::Error;

const INSTANCE: &str = "metadata/instance?api-version=2021-02-01&format=json";
const USER_DATA: &str = "metadata/instance/compute/userData?api-version=2021-02-01&format=text";

/// Asks it.
pub fn ask(service: &mut Service<'_>) -> Result<Option<Found>, Error> {
    service.header("Metadata", "true");
    let Some(document) = service.json(INSTANCE)? else {
        return Ok(None);
    };
    if !document["compute"].is_object() {
        return Ok(None);
    }
    let mut found = read(&document);
    found.user_data = service.bytes(USER_DATA)?.map(decoded).unwrap_or_default();
    Ok(Some(found))
}

fn read(document: &Value) -> Found {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let compute = &document["compute"];
    let keys = compute["publicKeys"].as_array().into_iter().flatten();
    let keys: Ordered<String> = keys
        .filter_map(|key| key["keyData"].as_str())
        // Keys that Azure made itself have ends of lines within their base64.
        .map(|key| key.replace(['\r', '\n'], "").trim().to_owned())
        .filter(|key| !key.is_empty())
        .enumerate()
        .map(|(number, key)| (format!("key-{number}"), key))
        .collect();
    let link = &document["network"]["interface"][0];
    let address = &link["ipv4"]["ipAddress"][0];
    let six = &link["ipv6"]["ipAddress"][0];
    Found {
        metadata: Metadata {
            // Within a scale set `name` is not that of a host.
            hostname: match text(&compute["osProfile"]["computerName"]) {
                name if name.is_empty() => text(&compute["name"]),
                name => name,
            },
            ssh_public_keys: keys,
            private_ipv4: ipv4(&text(&address["privateIpAddress"])),
            public_ipv4: ipv4(&text(&address["publicIpAddress"])),
            private_ipv6: ipv6(&text(&six["privateIpAddress"])),
            public_ipv6: ipv6(&text(&six["publicIpAddress"])),
            ..Metadata::default()
        },
        ..Found::default()
    }
}

/// It is given in base64; what is not base64 is taken as it is.
fn decoded(text: Vec<u8>) -> Vec<u8> {
    let bare: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    STANDARD.decode(bare).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::super::Cloud;
    use super::super::testing::{Fake, Rule, keys};
    use super::*;
    use serde_json::json;

    fn fake(data: (&str, &str)) -> Fake {
        let document = json!({
            "compute": {
                "name": "set_0",
                "osProfile": { "computerName": "vm1" },
                "publicKeys": [{ "keyData": "ssh-rsa AAAA\r\nBBBB me\r\n", "path": "/home/me/.ssh/authorized_keys" }]
            },
            "network": { "interface": [{
                "ipv4": { "ipAddress": [{ "privateIpAddress": "10.0.0.4", "publicIpAddress": "" }] },
                "ipv6": { "ipAddress": [] }
            }] }
        });
        let mut fake = Fake::new();
        let instance = format!("/{INSTANCE}");
        fake.add(Rule::get(&instance, &document.to_string()).wants("metadata", "true"));
        fake.add(Rule::get(&format!("/{}", data.0), data.1).wants("metadata", "true"));
        fake
    }

    #[test]
    fn azure_gives_user_data_in_base64() {
        let fake = fake((USER_DATA, "I2Nsb3VkLWNvbmZpZwo=\n"));
        let found = fake.ask(Cloud::Azure).unwrap().unwrap();
        assert_eq!(found.user_data, b"#cloud-config\n");
        assert_eq!(found.metadata.hostname, "vm1");
        assert_eq!(found.metadata.private_ipv4, "10.0.0.4");
        assert_eq!(found.metadata.public_ipv4, "");
        assert_eq!(keys(&found), [("key-0", "ssh-rsa AAAABBBB me")]);
    }

    #[test]
    fn what_is_not_base64_is_taken_as_it_is() {
        assert_eq!(decoded(b"#!/bin/sh\n".to_vec()), b"#!/bin/sh\n");
        assert_eq!(decoded(Vec::new()), b"");
    }
}
