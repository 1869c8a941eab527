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
use std::time::{Duration, Instant};

use super::Found;
use super::fetch::{self, Client};
use service::Service;

/// Leases, as the DHCP client's hook leaves them.
const LEASES: &str = "/run/ros/network/leases";
/// Between two looks for a lease.
const PAUSE: Duration = Duration::from_millis(200);
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
        let mut places = place.map_or_else(|| self.places(), |place| vec![place.to_owned()]);
        // Where the lease says who to ask, it may come late.
        while places.is_empty() && Instant::now() < probe {
            std::thread::sleep(PAUSE);
            places = self.places();
        }
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
    let said = |name| {
        let text = fs::read_to_string(Path::new(FIRMWARE).join(name));
        text.unwrap_or_default().trim().to_owned()
    };
    Firmware {
        vendor: said("sys_vendor"),
        product: said("product_name"),
        asset: said("chassis_asset_tag"),
        bios: said("bios_version"),
        uuid: said("product_uuid").to_ascii_lowercase(),
    }
    .cloud()
}

/// What the firmware says of a machine (SMBIOS).
#[derive(Debug, Default)]
struct Firmware {
    vendor: String,
    product: String,
    asset: String,
    bios: String,
    /// In lower case.
    uuid: String,
}

/// Asset tags of clouds that are OpenStack.
const OPENSTACK: [&str; 6] = [
    "OpenStack Nova",
    "OpenStack Compute",
    "OpenTelekomCloud",
    "HUAWEICLOUD",
    "SAP CCloud VM",
    "Samsung Cloud Platform",
];

impl Firmware {
    /// The cloud of such a machine (cloud-init's `ds-identify` knows the same words).
    fn cloud(&self) -> Option<Cloud> {
        let (vendor, product, asset) = (&*self.vendor, &*self.product, &*self.asset);
        // Machines on Xen, such as t2: "Identify EC2 Linux instances" of AWS.
        let is_amazons = self.bios.contains("amazon") || self.uuid.starts_with("ec2");
        match (vendor, product, asset) {
            ("Xen", ..) if is_amazons => Some(Cloud::Ec2),
            ("Amazon EC2", ..) => Some(Cloud::Ec2),
            ("DigitalOcean", ..) => Some(Cloud::DigitalOcean),
            (_, "Google Compute Engine", _) => Some(Cloud::Gce),
            (_, "Alibaba Cloud ECS", _) => Some(Cloud::Aliyun),
            // Azure's; Hyper-V elsewhere has the same names and another tag.
            (_, _, "7783-7084-3265-9085-8269-3286-77") => Some(Cloud::Azure),
            (_, "OpenStack Nova" | "OpenStack Compute", _) => Some(Cloud::OpenStack),
            _ if OPENSTACK.contains(&asset) => Some(Cloud::OpenStack),
            _ if product.starts_with("Exoscale") => Some(Cloud::Exoscale),
            _ if product.starts_with("CloudStack") => Some(Cloud::CloudStack),
            _ => None,
        }
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
        let of = |vendor: &str, product: &str, asset: &str| {
            let firmware = Firmware {
                vendor: vendor.into(),
                product: product.into(),
                asset: asset.into(),
                ..Firmware::default()
            };
            firmware.cloud()
        };
        assert_eq!(of("Amazon EC2", "m5.large", ""), Some(Cloud::Ec2));
        let xen = |bios: &str, uuid: &str| {
            let firmware = Firmware {
                vendor: "Xen".into(),
                product: "HVM domU".into(),
                bios: bios.into(),
                uuid: uuid.into(),
                ..Firmware::default()
            };
            firmware.cloud()
        };
        assert_eq!(xen("4.11.amazon", ""), Some(Cloud::Ec2));
        assert_eq!(
            xen("4.2", "ec2e1916-9099-7caf-fd21-012345abcdef"),
            Some(Cloud::Ec2)
        );
        assert_eq!(xen("4.13", "12345678"), None);
        assert_eq!(of("x", "x", "HUAWEICLOUD"), Some(Cloud::OpenStack));
        assert_eq!(of("Google", "Google Compute Engine", ""), Some(Cloud::Gce));
        let azure = "7783-7084-3265-9085-8269-3286-77";
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
