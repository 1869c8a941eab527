//! Metadata services of clouds: which there are, how the configuration names them, and where each is asked. Each service has a file that knows
//! its paths and its format; what they say is put into ours purely. [`service`] asks.

mod azure;
mod digitalocean;
mod ec2;
mod gce;
mod openstack;
mod packet;
mod service;
#[cfg(test)]
mod testing;

use std::fs;
use std::path::Path;
use std::time::Instant;

use super::Found;
use super::fetch::{self, Client};
use service::Service;

/// Leases, as the DHCP client's hook leaves them.
const LEASES: &str = "/run/ros/network/leases";
/// What the firmware says (SMBIOS), by the kernel.
const FIRMWARE: &str = "/sys/class/dmi/id";

/// A cloud's metadata service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "CloudStack is its name")]
pub enum Cloud {
    /// Alibaba Cloud
    Aliyun,
    /// Microsoft Azure
    Azure,
    /// Apache CloudStack
    CloudStack,
    /// DigitalOcean
    DigitalOcean,
    /// Amazon EC2, and what speaks like it
    Ec2,
    /// Exoscale
    Exoscale,
    /// Google Compute Engine
    Gce,
    /// OpenStack, over HTTP
    OpenStack,
    /// Equinix Metal, once Packet
    Packet,
}

impl Cloud {
    /// All of them, in the order of `*` in RancherOS 1.x.
    pub const ALL: [Self; 9] = [
        Self::Ec2,
        Self::DigitalOcean,
        Self::Packet,
        Self::Gce,
        Self::CloudStack,
        Self::Exoscale,
        Self::OpenStack,
        Self::Azure,
        Self::Aliyun,
    ];

    /// Its name in `rancher.cloud_init.datasources`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Aliyun => "aliyun",
            Self::Azure => "azure",
            Self::CloudStack => "cloudstack",
            Self::DigitalOcean => "digitalocean",
            Self::Ec2 => "ec2",
            Self::Exoscale => "exoscale",
            Self::Gce => "gce",
            Self::OpenStack => "openstack",
            Self::Packet => "packet",
        }
    }

    /// The cloud of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "equinix" => Some(Self::Packet),
            _ => Self::ALL.into_iter().find(|cloud| cloud.name() == name),
        }
    }

    /// The type as logs name it, as in RancherOS 1.x.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Aliyun => "aliyun-metadata-service",
            Self::Azure => "azure-metadata-service",
            Self::CloudStack => "cloudstack-metadata-service",
            Self::DigitalOcean => "digitalocean-metadata-service",
            Self::Ec2 => "ec2-metadata-service",
            Self::Exoscale => "exoscale-metadata-service",
            Self::Gce => "gce-metadata-service",
            Self::OpenStack => "openstack-metadata-service",
            Self::Packet => "packet-metadata-service",
        }
    }

    /// Where it is asked when the configuration names no other place; more than one: each until one answers.
    fn places(self) -> Vec<String> {
        let place = match self {
            Self::Aliyun => "http://100.100.100.200",
            Self::CloudStack => {
                let servers = ec2::dhcp_servers(Path::new(LEASES));
                return servers
                    .into_iter()
                    .map(|server| format!("http://{server}"))
                    .collect();
            }
            // By address: a name would have to be resolved first.
            Self::Azure | Self::DigitalOcean | Self::Ec2 | Self::Exoscale | Self::Gce => {
                "http://169.254.169.254"
            }
            Self::OpenStack => "http://169.254.169.254",
            Self::Packet => "https://metadata.platformequinix.com",
        };
        vec![place.to_owned()]
    }

    /// Asks it, at `place` or where it usually is. `None`: it says that it knows nothing of this machine, or something else answers there.
    ///
    /// # Errors
    /// When it does not begin to answer until `probe`, does not end until `deadline`, or answers with nonsense.
    pub fn ask(
        self,
        client: &Client,
        place: Option<&str>,
        (probe, deadline): (Instant, Instant),
    ) -> Result<Option<Found>, fetch::Error> {
        let places = place.map_or_else(|| self.places(), |place| vec![place.to_owned()]);
        let mut failure = None;
        for place in places {
            let mut service = Service::new(client, &place, (probe, deadline));
            match self.ask_at(&mut service) {
                Ok(Some(found)) => {
                    return Ok(Some(Found {
                        location: super::source::without_secrets(&place),
                        ..found
                    }));
                }
                Ok(None) => {}
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    fn ask_at(self, service: &mut Service<'_>) -> Result<Option<Found>, fetch::Error> {
        match self {
            Self::Aliyun => ec2::aliyun(service),
            Self::Azure => azure::ask(service),
            Self::CloudStack => ec2::cloudstack(service, "latest"),
            Self::DigitalOcean => digitalocean::ask(service),
            Self::Ec2 => ec2::ask(service),
            Self::Exoscale => ec2::cloudstack(service, "1.0"),
            Self::Gce => gce::ask(service),
            Self::OpenStack => openstack::ask(service),
            Self::Packet => packet::ask(service),
        }
    }
}

/// The cloud that this machine's firmware says it runs in.
#[must_use]
pub fn here() -> Option<Cloud> {
    // What cannot be read is not said.
    let said = |name| fs::read_to_string(Path::new(FIRMWARE).join(name)).unwrap_or_default();
    of_machine(
        &said("sys_vendor"),
        &said("product_name"),
        &said("chassis_asset_tag"),
    )
}

/// The cloud of such a machine (SMBIOS; cloud-init's `ds-identify` knows the same words).
fn of_machine(vendor: &str, product: &str, asset: &str) -> Option<Cloud> {
    let (vendor, product, asset) = (vendor.trim(), product.trim(), asset.trim());
    match (vendor, product, asset) {
        ("Amazon EC2", ..) => Some(Cloud::Ec2),
        ("DigitalOcean", ..) => Some(Cloud::DigitalOcean),
        (_, "Google Compute Engine", _) => Some(Cloud::Gce),
        (_, "Alibaba Cloud ECS", _) => Some(Cloud::Aliyun),
        // Azure's; Hyper-V elsewhere has the same names and another tag.
        (_, _, "7783-7084-3265-9085-8269-3286-77") => Some(Cloud::Azure),
        (_, "OpenStack Nova" | "OpenStack Compute", _) | (_, _, "OpenStack Nova") => {
            Some(Cloud::OpenStack)
        }
        _ if product.starts_with("Exoscale") => Some(Cloud::Exoscale),
        _ if product.starts_with("CloudStack") => Some(Cloud::CloudStack),
        _ => None,
    }
}

/// What of `text` is an IPv4 address, else nothing.
fn ipv4(text: &str) -> String {
    text.trim()
        .parse::<std::net::Ipv4Addr>()
        .map(|address| address.to_string())
        .unwrap_or_default()
}

/// What of `text` is an IPv6 address, else nothing.
fn ipv6(text: &str) -> String {
    text.trim()
        .parse::<std::net::Ipv6Addr>()
        .map(|address| address.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for cloud in Cloud::ALL {
            assert_eq!(Cloud::named(cloud.name()), Some(cloud));
        }
        assert_eq!(Cloud::named("equinix"), Some(Cloud::Packet));
        assert_eq!(Cloud::named("vmware"), None);
    }

    #[test]
    fn machines_say_where_they_are() {
        let of = |vendor, product, asset| of_machine(vendor, product, asset);
        assert_eq!(of("Amazon EC2\n", "m5.large\n", ""), Some(Cloud::Ec2));
        assert_eq!(of("Google", "Google Compute Engine", ""), Some(Cloud::Gce));
        let azure = "7783-7084-3265-9085-8269-3286-77\n";
        let hyper_v = ("Microsoft Corporation", "Virtual Machine");
        assert_eq!(of(hyper_v.0, hyper_v.1, azure), Some(Cloud::Azure));
        assert_eq!(of(hyper_v.0, hyper_v.1, "1234"), None);
        assert_eq!(of("QEMU", "Standard PC (Q35 + ICH9, 2009)", ""), None);
        assert_eq!(
            of("x", "Exoscale Compute Platform", ""),
            Some(Cloud::Exoscale)
        );
    }
}
