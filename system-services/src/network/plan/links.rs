//! Which bonds, bridges and VLANs to make and remove, and which members to release. Pure.
//!
//! What carries our mark and is not wanted goes. What somebody else made under a wanted name is used if it is of that kind, and never removed.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_route::link::InfoBond;

use super::super::bond::{Bond, BondOption};
use super::super::desired::{Desired, Setup};
use super::super::links::Made;
use super::super::observe::{Kind, Link, MADE, Observed};
use super::{Known, LinkId, Make, Plan, Step, id};

/// The kernel's limit for names of links, in bytes.
const LONGEST_NAME: usize = 15;

/// A VLAN that is to be there.
struct WantedVlan<'a> {
    name: String,
    id: u16,
    parent: &'a Link,
}

/// Adds the steps, and what stands in the way, to `plan`; returns the numbers of the links that go.
pub fn plan(
    desired: &Desired,
    observed: &Observed,
    (setups, known): (&BTreeMap<u32, Setup>, &Known),
    plan: &mut Plan,
) -> BTreeSet<u32> {
    let mut removals = unwanted(desired, observed, known);
    let vlans = wanted_vlans(observed, setups, &removals, &mut plan.obstacles);
    removals.extend(unwanted_vlans(observed, &vlans));
    plan.steps.extend(releases(observed, setups));
    for (link, why) in &removals {
        plan.steps.push(Step::Remove {
            link: LinkId {
                index: link.index,
                name: link.name.clone(),
            },
            why: why.clone(),
        });
    }
    let going: BTreeSet<u32> = removals.iter().map(|(link, _)| link.index).collect();
    let staying: BTreeMap<&str, &Link> = observed
        .links
        .iter()
        .filter(|link| !going.contains(&link.index))
        .map(|link| (link.name.as_str(), link))
        .collect();
    for (name, made) in &desired.made {
        let present = staying.get(name.as_str());
        let present = present.filter(|link| !is_blank_bond(link, observed));
        match (present, made) {
            (None, made) => plan.steps.push(Step::Make {
                name: name.clone(),
                what: match made {
                    Made::Bond(bond) => Make::Bond(bond.clone()),
                    Made::Bridge => Make::Bridge,
                },
            }),
            (Some(link), Made::Bond(bond)) if matches!(link.kind, Kind::Bond(_)) => {
                plan.steps.extend(tuning(bond, link, observed, known));
            }
            (Some(link), Made::Bridge) if link.kind == Kind::Bridge => {}
            (Some(_), Made::Bond(_)) => plan.obstacles.push(taken(name, "bond")),
            (Some(_), Made::Bridge) => plan.obstacles.push(taken(name, "bridge")),
        }
    }
    for vlan in vlans {
        match staying.get(vlan.name.as_str()) {
            None => plan.steps.push(Step::Make {
                what: Make::Vlan {
                    parent: id(vlan.parent),
                    id: vlan.id,
                },
                name: vlan.name,
            }),
            Some(link) if is_it(&vlan, link) => {}
            Some(_) => plan.obstacles.push(taken(&vlan.name, "VLAN")),
        }
    }
    going
}

/// The bond0 that the module makes when it is loaded, as by `rancher.modules`: nobody has used it, so making it takes it over.
fn is_blank_bond(link: &Link, observed: &Observed) -> bool {
    let members = observed
        .links
        .iter()
        .any(|member| member.master == Some(link.index));
    let addresses = observed
        .addresses
        .iter()
        .any(|address| address.link == link.index);
    let theirs = !link.is_made() && matches!(link.kind, Kind::Bond(_));
    theirs && !link.up && !members && !addresses
}

fn taken(name: &str, kind: &str) -> String {
    format!(
        "{name}: another link has this name; no {kind} is made. Remove it, or choose another name"
    )
}

/// Our bonds and bridges that are not wanted, or not so.
fn unwanted<'a>(
    desired: &Desired,
    observed: &'a Observed,
    known: &Known,
) -> Vec<(&'a Link, String)> {
    let why = |link: &Link| match (&link.kind, desired.made.get(&link.name)) {
        (Kind::Bond(present), Some(Made::Bond(bond))) if !known.made.contains(&link.name) => bond
            .rebuild_for(present)
            .map(|option| format!("to be made again with {option}")),
        (Kind::Bond(_), Some(Made::Bond(_))) | (Kind::Bridge, Some(Made::Bridge)) => None,
        (Kind::Bond(_), Some(Made::Bridge)) => Some("to be a bridge".to_owned()),
        (Kind::Bridge, Some(Made::Bond(_))) => Some("to be a bond".to_owned()),
        (Kind::Bond(_) | Kind::Bridge, None) => Some("no longer configured".to_owned()),
        (Kind::Card | Kind::Vlan { .. }, _) => None,
    };
    ours(observed)
        .filter_map(|link| Some((link, why(link)?)))
        .collect()
}

fn ours(observed: &Observed) -> impl Iterator<Item = &Link> {
    observed.links.iter().filter(|link| link.is_made())
}

/// The VLANs on links that are there and stay, each name once.
fn wanted_vlans<'a>(
    observed: &'a Observed,
    setups: &BTreeMap<u32, Setup>,
    removals: &[(&Link, String)],
    obstacles: &mut Vec<String>,
) -> Vec<WantedVlan<'a>> {
    let mut wanted: Vec<WantedVlan<'_>> = Vec::new();
    let is_going = |link: &Link| removals.iter().any(|(gone, _)| gone.index == link.index);
    for parent in observed.links.iter().filter(|link| !is_going(link)) {
        let vlans = setups
            .get(&parent.index)
            .map(|setup| setup.vlans.as_slice());
        for vlan in vlans.unwrap_or_default() {
            let name = vlan.name_on(&parent.name);
            if name.len() > LONGEST_NAME {
                obstacles.push(format!(
                    "{name}: a name of more than 15 characters; give VLAN {} a name of its own",
                    vlan.id
                ));
            } else if wanted.iter().any(|other| other.name == name) {
                obstacles.push(format!("{name}: two links would have a VLAN of this name"));
            } else {
                let id = vlan.id;
                wanted.push(WantedVlan { name, id, parent });
            }
        }
    }
    wanted
}

fn is_it(vlan: &WantedVlan<'_>, link: &Link) -> bool {
    let kind = Kind::Vlan {
        id: vlan.id,
        parent: vlan.parent.index,
    };
    link.name == vlan.name && link.kind == kind
}

fn unwanted_vlans<'a>(
    observed: &'a Observed,
    wanted: &[WantedVlan<'_>],
) -> Vec<(&'a Link, String)> {
    ours(observed)
        .filter(|link| matches!(link.kind, Kind::Vlan { .. }))
        .filter(|link| !wanted.iter().any(|vlan| is_it(vlan, link)))
        .map(|link| {
            let why = if wanted.iter().any(|vlan| vlan.name == link.name) {
                "its number or link has changed"
            } else {
                "no longer configured"
            };
            (link, why.to_owned())
        })
        .collect()
}

/// Members that we made such and that are to be so no longer. A bond leaves a link that it releases down.
fn releases(observed: &Observed, setups: &BTreeMap<u32, Setup>) -> Vec<Step> {
    let mut steps = Vec::new();
    for link in observed.links.iter().filter(|link| link.is_joined()) {
        let setup = setups.get(&link.index);
        let wanted = setup.and_then(|setup| setup.member.as_ref());
        let is_in_place = match (wanted, link.master) {
            (None, _) => false,
            // Its bond or bridge has gone; it joins the new one.
            (Some(_), None) => true,
            (Some(member), Some(master)) => observed
                .links
                .iter()
                .any(|other| other.index == master && other.name == member.master()),
        };
        if is_in_place {
            continue;
        }
        steps.push(Step::Leave {
            link: id(link),
            mark: if link.is_made() { MADE } else { 0 },
        });
        if wanted.is_none() && setup.is_some() {
            steps.push(Step::Up { link: id(link) });
        }
    }
    steps
}

/// Options that changed, once for a configuration; and the primary, which can be set when it is a member.
fn tuning(bond: &Bond, link: &Link, observed: &Observed, known: &Known) -> Vec<Step> {
    let Kind::Bond(present) = &link.kind else {
        return Vec::new();
    };
    let mut options = Vec::new();
    if !known.links.contains(&link.index) {
        // One that somebody else made is not made again; without members its mode can be set.
        let mode = InfoBond::Mode(bond.mode);
        if !link.is_made() && !present.contains(&mode) {
            options.push(BondOption {
                text: format!("mode {}", bond.mode),
                value: mode,
            });
        }
        options.extend(bond.differing(present).cloned());
    }
    let primary = observed.links.iter().find(|other| {
        other.master == Some(link.index) && Some(&other.name) == bond.primary.as_ref()
    });
    if let Some(primary) = primary {
        let value = InfoBond::Primary(primary.index);
        if !present.contains(&value) {
            let text = format!("primary {}", primary.name);
            options.push(BondOption { text, value });
        }
    }
    let step = |option| Step::Tune {
        link: id(link),
        option,
    };
    options.into_iter().map(step).collect()
}
