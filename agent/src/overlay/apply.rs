//! Carries out the steps of a plan. Idempotent: what somebody else was quicker with is done. One failure does not keep the other steps back.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoVxlan, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteMessage, RouteProtocol, RouteScope};
use rtnetlink::{Handle, LinkUnspec, LinkVxlan, LinkWireguard, RouteMessageBuilder};

use super::iptables;
use super::kernel::{Mac, Neighbour, Route, Vxlan};
use super::keys::Keys;
use super::step::Step;
use super::{SERVICES, Tools, VXLAN, WIREGUARD, docker_network, wireguard};

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("cannot {step}{}", advice(source))]
    Kernel {
        /// The step.
        step: String,
        /// What the kernel said.
        #[source]
        source: rtnetlink::Error,
    },
    /// A setting cannot be written.
    #[error("cannot {0}")]
    Setting(String, #[source] std::io::Error),
    /// Docker refused.
    #[error("cannot {0}")]
    Docker(String, #[source] bollard::errors::Error),
    /// The firewall refused.
    #[error("cannot {0}")]
    Firewall(String, #[source] iptables::Error),
    /// WireGuard refused.
    #[error("cannot {0}")]
    Wireguard(String, #[source] wireguard::Error),
}

fn advice(error: &rtnetlink::Error) -> &'static str {
    match errno(error) {
        // EOPNOTSUPP
        95 => " (the kernel does not have it: is its module there?)",
        // EPERM
        1 => " (CAP_NET_ADMIN is missing)",
        // EADDRINUSE
        98 => " (another link has the same settings or the same port)",
        _ => "",
    }
}

/// Numbers of errno(3) that say that somebody was quicker: the object is there, or it is gone.
const EEXIST: u32 = 17;
const GONE: [u32; 4] = [2, 3, 19, 99];

fn errno(error: &rtnetlink::Error) -> u32 {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.raw_code().unsigned_abs(),
        _ => 0,
    }
}

fn there(result: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    match result {
        Err(error) if errno(&error) == EEXIST => Ok(()),
        other => other,
    }
}

pub(super) fn gone(result: Result<(), rtnetlink::Error>) -> Result<(), rtnetlink::Error> {
    match result {
        Err(error) if GONE.contains(&errno(&error)) => Ok(()),
        other => other,
    }
}

/// Carries out `steps` in order. Gives what failed.
pub async fn apply(tools: &mut Tools, keys: Option<&Keys>, steps: &[Step]) -> Vec<Error> {
    let mut errors = Vec::new();
    for step in steps {
        eprintln!("network: {step}");
        errors.extend(carry_out(tools, keys, step).await.err());
    }
    errors
}

async fn carry_out(tools: &mut Tools, keys: Option<&Keys>, step: &Step) -> Result<(), Error> {
    let docker = |error| Error::Docker(step.to_string(), error);
    match step {
        Step::Set { path, value } => std::fs::write(Path::new("/proc/sys").join(path), value)
            .map_err(|error| Error::Setting(step.to_string(), error)),
        Step::MakeNetwork { bridge, filters } => {
            docker_network::create(&tools.docker, bridge, *filters)
                .await
                .map_err(docker)
        }
        Step::RemoveNetwork { id, .. } => docker_network::remove(&tools.docker, id)
            .await
            .map_err(docker),
        Step::Firewall {
            family,
            text,
            chains,
        } => tools
            .iptables
            .load(*family, text, chains)
            .await
            .map_err(|error| Error::Firewall(step.to_string(), error)),
        Step::Tunnel(change) => match keys {
            Some(keys) => tools
                .wireguard
                .apply(change, &keys.secret())
                .await
                .map_err(|error| Error::Wireguard(step.to_string(), error)),
            None => Ok(()),
        },
        _ => kernel(&tools.handle, step)
            .await
            .map_err(|source| Error::Kernel {
                step: step.to_string(),
                source,
            }),
    }
}

/// The steps that netlink does.
pub(super) async fn kernel(handle: &Handle, step: &Step) -> Result<(), rtnetlink::Error> {
    match step {
        Step::MakeVxlan { vxlan, mac, mtu } => there(
            handle
                .link()
                .add(vxlan_link(*vxlan, *mac, *mtu))
                .execute()
                .await,
        ),
        Step::MakeWireguard { mtu } => {
            let link = LinkWireguard::new(WIREGUARD).mtu(*mtu).build();
            there(handle.link().add(link).execute().await)
        }
        Step::RemoveLink { index, .. } => gone(handle.link().del(*index).execute().await),
        Step::Mtu { index, to, .. } => {
            let link = LinkUnspec::new_with_index(*index).mtu(*to).build();
            handle.link().set(link).execute().await
        }
        Step::Up { index, .. } => {
            let link = LinkUnspec::new_with_index(*index).up().build();
            handle.link().set(link).execute().await
        }
        Step::AddServices { index } => {
            let mut request = handle.address().add(*index, SERVICES.into(), 32);
            // Never chosen as the source of anything else.
            request.message_mut().header.scope = AddressScope::Host;
            there(request.execute().await)
        }
        Step::RemoveServices { index } => {
            let address = handle
                .address()
                .add(*index, SERVICES.into(), 32)
                .message_mut()
                .clone();
            gone(handle.address().del(without_scope(address)).execute().await)
        }
        Step::AddRoute { route, .. } => {
            handle.route().add(message(route)).replace().execute().await
        }
        Step::RemoveRoute { route, .. } => gone(handle.route().del(message(route)).execute().await),
        Step::AddNeighbour { index, neighbour } => add_neighbour(handle, *index, *neighbour).await,
        Step::RemoveNeighbour { index, neighbour } => gone(
            handle
                .neighbours()
                .del(neighbour_message(*index, *neighbour))
                .execute()
                .await,
        ),
        Step::Set { .. }
        | Step::MakeNetwork { .. }
        | Step::RemoveNetwork { .. }
        | Step::Tunnel(_)
        | Step::Firewall { .. } => Ok(()),
    }
}

fn without_scope(mut address: AddressMessage) -> AddressMessage {
    address.header.scope = AddressScope::Universe;
    address
}

fn vxlan_link(vxlan: Vxlan, mac: Mac, mtu: u32) -> LinkMessage {
    let mut link = LinkVxlan::new(VXLAN, vxlan.id)
        .port(vxlan.port)
        .learning(vxlan.learning)
        .address(mac.to_vec())
        .mtu(mtu)
        .up();
    match vxlan.local {
        Some(IpAddr::V4(address)) => link = link.local(address),
        Some(IpAddr::V6(address)) => link = link.append_info_data(InfoVxlan::Local6(address)),
        None => {}
    }
    link.build()
}

fn message(route: &Route) -> RouteMessage {
    let IpNet::V4(to) = route.to else {
        // The network has no other routes yet.
        return RouteMessage::default();
    };
    let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(to.network(), to.prefix_len())
        .output_interface(route.link)
        .protocol(RouteProtocol::Other(route.protocol));
    if let Some(IpAddr::V4(source)) = route.source {
        builder = builder.pref_source(source);
    }
    builder = match route.gateway {
        Some(IpAddr::V4(gateway)) => builder.gateway(gateway),
        _ => builder.scope(RouteScope::Link),
    };
    if route.onlink {
        builder = builder.onlink();
    }
    builder.build()
}

async fn add_neighbour(
    handle: &Handle,
    index: u32,
    neighbour: Neighbour,
) -> Result<(), rtnetlink::Error> {
    let neighbours = handle.neighbours();
    let request = match neighbour {
        Neighbour::Gateway(address, mac) => neighbours
            .add(index, address.into())
            .link_layer_address(&mac),
        Neighbour::Behind(mac, address) => neighbours
            .add_bridge(index, &mac)
            .destination(address)
            .flags(NeighbourFlags::Own),
    };
    request
        .state(NeighbourState::Permanent)
        .replace()
        .execute()
        .await
}

fn neighbour_message(index: u32, neighbour: Neighbour) -> NeighbourMessage {
    use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute};
    let mut message = NeighbourMessage::default();
    message.header.ifindex = index;
    match neighbour {
        Neighbour::Gateway(address, _) => {
            message.header.family = AddressFamily::Inet;
            message
                .attributes
                .push(NeighbourAttribute::Destination(NeighbourAddress::Inet(
                    address,
                )));
        }
        Neighbour::Behind(mac, address) => {
            message.header.family = AddressFamily::Bridge;
            message.header.flags = NeighbourFlags::Own;
            message.header.state = NeighbourState::Permanent;
            message
                .attributes
                .push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
            let address = match address {
                IpAddr::V4(address) => NeighbourAddress::Inet(address),
                IpAddr::V6(address) => NeighbourAddress::Inet6(address),
            };
            message
                .attributes
                .push(NeighbourAttribute::Destination(address));
        }
    }
    message
}
