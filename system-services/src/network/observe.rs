//! Links, addresses and default routes as the kernel has them, read whole through rtnetlink(7).
//!
//! Reads only. Addresses and routes that are ours carry [`MARK`], links a group: [`MADE`], [`JOINED`] or [`MADE_AND_JOINED`].

use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope,
};
use netlink_packet_route::link::{
    InfoBond, InfoBondPort, InfoData, InfoKind, InfoPortData, InfoVlan, LinkAttribute, LinkFlags,
    LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::cidr::Cidr;

/// Protocol number (IFA_PROTO, rtm_protocol) of the addresses and routes that we set: what carries it may be removed by us.
pub const MARK: u8 = 82;
/// Group (IFLA_GROUP) of the links that we made: they may be removed by us.
pub const MADE: u32 = 82;
/// Group of the links that somebody else made and that we made members: they may be released by us.
pub const JOINED: u32 = 83;
/// Group of the links that we made, and made members.
pub const MADE_AND_JOINED: u32 = 84;

/// What a link is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Kind {
    /// A card, or something that is none of the others.
    #[default]
    Card,
    /// A bond with its mode and options.
    Bond(Vec<InfoBond>),
    /// A bridge.
    Bridge,
    /// A VLAN.
    Vlan {
        /// Its number.
        id: u16,
        /// Number of the link below it.
        parent: u32,
    },
}

/// A network link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Hardware address, lower case with colons; empty when there is none. Of a bond's member its own, not the one the bond gave it.
    pub mac: String,
    /// MTU in bytes.
    pub mtu: u32,
    /// Set up by somebody.
    pub up: bool,
    /// A cable is in and the other side is up.
    pub carrier: bool,
    /// What it is.
    pub kind: Kind,
    /// Number of the bond or bridge that it is a member of.
    pub master: Option<u32>,
    /// The kernel's group of links: ours, or somebody's.
    pub group: u32,
}

impl Link {
    /// We made it.
    #[must_use]
    pub fn is_made(&self) -> bool {
        matches!(self.group, MADE | MADE_AND_JOINED)
    }

    /// We made it a member.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        matches!(self.group, JOINED | MADE_AND_JOINED)
    }

    /// The hardware address to match by; empty for bonds, bridges and VLANs, which bear that of a link below.
    #[must_use]
    pub fn own_mac(&self) -> &str {
        if self.kind == Kind::Card {
            &self.mac
        } else {
            ""
        }
    }
}

/// An address on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Number of the link.
    pub link: u32,
    /// The address.
    pub cidr: Cidr,
    /// We set it.
    pub ours: bool,
    /// It has no end; that of a lease has one.
    pub lasting: bool,
    /// Set by hand or by a program, a DHCP client too; not by a router advertisement, and not link-local.
    pub settled: bool,
}

/// A default route of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Number of the link.
    pub link: u32,
    /// Where to.
    pub gateway: IpAddr,
    /// Lower is preferred.
    pub metric: u32,
    /// We set it.
    pub ours: bool,
    /// Set by hand (protocol boot or static).
    pub by_hand: bool,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// By number.
    pub links: Vec<Link>,
    /// In the kernel's order.
    pub addresses: Vec<Address>,
    /// In the kernel's order.
    pub routes: Vec<Route>,
}

/// Reads everything.
///
/// # Errors
/// When netlink fails.
pub async fn observe(handle: &Handle) -> Result<Observed, rtnetlink::Error> {
    let mut observed = Observed::default();
    let mut links = handle.link().get().execute();
    while let Some(message) = links.try_next().await? {
        observed.links.push(link(&message));
    }
    observed.links.sort_by_key(|link| link.index);
    let mut addresses = handle.address().get().execute();
    while let Some(message) = addresses.try_next().await? {
        observed.addresses.extend(address(&message));
    }
    for all in [
        RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ] {
        let mut routes = handle.route().get(all).execute();
        while let Some(message) = routes.try_next().await? {
            observed.routes.extend(route(&message));
        }
    }
    Ok(observed)
}

fn link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(bytes) if link.mac.is_empty() => link.mac = mac(bytes),
            LinkAttribute::Controller(index) => link.master = (*index > 0).then_some(*index),
            LinkAttribute::Group(group) => link.group = *group,
            LinkAttribute::LinkInfo(infos) => {
                link.kind = kind(infos, &message.attributes);
                if let Some(bytes) = mac_before_bond(infos) {
                    link.mac = mac(bytes);
                }
            }
            _ => {}
        }
    }
    link
}

fn kind(infos: &[LinkInfo], attributes: &[LinkAttribute]) -> Kind {
    let data = infos.iter().find_map(|info| match info {
        LinkInfo::Data(data) => Some(data),
        _ => None,
    });
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    match (kind, data) {
        (Some(InfoKind::Bridge), _) => Kind::Bridge,
        (Some(InfoKind::Bond), Some(InfoData::Bond(options))) => Kind::Bond(options.clone()),
        (Some(InfoKind::Vlan), Some(InfoData::Vlan(options))) => {
            let id = options.iter().find_map(|option| match option {
                InfoVlan::Id(id) => Some(*id),
                _ => None,
            });
            let parent = attributes.iter().find_map(|attribute| match attribute {
                LinkAttribute::Link(parent) => Some(*parent),
                _ => None,
            });
            Kind::Vlan {
                id: id.unwrap_or_default(),
                parent: parent.unwrap_or_default(),
            }
        }
        _ => Kind::Card,
    }
}

/// A bond gives its members one hardware address; the kernel keeps their own.
fn mac_before_bond(infos: &[LinkInfo]) -> Option<&Vec<u8>> {
    infos.iter().find_map(|info| match info {
        LinkInfo::PortData(InfoPortData::BondPort(port)) => {
            port.iter().find_map(|item| match item {
                InfoBondPort::PermHwaddr(bytes) => Some(bytes),
                _ => None,
            })
        }
        _ => None,
    })
}

fn mac(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    bytes.join(":")
}

fn address(message: &AddressMessage) -> Option<Address> {
    let (mut local, mut peer, mut ours) = (None, None, false);
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => peer = Some(*address),
            AddressAttribute::Flags(all) => flags = *all,
            AddressAttribute::Protocol(protocol) => {
                ours = *protocol == AddressProtocol::Other(MARK)
            }
            _ => {}
        }
    }
    let cidr = Cidr {
        address: local.or(peer)?,
        prefix: message.header.prefix_len,
    };
    Some(Address {
        link: message.header.index,
        cidr,
        ours,
        lasting: flags.contains(AddressFlags::Permanent),
        // A lease has an end; so has an address that the kernel made of a router advertisement, but that is IPv6.
        settled: message.header.scope == AddressScope::Universe
            && (cidr.address.is_ipv4() || flags.contains(AddressFlags::Permanent)),
    })
}

fn route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    if header.destination_prefix_length != 0
        || header.kind != RouteType::Unicast
        || !matches!(
            header.address_family,
            AddressFamily::Inet | AddressFamily::Inet6
        )
    {
        return None;
    }
    let (mut link, mut gateway, mut metric, mut table) = (None, None, 0, u32::from(header.table));
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => {
                gateway = Some(IpAddr::V4(*address));
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(address)) => {
                gateway = Some(IpAddr::V6(*address));
            }
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    // 254: the main table.
    (table == 254).then_some(Route {
        link: link?,
        gateway: gateway?,
        metric,
        ours: header.protocol == RouteProtocol::Other(MARK),
        by_hand: matches!(header.protocol, RouteProtocol::Boot | RouteProtocol::Static),
    })
}
