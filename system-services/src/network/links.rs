//! The bonds, bridges and VLANs that the configuration asks for, and who is a member of what. Pure.
//!
//! Owns the rules of what may be stacked on what; what does not hold is left out and complained of.

use std::collections::{BTreeMap, BTreeSet};

use os_config::types::{Interface, Ordered};

use super::bond::Bond;
use super::complaint::Complaint;
use super::desired::Matcher;

/// The kernel's limit for names of links, in bytes.
const LONGEST_NAME: usize = 15;

/// What a link is a member of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    /// Of this bond.
    Bond(String),
    /// Of this bridge.
    Bridge(String),
}

impl Member {
    /// The name of the bond or bridge.
    #[must_use]
    pub fn master(&self) -> &str {
        match self {
            Self::Bond(name) | Self::Bridge(name) => name,
        }
    }
}

/// A VLAN on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vlan {
    /// 1 to 4094.
    pub id: u16,
    /// `None`: the link's name, a dot and the number.
    pub name: Option<String>,
}

impl Vlan {
    /// The VLAN's name on a link called `parent`.
    #[must_use]
    pub fn name_on(&self, parent: &str) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => format!("{parent}.{}", self.id),
        }
    }
}

/// A link that somebody has to make, by its entry or by a member's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// A bond.
    Bond(Bond),
    /// A bridge.
    Bridge,
}

/// What an entry says about stacking.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stacking {
    /// What its links are members of.
    pub member: Option<Member>,
    /// The VLANs on them.
    pub vlans: Vec<Vlan>,
}

/// All of it: the links to make, by name, and what each entry says, in the entries' order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stack {
    /// Bonds and bridges by name.
    pub made: BTreeMap<String, Made>,
    /// By number of the entry.
    pub entries: Vec<Stacking>,
}

/// One entry, for the reading of it.
struct Entry<'a> {
    name: &'a str,
    matcher: &'a Matcher,
    interface: &'a Interface,
}

/// Reads the stacking of all entries. As in RancherOS 1.x, a bond or bridge exists because it has an entry or because a member names it.
#[must_use]
pub fn stack(
    interfaces: &Ordered<Interface>,
    matchers: &[Matcher],
    complaints: &mut Vec<Complaint>,
) -> Stack {
    let entries: Vec<Entry<'_>> = interfaces
        .iter()
        .zip(matchers)
        .map(|((name, interface), matcher)| Entry {
            name,
            matcher,
            interface,
        })
        .collect();
    let mut reader = Reader {
        complaints,
        stack: Stack::default(),
    };
    reader.made_by_entries(&entries);
    for entry in &entries {
        let stacking = Stacking {
            member: reader.member(entry),
            vlans: reader.vlans(entry),
        };
        reader.stack.entries.push(stacking);
    }
    reader.break_circles(&entries);
    reader.name_vlans_once(&entries);
    reader.warn_of_unused(&entries);
    reader.stack
}

struct Reader<'a> {
    complaints: &'a mut Vec<Complaint>,
    stack: Stack,
}

impl Reader<'_> {
    fn complain(&mut self, entry: &Entry<'_>, key: &str, what: String) {
        self.complaints.push(Complaint {
            interface: entry.name.to_owned(),
            key: key.to_owned(),
            what,
        });
    }

    /// Entries with `bridge: true` or `bond_opts`.
    fn made_by_entries(&mut self, entries: &[Entry<'_>]) {
        for entry in entries {
            let is_bridge = entry.interface.bridge.as_deref() == Some("true");
            let is_bond = !entry.interface.bond_opts.is_empty();
            if !is_bridge && !is_bond {
                continue;
            }
            let key = if is_bridge { "bridge" } else { "bond_opts" };
            let Matcher::Name(name) = entry.matcher else {
                let what = "names no single link that could be made; ignored";
                self.complain(entry, key, what.into());
                continue;
            };
            if let Some(what) = unusable(name) {
                self.complain(entry, key, what);
                continue;
            }
            if is_bridge && is_bond {
                let what = "has no effect on a bridge; ignored";
                self.complain(entry, "bond_opts", what.into());
            }
            let made = if is_bridge {
                Made::Bridge
            } else {
                let options = &entry.interface.bond_opts;
                Made::Bond(Bond::of(options, &mut |option, what| {
                    let key = format!("bond_opts.{option}");
                    self.complain(entry, &key, what.to_owned());
                }))
            };
            self.stack.made.insert(name.clone(), made);
        }
    }

    fn member(&mut self, entry: &Entry<'_>) -> Option<Member> {
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let bond = text(&entry.interface.bond);
        let bridge = text(&entry.interface.bridge)
            .filter(|bridge| !matches!(bridge.as_str(), "true" | "false"));
        let member = match (bond, bridge) {
            (Some(bond), Some(bridge)) => {
                let what = format!("is a member of bond {bond} already; {bridge} is ignored");
                self.complain(entry, "bridge", what);
                Member::Bond(bond)
            }
            (Some(bond), None) => Member::Bond(bond),
            (None, Some(bridge)) => Member::Bridge(bridge),
            (None, None) => return None,
        };
        let (key, kind) = match &member {
            Member::Bond(_) => ("bond", "bond"),
            Member::Bridge(_) => ("bridge", "bridge"),
        };
        if let Some(what) = self.unfit(entry, &member) {
            self.complain(entry, key, what);
            return None;
        }
        let interface = entry.interface;
        if interface.dhcp == Some(true)
            || interface.ipv4ll
            || interface.address.is_some()
            || !interface.addresses.is_empty()
        {
            let what = format!(
                "a member of a {kind} has no addresses; give them to {}",
                member.master()
            );
            self.complain(entry, key, what);
        }
        Some(member)
    }

    /// Why an entry's links cannot be members of this. Makes the bond or bridge, if no entry does.
    fn unfit(&mut self, entry: &Entry<'_>, member: &Member) -> Option<String> {
        let name = member.master();
        if let Some(what) = unusable(name) {
            return Some(what);
        }
        let is_bridge = |stack: &Stack, name: &str| stack.made.get(name) == Some(&Made::Bridge);
        let own = match entry.matcher {
            Matcher::Name(own) => own,
            _ => "",
        };
        if is_bridge(&self.stack, own) {
            return Some("a bridge cannot be a member of another link; ignored".to_owned());
        }
        match (self.stack.made.get(name), member) {
            (Some(Made::Bridge), Member::Bond(_)) => Some(format!("{name} is a bridge; ignored")),
            (Some(Made::Bond(_)), Member::Bridge(_)) => Some(format!("{name} is a bond; ignored")),
            (Some(_), _) => None,
            (None, member) => {
                let made = match member {
                    Member::Bond(_) => Made::Bond(Bond::default()),
                    Member::Bridge(_) => Made::Bridge,
                };
                self.stack.made.insert(name.to_owned(), made);
                None
            }
        }
    }

    fn vlans(&mut self, entry: &Entry<'_>) -> Vec<Vlan> {
        let mut vlans: Vec<Vlan> = Vec::new();
        let text = entry.interface.vlans.as_deref().unwrap_or_default();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (id, name) = match part.split_once(':') {
                Some((id, name)) => (id, Some(name.trim().to_owned())),
                None => (part, None),
            };
            let Some(id) = id.trim().parse().ok().filter(|id| (1..=4094).contains(id)) else {
                let what = format!(
                    "`{}` is not a VLAN's number (1 to 4094); ignored",
                    id.trim()
                );
                self.complain(entry, "vlans", what);
                continue;
            };
            if vlans.iter().any(|vlan| vlan.id == id) {
                self.complain(
                    entry,
                    "vlans",
                    format!("{id} is there twice; the first counts"),
                );
                continue;
            }
            let vlan = Vlan { id, name };
            let parent = match entry.matcher {
                Matcher::Name(parent) => parent,
                _ => "eth0",
            };
            if let Some(what) = unusable(&vlan.name_on(parent)) {
                self.complain(entry, "vlans", what);
                continue;
            }
            vlans.push(vlan);
        }
        vlans
    }

    /// A bond below its own bridge, a bond in itself: the kernel would refuse it, or worse, not.
    fn break_circles(&mut self, entries: &[Entry<'_>]) {
        let mut above: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (entry, number) in entries.iter().zip(0..) {
            let Matcher::Name(name) = entry.matcher else {
                continue;
            };
            for vlan in self.stack.entries[number].vlans.clone() {
                let upper = vlan.name_on(name);
                if reaches(&above, &upper, name) {
                    let what = format!("{upper} would lie on itself; ignored");
                    self.complain(entry, "vlans", what);
                    self.stack.entries[number]
                        .vlans
                        .retain(|kept| *kept != vlan);
                } else {
                    above.entry(name.clone()).or_default().insert(upper);
                }
            }
            let Some(member) = self.stack.entries[number].member.clone() else {
                continue;
            };
            let upper = member.master().to_owned();
            if reaches(&above, &upper, name) {
                let key = match member {
                    Member::Bond(_) => "bond",
                    Member::Bridge(_) => "bridge",
                };
                let what = format!("{name} would be a member of itself through {upper}; ignored");
                self.complain(entry, key, what);
                self.stack.entries[number].member = None;
            } else {
                above.entry(name.clone()).or_default().insert(upper);
            }
        }
    }

    /// Two VLANs of one name, or one named as a bond is.
    fn name_vlans_once(&mut self, entries: &[Entry<'_>]) {
        let mut taken: BTreeSet<String> = self.stack.made.keys().cloned().collect();
        for (number, entry) in entries.iter().enumerate() {
            let Matcher::Name(parent) = entry.matcher else {
                continue;
            };
            for vlan in self.stack.entries[number].vlans.clone() {
                let name = vlan.name_on(parent);
                if !taken.insert(name.clone()) {
                    let what =
                        format!("another link is called {name}; VLAN {} is ignored", vlan.id);
                    self.complain(entry, "vlans", what);
                    self.stack.entries[number]
                        .vlans
                        .retain(|kept| *kept != vlan);
                }
            }
        }
    }

    /// Options of a bond that no entry is a member of: likely a name mistyped.
    fn warn_of_unused(&mut self, entries: &[Entry<'_>]) {
        let with_options = |entry: &&Entry<'_>| !entry.interface.bond_opts.is_empty();
        for entry in entries.iter().filter(with_options) {
            let Matcher::Name(name) = entry.matcher else {
                continue;
            };
            let has_member = self.stack.entries.iter().any(|stacking| {
                let master = stacking.member.as_ref().map(Member::master);
                master == Some(name.as_str())
            });
            if matches!(self.stack.made.get(name), Some(Made::Bond(_))) && !has_member {
                let what = format!("no entry is a member of it; write `bond: {name}` at its links");
                self.complain(entry, "bond_opts", what);
            }
        }
    }
}

/// Whether `to` lies above `from`, or is it.
fn reaches(above: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let (mut open, mut seen) = (vec![from], BTreeSet::new());
    while let Some(name) = open.pop() {
        if name == to {
            return true;
        }
        if seen.insert(name) {
            open.extend(above.get(name).into_iter().flatten().map(String::as_str));
        }
    }
    false
}

/// Why no link can have this name, as the kernel's `dev_valid_name` has it.
fn unusable(name: &str) -> Option<String> {
    if name.len() > LONGEST_NAME {
        let more = "names of links have at most 15 characters; ignored";
        return Some(format!("`{name}` is too long: {more}"));
    }
    let wrong = name.is_empty()
        || matches!(name, "." | ".." | "lo" | "all" | "default")
        || name.contains(|c: char| matches!(c, '/' | ':') || c.is_whitespace());
    wrong.then(|| format!("`{name}` cannot be the name of a link; ignored"))
}

#[cfg(test)]
mod tests;
