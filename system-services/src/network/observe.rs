//! Links, addresses and default routes as the kernel has them, read whole through rtnetlink(7).
//!
//! Reads only. What is ours carries [`MARK`].

use std::net::IpAddr;

use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder};

use super::desired::Cidr;

/// Protocol number (IFA_PROTO, rtm_protocol) of the addresses and routes that we set: what carries it may be removed by us.
pub const MARK: u8 = 82;

/// A network link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Hardware address, lower case with colons; empty when there is none.
    pub mac: String,
    /// MTU in bytes.
    pub mtu: u32,
    /// Set up by somebody.
    pub up: bool,
    /// A cable is in and the other side is up.
    pub carrier: bool,
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
    /// Set by hand or by a program; not by a router advertisement, and not link-local.
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
            LinkAttribute::Address(bytes) => link.mac = mac(bytes),
            _ => {}
        }
    }
    link
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
        settled: flags.contains(AddressFlags::Permanent)
            && message.header.scope == AddressScope::Universe,
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
