//! OpenStack over HTTP: what a config drive holds, from Nova's metadata service. Source: "Metadata" of Nova's documentation.

use super::service::Service;
use crate::cloud_init::fetch::Error;
use crate::cloud_init::{Found, metadata, network_config};

/// Asks it.
pub fn ask(service: &mut Service<'_>) -> Result<Option<Found>, Error> {
    let Some(described) = service.json("openstack/latest/meta_data.json")? else {
        return Ok(None);
    };
    if !described.is_object() {
        return Ok(None);
    }
    let network = service.optional_json("openstack/latest/network_data.json");
    Ok(Some(Found {
        user_data: service
            .bytes("openstack/latest/user_data")?
            .unwrap_or_default(),
        metadata: metadata::from_openstack(&described),
        network: network
            .map(|value| network_config::from_openstack(&value))
            .unwrap_or_default(),
        ..Found::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::super::Cloud;
    use super::super::testing::{Fake, Rule, keys};
    use serde_json::json;

    #[test]
    fn nova_says_what_a_drive_holds() {
        let network = json!({
            "links": [{ "id": "tap1", "ethernet_mac_address": "FA:16:3E:00:00:01", "mtu": 1450, "type": "ovs" }],
            "networks": [{
                "id": "network0", "link": "tap1", "type": "ipv4", "ip_address": "10.0.0.5", "netmask": "255.255.255.0",
                "routes": [{ "network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "10.0.0.1" }]
            }],
            "services": [{ "type": "dns", "address": "10.0.0.2" }]
        });
        let mut fake = Fake::new();
        fake.add(Rule::get(
            "/openstack/latest/meta_data.json",
            r#"{"uuid": "83679162", "hostname": "test.novalocal", "public_keys": {"mykey": "ssh-rsa A\n"}}"#,
        ));
        fake.add(Rule::get(
            "/openstack/latest/network_data.json",
            &network.to_string(),
        ));
        fake.add(Rule::get("/openstack/latest/user_data", "#!/bin/sh\n"));
        let found = fake.ask(Cloud::OpenStack).unwrap().unwrap();
        assert_eq!(found.user_data, b"#!/bin/sh\n");
        assert_eq!(found.metadata.hostname, "test.novalocal");
        assert_eq!(keys(&found), [("mykey", "ssh-rsa A")]);
        assert_eq!(
            found.network,
            json!({
                "interfaces": { "mac:fa:16:3e:00:00:01": {
                    "dhcp": false, "addresses": ["10.0.0.5/24"], "gateway": "10.0.0.1", "mtu": 1450
                } },
                "dns": { "nameservers": ["10.0.0.2"] }
            })
        );
        assert_eq!(Fake::new().ask(Cloud::OpenStack).unwrap(), None);
    }
}
