//! What to do to get from what there is to what should be. Pure; each step prints its reason.
//!
//! A plan holds what can be done now: what builds on it (routes on a link that is yet to be made) is in the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::desired::{Desired, Key, Wish};
use super::docker_network::{self, Bridge, Engine};
use super::firewall::{self, Chains, Family, Loaded, Rules};
use super::kernel::{self, Kernel, Link, Neighbour, Route};
use super::observe::{self, FORWARD, Ip6tables, Observed};
use super::step::Step;
use super::tunnel;
use super::wanted::{self, Wanted};
use super::{BRIDGE, PREFIX, SERVICES, VXLAN, WIREGUARD};

/// What to do, and what hinders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In order.
    pub steps: Vec<Step>,
    /// In words for people, each with what to do.
    pub problems: Vec<String>,
    /// MTU of the link by which the others are reached; 0: not known.
    pub mtu: u32,
    /// Whether ip6tables is to be asked next time.
    pub ip6tables: Ip6tables,
    /// Where WireGuard's peers are said to be.
    pub told: BTreeMap<Key, SocketAddr>,
}

/// What to do for `wish`.
#[must_use]
pub fn plan(wish: &Wish, observed: &Observed) -> Plan {
    match wish {
        Wish::Wait(problems) => Plan {
            problems: problems.clone(),
            ..Plan::default()
        },
        Wish::Nothing => nothing(observed),
        Wish::Network(desired) => network(desired, observed),
    }
}

fn nothing(observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let why = "the project has no network any more";
    if let (Some(ours), None) = (observed.engine.ours(), &observed.engine_down) {
        if observed.engine.members.is_empty() {
            plan.steps.push(Step::RemoveNetwork {
                id: ours.id.clone(),
                why: why.into(),
            });
        } else {
            plan.problems.push(format!(
                "{why}, but containers are attached to Docker's network {}: remove them",
                ours.name
            ));
        }
    }
    stale_routes(&mut plan, observed, &[]);
    firewall(&mut plan, observed, |_| Chains::new());
    for link in observed
        .kernel
        .links
        .iter()
        .filter(|link| link.name.starts_with(PREFIX) && link.kind != "bridge")
    {
        plan.steps
            .push(remove_link(link, "the project has no network any more"));
    }
    if let Some(index) = services_at(&observed.kernel) {
        plan.steps.push(Step::RemoveServices { index });
    }
    plan
}

fn network(desired: &Desired, observed: &Observed) -> Plan {
    let mut plan = Plan {
        problems: desired.problems.clone(),
        ..Plan::default()
    };
    if let Some(clash) = kernel::clash(&observed.kernel, desired.subnet) {
        let (name, subnet) = (&desired.name, desired.subnet);
        plan.problems.push(format!(
            "network {name} ({subnet}) clashes with {clash}: nothing is set up on this host; give the project another subnet with \
             `ros networks set {name} --subnet …`, or take that away"
        ));
        tunnel(&mut plan, desired, observed);
        return plan;
    }
    if let Some(why) = &observed.engine_down {
        plan.problems.push(format!(
            "Docker does not answer ({why}): its containers are wired when it does"
        ));
        // Nothing is known of its containers, and what there is may be right.
        if observed.engine == Engine::default() {
            tunnel(&mut plan, desired, observed);
            return plan;
        }
    }
    let mut wanted = wanted::wanted(desired, observed);
    plan.mtu = wanted.link_mtu;
    plan.told = wanted.tunnel.as_ref().map(told).unwrap_or_default();
    plan.problems.append(&mut wanted.problems);
    settings(&mut plan, observed);
    docker(&mut plan, desired, observed, wanted.mtu);
    services(&mut plan, observed);
    links(&mut plan, observed, &wanted);
    neighbours(&mut plan, observed, &wanted);
    let rules = rules(desired, observed, &wanted);
    firewall(&mut plan, observed, |family| {
        firewall::chains(&rules, family)
    });
    routes(&mut plan, observed, &wanted);
    stale_links(&mut plan, observed, &wanted);
    plan
}

/// Settings of WireGuard's link that is there, and nothing else: a key that was turned is used even when the rest must wait, or this host is cut off
/// from all that know the new one.
fn tunnel(plan: &mut Plan, desired: &Desired, observed: &Observed) {
    let wanted = wanted::wanted(desired, observed);
    if let (Some(tunnel), Some(is)) = (&wanted.tunnel, &observed.tunnel) {
        plan.told = told(tunnel);
        let change = tunnel::change(tunnel, is, &observed.told);
        plan.steps.extend(change.map(Step::Tunnel));
    }
}

/// Where the peers are said to be.
fn told(tunnel: &tunnel::Tunnel) -> BTreeMap<Key, SocketAddr> {
    let peers = tunnel.peers.iter();
    peers
        .filter_map(|(key, peer)| Some((*key, peer.endpoint?)))
        .collect()
}

fn settings(plan: &mut Plan, observed: &Observed) {
    for (path, value) in observe::settings() {
        let is = observed.settings.get(&path);
        // Settings of a link that is not there are missing.
        if is.is_some_and(|is| is != value) || (is.is_none() && path == FORWARD) {
            plan.steps.push(Step::Set { path, value });
        }
    }
}

fn docker(plan: &mut Plan, desired: &Desired, observed: &Observed, mtu: u32) {
    let engine = &observed.engine;
    if observed.engine_down.is_some() {
        return;
    }
    let name = &desired.name;
    let made = docker_network::wanted(desired, mtu);
    let Some(ours) = engine.ours() else {
        let is_taken = engine.others.contains(name)
            || engine.bridges.iter().any(|bridge| bridge.name == *name);
        if is_taken {
            plan.problems.push(format!(
                "Docker has a network {name} that is not the cluster's: remove it (`docker network rm {name}`), or rename the project's network"
            ));
            return;
        }
        let bridge = Bridge {
            name: name.clone(),
            mark: Some(desired.network.to_string()),
            made,
            ..Bridge::default()
        };
        let filters = engine.filters();
        plan.steps.push(Step::MakeNetwork { bridge, filters });
        return;
    };
    let mut same = made.clone();
    same.mtu = ours.made.mtu;
    let is_same = ours.mark.as_deref() == Some(desired.network.as_str())
        && ours.name == *name
        && ours.made == same;
    if is_same && ours.made == made {
        return;
    }
    let why = if is_same {
        format!(
            "it was made for packets of {} bytes, and {mtu} fit",
            ours.made.mtu
        )
    } else {
        format!(
            "it was made as {} ({} of {}), and is to be {name} ({} of {})",
            ours.name, ours.made.range, ours.made.subnet, made.range, made.subnet
        )
    };
    if engine.members.is_empty() {
        plan.steps.push(Step::RemoveNetwork {
            id: ours.id.clone(),
            why,
        });
    } else if !is_same || ours.made.mtu > mtu {
        let names: Vec<&str> = engine
            .members
            .iter()
            .map(|member| member.name.as_str())
            .collect();
        plan.problems.push(format!(
            "Docker's network {} is to be made anew ({why}), which waits until no container is attached: `docker network disconnect {} NAME` and later \
             `docker network connect {name} NAME` for {}",
            ours.name, ours.name, names.join(", ")
        ));
    }
}

fn services_at(kernel: &Kernel) -> Option<u32> {
    let is_it = |(_, net): &&(u32, ipnet::IpNet)| net.addr() == IpAddr::V4(SERVICES);
    kernel.addresses.iter().find(is_it).map(|(link, _)| *link)
}

fn services(plan: &mut Plan, observed: &Observed) {
    if services_at(&observed.kernel).is_none()
        && let Some(lo) = observed.kernel.link("lo")
    {
        plan.steps.push(Step::AddServices { index: lo.index });
    }
}

fn remove_link(link: &Link, why: &'static str) -> Step {
    Step::RemoveLink {
        index: link.index,
        name: link.name.clone(),
        why,
    }
}

fn links(plan: &mut Plan, observed: &Observed, wanted: &Wanted) {
    if let Some((vxlan, mac)) = wanted.vxlan {
        match observed.kernel.link(VXLAN) {
            None => plan.steps.push(Step::MakeVxlan {
                vxlan,
                mac,
                mtu: wanted.mtu,
            }),
            Some(link) if link.vxlan != vxlan || link.mac != Some(mac) => {
                plan.steps
                    .push(remove_link(link, "it is not as it should be"));
            }
            Some(link) => fit(plan, link, wanted.mtu),
        }
    }
    if let Some(wanted_tunnel) = &wanted.tunnel {
        match (observed.kernel.link(WIREGUARD), &observed.tunnel) {
            (None, _) => plan.steps.push(Step::MakeWireguard { mtu: wanted.mtu }),
            (Some(link), None) => plan
                .steps
                .push(remove_link(link, "it is not as it should be")),
            (Some(link), Some(is)) => {
                let change = tunnel::change(wanted_tunnel, is, &observed.told);
                plan.steps.extend(change.map(Step::Tunnel));
                fit(plan, link, wanted.mtu);
            }
        }
    }
    if let Some(bridge) = observed.kernel.link(BRIDGE) {
        // No larger than the containers' own ends: what is larger would be lost without a word.
        let made = observed.engine.ours().map_or(0, |ours| ours.made.mtu);
        let mtu = if made == 0 {
            wanted.mtu
        } else {
            made.min(wanted.mtu)
        };
        fit(plan, bridge, mtu);
    }
}

fn fit(plan: &mut Plan, link: &Link, mtu: u32) {
    let (index, name) = (link.index, link.name.clone());
    if link.mtu != mtu {
        plan.steps.push(Step::Mtu {
            index,
            name: name.clone(),
            from: link.mtu,
            to: mtu,
        });
    }
    if !link.up {
        plan.steps.push(Step::Up { index, name });
    }
}

fn neighbours(plan: &mut Plan, observed: &Observed, wanted: &Wanted) {
    let Some(link) = observed
        .kernel
        .link(VXLAN)
        .filter(|_| wanted.vxlan.is_some())
    else {
        return;
    };
    let index = link.index;
    let there: Vec<Neighbour> = observed
        .kernel
        .neighbours
        .iter()
        .filter(|(at, _)| *at == index)
        .map(|(_, one)| *one)
        .collect();
    for neighbour in there.iter().filter(|one| !wanted.neighbours.contains(one)) {
        plan.steps.push(Step::RemoveNeighbour {
            index,
            neighbour: *neighbour,
        });
    }
    for neighbour in wanted.neighbours.iter().filter(|one| !there.contains(one)) {
        plan.steps.push(Step::AddNeighbour {
            index,
            neighbour: *neighbour,
        });
    }
}

fn rules(desired: &Desired, observed: &Observed, wanted: &Wanted) -> Rules {
    let engine = &observed.engine;
    // A name that iptables would take for something else is not a link's.
    let is_plain = |name: &&String| {
        name.len() < 16
            && name
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'+')
    };
    let mut bridges: BTreeSet<String> = engine
        .bridges
        .iter()
        .map(|bridge| &bridge.made.link)
        .filter(is_plain)
        .cloned()
        .collect();
    bridges.insert(BRIDGE.to_owned());
    Rules {
        subnet: desired.subnet,
        encapsulation: desired.encapsulation,
        port: desired.port,
        links: wanted.links.clone(),
        peers: desired.peers.iter().map(|peer| peer.address).collect(),
        bridges,
        no_dns: engine
            .members
            .iter()
            .filter(|member| !member.dns)
            .filter_map(|member| member.address)
            .collect(),
        filters: engine.filters(),
        asked_from_host: observed
            .resolvers
            .iter()
            .copied()
            .filter(|resolver| engine.asks_from_host(*resolver))
            .collect(),
    }
}

fn firewall(plan: &mut Plan, observed: &Observed, chains: impl Fn(Family) -> Chains) {
    let new = observed.firewall.get(&Family::V6);
    let has_none = |loaded: &Loaded| loaded.chains.is_empty() && loaded.jumps.is_empty();
    let is_idle = chains(Family::V6).is_empty() && new.is_none_or(has_none);
    plan.ip6tables = if is_idle {
        Ip6tables::Left
    } else {
        Ip6tables::Asked
    };
    for (family, loaded) in &observed.firewall {
        for (chains, loaded) in firewall::parts(&chains(*family), loaded) {
            let text = firewall::change(&chains, &loaded);
            plan.steps.extend(text.map(|text| Step::Firewall {
                family: *family,
                text,
                chains,
            }));
        }
    }
}

fn routes(plan: &mut Plan, observed: &Observed, wanted: &Wanted) {
    // Without the bridge and its address there is nothing to send from, and routes with that source are refused.
    if !wanted.is_ready {
        return;
    }
    let kernel = &observed.kernel;
    for route in wanted
        .routes
        .iter()
        .filter(|route| !kernel.routes.contains(route))
    {
        let name = kernel.name(route.link).to_owned();
        plan.steps.push(Step::AddRoute {
            route: route.clone(),
            name,
        });
    }
    stale_routes(plan, observed, &wanted.routes);
}

fn stale_routes(plan: &mut Plan, observed: &Observed, wanted: &[Route]) {
    for route in observed
        .kernel
        .routes
        .iter()
        .filter(|route| route.protocol == kernel::PROTOCOL)
    {
        // One to the same place has replaced it.
        if !wanted.iter().any(|one| one.to == route.to) {
            let name = observed.kernel.name(route.link).to_owned();
            plan.steps.push(Step::RemoveRoute {
                route: route.clone(),
                name,
            });
        }
    }
}

/// Links of other encapsulations go once nothing is routed by them any more.
fn stale_links(plan: &mut Plan, observed: &Observed, wanted: &Wanted) {
    for link in observed
        .kernel
        .links
        .iter()
        .filter(|link| link.name.starts_with(PREFIX) && link.name != BRIDGE)
    {
        let is_wanted = wanted.links.contains(&link.name);
        let of_ours =
            |route: &&Route| route.protocol == kernel::PROTOCOL && route.link == link.index;
        let is_used = observed.kernel.routes.iter().any(|route| of_ours(&route));
        if !is_wanted && !is_used {
            plan.steps
                .push(remove_link(link, "packets do not travel by it any more"));
        }
    }
}

#[cfg(test)]
mod tests;
