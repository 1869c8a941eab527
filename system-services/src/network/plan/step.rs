//! The steps of a plan, and their words for the log.

use std::fmt;
use std::net::IpAddr;

use super::super::bond::{Bond, BondOption};
use super::super::cidr::Cidr;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A command of `pre_up` or `post_up`, `$iface` replaced.
    Run {
        /// The link it is for.
        link: String,
        /// The command.
        command: String,
    },
    /// Make a bond, bridge or VLAN.
    Make {
        /// Its name.
        name: String,
        /// What it is.
        what: Make,
    },
    /// Remove a link that we made; members are released, VLANs on it go with it.
    Remove {
        /// Number and name of the link.
        link: LinkId,
        /// Why.
        why: String,
    },
    /// Give a bond an option.
    Tune {
        /// Number and name of the bond.
        link: LinkId,
        /// The option.
        option: BondOption,
    },
    /// Make a link a member.
    Join {
        /// Number and name of the link.
        link: LinkId,
        /// The bond or bridge.
        master: LinkId,
        /// What that is.
        of: Master,
        /// The group that the link gets, so that it may be released by us.
        mark: u32,
    },
    /// Release a link from what it is a member of.
    Leave {
        /// Number and name of the link.
        link: LinkId,
        /// The group that the link gets.
        mark: u32,
    },
    /// Set the MTU.
    Mtu {
        /// Number and name of the link.
        link: LinkId,
        /// Bytes.
        mtu: u32,
    },
    /// Set the link up.
    Up {
        /// Number and name of the link.
        link: LinkId,
    },
    /// Take an address away.
    RemoveAddress {
        /// Number and name of the link.
        link: LinkId,
        /// The address.
        cidr: Cidr,
        /// Why.
        why: &'static str,
    },
    /// Add an address.
    AddAddress {
        /// Number and name of the link.
        link: LinkId,
        /// The address.
        cidr: Cidr,
    },
    /// Take a default route away.
    RemoveRoute {
        /// Number and name of the link.
        link: LinkId,
        /// Its gateway.
        gateway: IpAddr,
        /// Its metric.
        metric: u32,
    },
    /// Add a default route.
    AddRoute {
        /// Number and name of the link.
        link: LinkId,
        /// Its gateway.
        gateway: IpAddr,
        /// Its metric.
        metric: u32,
        /// Whether the gateway lies outside the link's networks.
        reach: Reach,
    },
}

/// A link to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Make {
    /// A bond.
    Bond(Bond),
    /// A bridge.
    Bridge,
    /// A VLAN.
    Vlan {
        /// The link below it.
        parent: LinkId,
        /// Its number.
        id: u16,
    },
}

/// What a link becomes a member of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Master {
    /// A bond: it takes only links that are down, and sets them up itself.
    Bond,
    /// A bridge.
    Bridge,
}

impl Step {
    /// True when other links or other steps follow from it, so that the network is not yet what it is to be.
    #[must_use]
    pub fn builds(&self) -> bool {
        matches!(
            self,
            Self::Make { .. } | Self::Remove { .. } | Self::Join { .. } | Self::Leave { .. }
        )
    }
}

/// Where a gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// In a network of the link.
    Network,
    /// Beyond it; the kernel is told to believe that it is there.
    OnLink,
}

/// A link as steps name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkId {
    /// The kernel's number.
    pub index: u32,
    /// Its name, for people.
    pub name: String,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { link, command } => write!(formatter, "{link}: run {command}"),
            Self::Make { name, what } => match what {
                Make::Bond(bond) => {
                    write!(formatter, "{name}: make bond {}", bond.mode)?;
                    bond.options
                        .iter()
                        .try_for_each(|option| write!(formatter, ", {option}"))
                }
                Make::Bridge => write!(formatter, "{name}: make bridge"),
                Make::Vlan { parent, id } => {
                    write!(formatter, "{name}: make VLAN {id} on {}", parent.name)
                }
            },
            Self::Remove { link, why } => write!(formatter, "{}: remove ({why})", link.name),
            Self::Tune { link, option } => write!(formatter, "{}: {option}", link.name),
            Self::Join { link, master, .. } => {
                write!(formatter, "{}: member of {}", link.name, master.name)
            }
            Self::Leave { link, .. } => write!(formatter, "{}: no longer a member", link.name),
            Self::Mtu { link, mtu } => write!(formatter, "{}: MTU {mtu}", link.name),
            Self::Up { link } => write!(formatter, "{}: set up", link.name),
            Self::RemoveAddress { link, cidr, why } => {
                write!(formatter, "{}: remove {cidr} ({why})", link.name)
            }
            Self::AddAddress { link, cidr } => write!(formatter, "{}: add {cidr}", link.name),
            Self::RemoveRoute {
                link,
                gateway,
                metric,
            } => write!(
                formatter,
                "{}: remove default route via {gateway} metric {metric} (not configured)",
                link.name
            ),
            Self::AddRoute {
                link,
                gateway,
                metric,
                reach,
            } => {
                let beyond = match reach {
                    Reach::Network => "",
                    Reach::OnLink => " (outside the link's networks)",
                };
                write!(
                    formatter,
                    "{}: default route via {gateway} metric {metric}{beyond}",
                    link.name
                )
            }
        }
    }
}
