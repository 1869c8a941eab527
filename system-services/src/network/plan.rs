//! What to do so that the links become what the configuration says. Pure: same input, same steps; each step says why.

mod links;
mod step;

use std::collections::{BTreeMap, BTreeSet};

use super::desired::{Desired, Matcher, Setup};
use super::links::Member;
use super::observe::{JOINED, Kind, Link, MADE_AND_JOINED, Observed};
pub use step::{LinkId, Make, Master, Reach, Step};

/// Default routes that we set: this plus the number of the link, so that several links have an order, and all come before DHCP's (1000 and
/// more).
const METRIC: u32 = 100;

/// A link that a DHCP client looks after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpLink {
    /// Its name.
    pub name: String,
    /// Arguments in place of ours.
    pub arguments: Option<String>,
    /// What the client is to bring.
    pub wants: Wants,
}

/// The addresses that a DHCP client brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// A lease.
    Lease,
    /// A link-local address, no lease.
    LinkLocal,
    /// A lease, and a link-local address while there is none (RFC 3927, 1.9).
    Either,
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
    /// What stands in the way of the configuration, for people.
    pub obstacles: Vec<String>,
}

/// What earlier plans of this run, with this configuration, have done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Links that were set up: their hooks are not run again, what somebody has since added to them is his, and one that he has set down
    /// stays down.
    pub links: BTreeSet<u32>,
    /// Names of links that were made: they are not made again for an option that the kernel has refused.
    pub made: BTreeSet<String>,
    /// Links that were met and could not be set up: that is tried again.
    pub unopened: BTreeSet<u32>,
}

/// Plans: first what is stacked on what, then what each link has.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, known: &Known) -> Plan {
    let mut plan = Plan::default();
    let setups: BTreeMap<u32, Setup> = observed
        .links
        .iter()
        .filter_map(|link| Some((link.index, setup_of(desired, link)?)))
        .collect();
    let going = links::plan(desired, observed, (&setups, known), &mut plan);
    for link in &observed.links {
        let Some(setup) = setups.get(&link.index) else {
            continue;
        };
        if going.contains(&link.index) {
            continue;
        }
        // What somebody else made a member is set up through its master, such as the fast path below Azure's network card.
        if link.master.is_some() && setup.member.is_none() && !link.is_joined() {
            continue;
        }
        let meeting = Meeting::of(link.index, known);
        if let Some(member) = &setup.member {
            // Without its bond or bridge it waits; that one's coming wakes us.
            let Some(master) = master_of(member, observed, &going) else {
                continue;
            };
            plan.links.insert(link.index);
            let steps = member_steps(setup, (link, master), observed, meeting);
            plan.steps.extend(steps);
            continue;
        }
        plan.links.insert(link.index);
        if setup.uses_dhcp() {
            plan.dhcp.push(DhcpLink {
                name: link.name.clone(),
                arguments: setup.dhcp_args.clone(),
                wants: match (setup.dhcp, setup.ipv4ll) {
                    (Some(true), true) => Wants::Either,
                    (Some(true), false) => Wants::Lease,
                    _ => Wants::LinkLocal,
                },
            });
        }
        plan.steps.extend(steps(setup, link, observed, meeting));
    }
    plan.dhcp.sort_by(|a, b| a.name.cmp(&b.name));
    plan
}

/// The best rule's setup. A glob makes no made link a member, nor lays VLANs on it: `eth*` also fits `eth0.100`. A link that we made and
/// nobody speaks of is set up, and no more.
fn setup_of(desired: &Desired, link: &Link) -> Option<Setup> {
    let Some(rule) = desired.rule_of(&link.name, link.own_mac()) else {
        let ours = link.is_made() || desired.made.contains_key(&link.name);
        return (ours && link.kind != Kind::Card).then(Setup::default);
    };
    let mut setup = rule.setup.clone();
    if link.kind != Kind::Card && matches!(rule.matcher, Matcher::Glob(_)) {
        setup.member = None;
        setup.vlans.clear();
    }
    Some(setup)
}

/// The bond or bridge, if it is there and stays.
fn master_of<'a>(
    member: &Member,
    observed: &'a Observed,
    going: &BTreeSet<u32>,
) -> Option<&'a Link> {
    observed.links.iter().find(|link| {
        let kind = match member {
            Member::Bond(_) => matches!(link.kind, Kind::Bond(_)),
            Member::Bridge(_) => link.kind == Kind::Bridge,
        };
        kind && link.name == member.master() && !going.contains(&link.index)
    })
}

/// Whether a link was set up before in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meeting {
    First,
    /// It was met, and could not be set up then.
    Unopened,
    Again,
}

impl Meeting {
    fn of(link: u32, known: &Known) -> Self {
        if !known.links.contains(&link) {
            Self::First
        } else if known.unopened.contains(&link) {
            Self::Unopened
        } else {
            Self::Again
        }
    }

    /// One that somebody has set down later stays down.
    fn opens(self) -> bool {
        matches!(self, Self::First | Self::Unopened)
    }
}

/// What comes before all else, for members and others.
fn beginning(setup: &Setup, link: &Link, meeting: Meeting) -> Vec<Step> {
    let mut steps = Vec::new();
    if meeting == Meeting::First {
        steps.extend(hooks(&setup.pre_up, link));
    }
    if let Some(mtu) = setup.mtu.filter(|mtu| *mtu != link.mtu) {
        steps.push(Step::Mtu {
            link: id(link),
            mtu,
        });
    }
    steps
}

fn steps(setup: &Setup, link: &Link, observed: &Observed, meeting: Meeting) -> Vec<Step> {
    let first = meeting == Meeting::First;
    let mut steps = beginning(setup, link, meeting);
    if meeting.opens() && !link.up {
        steps.push(Step::Up { link: id(link) });
    }
    steps.extend(addresses(setup, link, observed, meeting));
    // Without a link that is up the kernel takes no route; its coming up wakes us again.
    if link.up || meeting.opens() {
        steps.extend(routes(setup, link, observed, meeting));
    }
    if first {
        steps.extend(hooks(&setup.post_up, link));
    }
    steps
}

/// A member has no addresses of its own; the bond sets it up itself.
fn member_steps(
    setup: &Setup,
    (link, master): (&Link, &Link),
    observed: &Observed,
    meeting: Meeting,
) -> Vec<Step> {
    let bare = Setup {
        dhcp: Some(false),
        addresses: Vec::new(),
        gateways: Vec::new(),
        ..setup.clone()
    };
    let first = meeting == Meeting::First;
    let mut steps = beginning(setup, link, meeting);
    steps.extend(addresses(&bare, link, observed, meeting));
    steps.extend(routes(&bare, link, observed, meeting));
    // Once met, one that somebody has put elsewhere is his.
    let joins = link.master != Some(master.index) && (first || link.master.is_none());
    if joins {
        steps.push(Step::Join {
            link: id(link),
            master: id(master),
            mark: if link.is_made() {
                MADE_AND_JOINED
            } else {
                JOINED
            },
            of: match setup.member {
                Some(Member::Bond(_)) => Master::Bond,
                _ => Master::Bridge,
            },
        });
    }
    let opened_by_bond = joins && matches!(master.kind, Kind::Bond(_));
    if meeting.opens() && !link.up && !opened_by_bond {
        steps.push(Step::Up { link: id(link) });
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
        // A leased one ends with its lease, unless a client goes on renewing it.
        let stays = |address: &&super::observe::Address| address.lasting || setup.uses_dhcp();
        if !present
            .iter()
            .filter(|address| stays(address))
            .any(|address| address.cidr == *cidr)
        {
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
