//! Makes, removes and stacks links. A wrong option of a bond must not cost the bond: each is set by itself.

use netlink_packet_route::link::{InfoBond, LinkMessage};
use rtnetlink::{Error, Handle, LinkBond, LinkBridge, LinkUnspec, LinkVlan};

use super::super::bond::{Bond, BondOption};
use super::super::observe::MADE;
use super::super::plan::{LinkId, Make, Master};
use super::{EEXIST, ENODEV, LOG, tolerate};
use crate::log::Chain;

/// Makes `name`, marked as ours.
pub async fn make(handle: &Handle, name: &str, what: &Make) -> Result<(), Error> {
    match what {
        Make::Bond(bond) => make_bond(handle, name, bond).await,
        Make::Bridge => {
            let message = LinkBridge::new(name).link_group(MADE).build();
            handle.link().add(message).execute().await
        }
        Make::Vlan { parent, id } => {
            let message = LinkVlan::new(name, parent.index, *id)
                .link_group(MADE)
                .build();
            handle.link().add(message).execute().await
        }
    }
}

async fn make_bond(handle: &Handle, name: &str, bond: &Bond) -> Result<(), Error> {
    let message = LinkBond::new(name).mode(bond.mode).link_group(MADE).build();
    let made = handle.link().add(message).execute().await;
    // The first bond of all loads the module, which may make a bond0 of its own: that one is it.
    if is_there(&made) {
        let adopted = LinkUnspec::new_with_name(name)
            .down()
            .link_group(MADE)
            .build();
        change(handle, adopted).await?;
        set_option(handle, name, InfoBond::Mode(bond.mode)).await?;
    } else {
        made?;
    }
    for option in &bond.options {
        if let Err(error) = set_option(handle, name, option.value.clone()).await {
            LOG.error(format_args!("{name}: {option}: {}", Chain(&error)));
        }
    }
    Ok(())
}

fn is_there(made: &Result<(), Error>) -> bool {
    matches!(made, Err(Error::NetlinkError(message)) if message.raw_code().unsigned_abs() == EEXIST)
}

async fn set_option(handle: &Handle, name: &str, value: InfoBond) -> Result<(), Error> {
    let message = LinkBond::new(name).append_info_data(value).build();
    change(handle, message).await
}

async fn change(handle: &Handle, message: LinkMessage) -> Result<(), Error> {
    handle.link().change(message).execute().await
}

/// Removes a link; one that has gone with another is no error.
pub async fn remove(handle: &Handle, link: &LinkId) -> Result<(), Error> {
    tolerate(handle.link().del(link.index).execute().await, ENODEV)
}

/// Gives a bond an option.
pub async fn tune(handle: &Handle, link: &LinkId, option: &BondOption) -> Result<(), Error> {
    set_option(handle, &link.name, option.value.clone()).await
}

/// Makes the first a member of the second.
pub async fn join(
    handle: &Handle,
    (link, master): (&LinkId, &LinkId),
    of: Master,
    mark: u32,
) -> Result<(), Error> {
    if of == Master::Bond {
        let down = LinkUnspec::new_with_index(link.index).down().build();
        change(handle, down).await?;
    }
    let member = LinkUnspec::new_with_index(link.index)
        .controller(master.index)
        .link_group(mark)
        .build();
    change(handle, member).await
}

/// Releases a link.
pub async fn leave(handle: &Handle, link: &LinkId, mark: u32) -> Result<(), Error> {
    let free = LinkUnspec::new_with_index(link.index)
        .nocontroller()
        .link_group(mark)
        .build();
    change(handle, free).await
}
