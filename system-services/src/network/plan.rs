//! What to do so that the links become what the configuration says. Pure: same input, same steps; each step says why.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use super::desired::{Cidr, Desired, Setup};
use super::observe::{Link, Observed};

/// Default routes that we set: this plus the number of the link, so that several links have an order, and all come before DHCP's (1000 and
/// more).
const METRIC: u32 = 100;

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

/// A link that a DHCP client looks after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpLink {
    /// Its name.
    pub name: String,
    /// Arguments in place of ours.
    pub arguments: Option<String>,
    /// Only a link-local address is wanted, no lease.
    pub link_local: bool,
}

/// Everything to do now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// Links with DHCP, by name.
    pub dhcp: Vec<DhcpLink>,
    /// Links that are ours to set up, by number: known from now on.
    pub links: BTreeSet<u32>,
}

/// Plans. `known` are the links that an earlier plan of this run has set up: their hooks are not run again, what somebody has since added to
/// them is his, and one that he has set down stays down.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, known: &BTreeSet<u32>) -> Plan {
    let mut plan = Plan::default();
    for link in &observed.links {
        let Some(setup) = desired.setup_of(&link.name, &link.mac) else {
            continue;
        };
        plan.links.insert(link.index);
        if setup.uses_dhcp() {
            plan.dhcp.push(DhcpLink {
                name: link.name.clone(),
                arguments: setup.dhcp_args.clone(),
                link_local: setup.dhcp != Some(true),
            });
        }
        let new = !known.contains(&link.index);
        plan.steps.extend(steps(setup, link, observed, new.into()));
    }
    plan.dhcp.sort_by(|a, b| a.name.cmp(&b.name));
    plan
}

/// Whether a link was set up before in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meeting {
    First,
    Again,
}

impl From<bool> for Meeting {
    fn from(new: bool) -> Self {
        if new { Self::First } else { Self::Again }
    }
}

fn steps(setup: &Setup, link: &Link, observed: &Observed, meeting: Meeting) -> Vec<Step> {
    let mut steps = Vec::new();
    let first = meeting == Meeting::First;
    if first {
        steps.extend(hooks(&setup.pre_up, link));
    }
    if let Some(mtu) = setup.mtu.filter(|mtu| *mtu != link.mtu) {
        steps.push(Step::Mtu {
            link: id(link),
            mtu,
        });
    }
    if first && !link.up {
        steps.push(Step::Up { link: id(link) });
    }
    steps.extend(addresses(setup, link, observed, meeting));
    // Without a link that is up the kernel takes no route; its coming up wakes us again.
    if link.up || first {
        steps.extend(routes(setup, link, observed, meeting));
    }
    if first {
        steps.extend(hooks(&setup.post_up, link));
    }
    steps
}

fn id(link: &Link) -> LinkId {
    LinkId {
        index: link.index,
        name: link.name.clone(),
    }
}

fn hooks<'a>(commands: &'a [String], link: &'a Link) -> impl Iterator<Item = Step> + 'a {
    commands.iter().map(|command| Step::Run {
        link: link.name.clone(),
        command: command.replace("$iface", &link.name),
    })
}

fn addresses(setup: &Setup, link: &Link, observed: &Observed, meeting: Meeting) -> Vec<Step> {
    let present: Vec<_> = observed
        .addresses
        .iter()
        .filter(|address| address.link == link.index)
        .collect();
    // With DHCP, or nothing said about addresses, those that are not ours are somebody's.
    let exclusive = meeting == Meeting::First
        && !setup.uses_dhcp()
        && (!setup.addresses.is_empty() || setup.dhcp == Some(false));
    let mut steps = Vec::new();
    for address in &present {
        let stale = address.ours || (exclusive && address.settled);
        if stale && !setup.addresses.contains(&address.cidr) {
            let why = if address.ours {
                "no longer configured"
            } else {
                "not configured"
            };
            steps.push(Step::RemoveAddress {
                link: id(link),
                cidr: address.cidr,
                why,
            });
        }
    }
    for cidr in &setup.addresses {
        if !present.iter().any(|address| address.cidr == *cidr) {
            steps.push(Step::AddAddress {
                link: id(link),
                cidr: *cidr,
            });
        }
    }
    steps
}

fn routes(setup: &Setup, link: &Link, observed: &Observed, meeting: Meeting) -> Vec<Step> {
    let metric = METRIC + link.index;
    let present: Vec<_> = observed
        .routes
        .iter()
        .filter(|route| route.link == link.index)
        .collect();
    let mut steps = Vec::new();
    for route in &present {
        let wanted = setup.gateways.contains(&route.gateway) && route.metric == metric;
        let replaced = route.by_hand
            && meeting == Meeting::First
            && setup
                .gateways
                .iter()
                .any(|gateway| gateway.is_ipv4() == route.gateway.is_ipv4());
        if (route.ours || replaced) && !wanted {
            steps.push(Step::RemoveRoute {
                link: id(link),
                gateway: route.gateway,
                metric: route.metric,
            });
        }
    }
    for gateway in &setup.gateways {
        let there = present
            .iter()
            .any(|route| route.gateway == *gateway && route.metric == metric);
        if !there {
            let inside = setup.addresses.iter().any(|cidr| cidr.contains(*gateway));
            steps.push(Step::AddRoute {
                link: id(link),
                gateway: *gateway,
                metric,
                reach: if inside {
                    Reach::Network
                } else {
                    Reach::OnLink
                },
            });
        }
    }
    steps
}
