//! Links, addresses, routes and neighbours as the kernel has them, read whole through rtnetlink(7). Reads only.

use std::net::{IpAddr, Ipv4Addr};

use futures_util::TryStreamExt;
use ipnet::{IpNet, Ipv4Net};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType,
};
use rtnetlink::{Handle, RouteMessageBuilder};

/// Protocol number (rtm_protocol, rtnetlink(7)) of our routes: what carries it may be removed by us. 82 is that of the operating system's
/// network service.
pub const PROTOCOL: u8 = 83;
/// The main routing table.
const MAIN: u32 = 254;

/// A link address.
pub type Mac = [u8; 6];

/// A link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Largest packet.
    pub mtu: u32,
    /// Set up by somebody.
    pub up: bool,
    /// Link address, when it has one of six bytes.
    pub mac: Option<Mac>,
    /// What the kernel calls its kind; empty for devices.
    pub kind: String,
    /// What a VXLAN is set to.
    pub vxlan: Vxlan,
}

/// What a VXLAN is set to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vxlan {
    /// Network identifier.
    pub id: u32,
    /// UDP port.
    pub port: u16,
    /// Address that packets leave from.
    pub local: Option<IpAddr>,
    /// Whether it learns where link addresses are.
    pub learning: bool,
}

/// A route of the main table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub to: IpNet,
    /// Number of the link.
    pub link: u32,
    /// By whom.
    pub gateway: Option<IpAddr>,
    /// Address that the host's own packets leave from.
    pub source: Option<IpAddr>,
    /// The gateway need not be in a network of the link.
    pub onlink: bool,
    /// Lower is preferred.
    pub metric: u32,
    /// Who set it.
    pub protocol: u8,
}

/// A lasting entry of the neighbour table, or of a VXLAN's forwarding table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    /// A gateway has this link address.
    Gateway(Ipv4Addr, Mac),
    /// A link address is behind this host.
    Behind(Mac, IpAddr),
}

impl std::fmt::Display for Neighbour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mac = |mac: &Mac| mac.map(|byte| format!("{byte:02x}")).join(":");
        match self {
            Self::Gateway(address, at) => write!(f, "gateway {address} at {}", mac(at)),
            Self::Behind(of, address) => write!(f, "{} behind {address}", mac(of)),
        }
    }
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kernel {
    /// By number.
    pub links: Vec<Link>,
    /// With the number of their link.
    pub addresses: Vec<(u32, IpNet)>,
    /// Unicast routes of the main table.
    pub routes: Vec<Route>,
    /// Of links of ours, with the number of the link.
    pub neighbours: Vec<(u32, Neighbour)>,
}

impl Kernel {
    /// The link of that name.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The name of a link, for people.
    #[must_use]
    pub fn name(&self, index: u32) -> &str {
        let link = self.links.iter().find(|link| link.index == index);
        link.map_or("?", |link| &link.name)
    }
}

/// Reads everything.
///
/// # Errors
/// When netlink fails.
pub async fn observe(handle: &Handle) -> Result<Kernel, rtnetlink::Error> {
    let links: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
    let mut kernel = Kernel {
        links: links.iter().map(link).collect(),
        ..Kernel::default()
    };
    let addresses: Vec<AddressMessage> = handle.address().get().execute().try_collect().await?;
    kernel.addresses = addresses.iter().filter_map(address).collect();
    for all in [
        RouteMessageBuilder::<Ipv4Addr>::new().build(),
        RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
    ] {
        let routes: Vec<RouteMessage> = handle.route().get(all).execute().try_collect().await?;
        kernel.routes.extend(routes.iter().filter_map(route));
    }
    // Other links' neighbours are not looked at, and may be many.
    if kernel.link(super::VXLAN).is_some() {
        for family in [AddressFamily::Inet, AddressFamily::Bridge] {
            let request = handle.neighbours().get().set_address_family(family);
            let all: Vec<NeighbourMessage> = request.execute().try_collect().await?;
            let found: Vec<_> = all
                .iter()
                .filter_map(|one| neighbour(one, &kernel))
                .collect();
            kernel.neighbours.extend(found);
        }
    }
    Ok(kernel)
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        up: message.header.flags.contains(LinkFlags::Up),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(bytes) => link.mac = bytes.as_slice().try_into().ok(),
            LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| kind(&mut link, info)),
            _ => {}
        }
    }
    link
}

fn kind(link: &mut Link, info: &LinkInfo) {
    match info {
        LinkInfo::Kind(InfoKind::Vxlan) => link.kind = "vxlan".into(),
        LinkInfo::Kind(InfoKind::Wireguard) => link.kind = "wireguard".into(),
        LinkInfo::Kind(InfoKind::Bridge) => link.kind = "bridge".into(),
        LinkInfo::Kind(other) => link.kind = format!("{other:?}"),
        LinkInfo::Data(InfoData::Vxlan(infos)) => {
            for info in infos {
                match info {
                    InfoVxlan::Id(id) => link.vxlan.id = *id,
                    InfoVxlan::Port(port) => link.vxlan.port = *port,
                    InfoVxlan::Local(address) => link.vxlan.local = Some((*address).into()),
                    InfoVxlan::Local6(address) => link.vxlan.local = Some((*address).into()),
                    InfoVxlan::Learning(learning) => link.vxlan.learning = *learning,
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

fn address(message: &AddressMessage) -> Option<(u32, IpNet)> {
    let (mut local, mut peer) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => peer = Some(*address),
            _ => {}
        }
    }
    let net = IpNet::new(local.or(peer)?, message.header.prefix_len).ok()?;
    Some((message.header.index, net))
}

fn route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let any: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let (mut to, mut link, mut gateway, mut source) = (any, None, None, None);
    let (mut metric, mut table) = (0, u32::from(header.table));
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip(address)?,
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::PrefSource(address) => source = ip(address),
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Table(number) => table = *number,
            // Of several ways, the first stands for all.
            RouteAttribute::MultiPath(ways) => {
                let way = ways.first()?;
                link = Some(way.interface_index);
                gateway = way.attributes.iter().find_map(|attribute| match attribute {
                    RouteAttribute::Gateway(address) => ip(address),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let is_wanted = table == MAIN && header.kind == RouteType::Unicast;
    is_wanted.then_some(Route {
        to: IpNet::new(to, header.destination_prefix_length).ok()?,
        link: link?,
        gateway,
        source,
        onlink: header.flags.contains(RouteFlags::Onlink),
        metric,
        protocol: u8::from(header.protocol),
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn neighbour(message: &NeighbourMessage, kernel: &Kernel) -> Option<(u32, Neighbour)> {
    let header = &message.header;
    if !kernel.name(header.ifindex).starts_with(super::PREFIX)
        || !matches!(header.state, NeighbourState::Permanent)
    {
        return None;
    }
    let (mut at, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(address) => at = destination(address),
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
            _ => {}
        }
    }
    let neighbour = match (header.family, at?) {
        (AddressFamily::Bridge, address) => Neighbour::Behind(mac?, address),
        (AddressFamily::Inet, IpAddr::V4(address)) => Neighbour::Gateway(address, mac?),
        _ => return None,
    };
    Some((header.ifindex, neighbour))
}

/// Of a forwarding table, the library gives plain bytes.
fn destination(address: &NeighbourAddress) -> Option<IpAddr> {
    match address {
        NeighbourAddress::Inet(address) => Some((*address).into()),
        NeighbourAddress::Inet6(address) => Some((*address).into()),
        NeighbourAddress::Other(bytes) => {
            let old = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
            let new = <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from);
            old.or(new).ok()
        }
        _ => None,
    }
}

/// The way to an address: the route of the longest prefix, then of the lowest metric. What we set ourselves is not looked at.
#[must_use]
pub fn way(kernel: &Kernel, to: IpAddr) -> Option<&Route> {
    let is_foreign = |route: &&Route| {
        route.protocol != PROTOCOL && !kernel.name(route.link).starts_with(super::PREFIX)
    };
    let routes = kernel.routes.iter().filter(is_foreign);
    routes
        .filter(|route| route.to.contains(&to))
        .min_by_key(|route| (u8::MAX - route.to.prefix_len(), route.metric))
}

/// A route or address of this host that lies in `subnet` and is not ours, in words. Default routes do not count, nor do the few large pieces that
/// VPNs lay over them.
#[must_use]
pub fn clash(kernel: &Kernel, subnet: Ipv4Net) -> Option<String> {
    let overlaps = |net: &IpNet| match net {
        IpNet::V4(net) => net.prefix_len() >= 4 && (net.contains(&subnet) || subnet.contains(net)),
        IpNet::V6(_) => false,
    };
    let is_ours = |link: u32| kernel.name(link).starts_with(super::PREFIX);
    let address = kernel
        .addresses
        .iter()
        .find(|(link, net)| !is_ours(*link) && overlaps(&net.trunc()))
        .map(|(link, net)| format!("the address {net} of link {}", kernel.name(*link)));
    let route = kernel
        .routes
        .iter()
        .find(|route| route.protocol != PROTOCOL && !is_ours(route.link) && overlaps(&route.to));
    let route = route.map(|route| {
        format!(
            "the route to {} on link {}",
            route.to,
            kernel.name(route.link)
        )
    });
    address.or(route)
}
