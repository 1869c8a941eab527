//! What is particular to each kind: what a new or changed object must keep to, and what else happens with it in the same moment.

use std::net::Ipv4Addr;
use std::time::Duration;

use api::access::{ApiKeyKind, Role, TokenKind, UserKind};
use api::container::ContainerKind;
use api::event::EventKind;
use api::host::HostKind;
use api::network::{NetworkKind, NetworkSpec};
use api::problem::{Problem, Reason};
use api::project::{ProjectKind, ProjectSpec};
use api::resource::Kind;
use api::{Host, Id, Network, Project, User, name};

use crate::access::Who;
use crate::mirror::Mirror;
use crate::objects::{self, Draft, Of, now};
use crate::secret::{self, JoinToken, Key};
use crate::store::{Transaction, Write};

/// Name of the network that every project begins with.
const NETWORK: &str = "ros";
/// A join token lasts for a day unless told otherwise.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(86_400);
/// Largest block: what is smaller than a /28 holds too few containers, and Docker takes two addresses of it.
const SMALLEST_BLOCK: u8 = 28;

/// What the rules look at.
pub struct Context<'a> {
    /// Everything there is.
    pub mirror: &'a Mirror,
    /// Who asks.
    pub who: &'a Who,
    /// SHA-256 of the CA's certificate.
    pub ca: [u8; 32],
}

/// What a new object brings with it.
#[derive(Debug, Default)]
pub struct Beside {
    /// What else happens in the same moment.
    pub transaction: Transaction,
    /// A secret that is shown once, in the answer.
    pub secret: Option<String>,
}

/// The rules of a kind. Without rules of its own a kind takes everything.
pub trait Rules: Kind {
    /// Checks and completes a new object.
    ///
    /// # Errors
    /// Why it cannot be.
    fn make(_context: &Context<'_>, _id: &Id, _draft: &mut Draft<Self>) -> Result<Beside, Problem> {
        Ok(Beside::default())
    }

    /// Checks a change; gives what else must be as it was read, and what else happens.
    ///
    /// # Errors
    /// Why it cannot be.
    fn edit(
        _context: &Context<'_>,
        _old: &Of<Self>,
        _new: &Of<Self>,
    ) -> Result<Transaction, Problem> {
        Ok(Transaction::default())
    }

    /// What goes with an object that is removed.
    ///
    /// # Errors
    /// Why it must stay.
    fn remove(_context: &Context<'_>, _object: &Of<Self>) -> Result<Transaction, Problem> {
        Ok(Transaction::default())
    }

    /// Takes out what never leaves the server; puts in the secret that is shown once, and what is counted when it is asked for.
    fn show(_mirror: &Mirror, _object: &mut Of<Self>, _secret: Option<String>) {}

    /// The object as the project whose members decide who may do what with it, when it is one.
    fn as_project(_object: &Of<Self>) -> Option<&Project> {
        None
    }

    /// Whether `who` may know of this one, beyond what its role allows.
    fn is_visible(_who: &Who, _object: &Of<Self>) -> bool {
        true
    }
}

impl Rules for ContainerKind {}
impl Rules for EventKind {}
impl Rules for UserKind {
    fn edit(context: &Context<'_>, old: &User, new: &User) -> Result<Transaction, Problem> {
        if new.spec.admin && !new.spec.disabled {
            return Ok(Transaction::default());
        }
        another_administrator(context, old)
    }

    fn remove(context: &Context<'_>, user: &User) -> Result<Transaction, Problem> {
        another_administrator(context, user)
    }

    fn is_visible(who: &Who, user: &Of<Self>) -> bool {
        matches!(who, Who::User { id, admin, .. } if *admin || *id == user.meta.id)
    }
}

/// What makes the network that a new project begins with.
///
/// # Errors
/// When it cannot be written as JSON: a defect.
pub fn first_network(project: &Id) -> Result<Transaction, Problem> {
    let network: Draft<NetworkKind> = Draft::named(Some(project.clone()), NETWORK);
    let id = Id::from_bits(NetworkKind::PREFIX, rand::random());
    Ok(objects::prepare(id, network)?.1)
}

/// Without an administrator nobody could make one. Expects that the one that is left stays: two of them may be taken away in one moment.
fn another_administrator(context: &Context<'_>, user: &User) -> Result<Transaction, Problem> {
    let is_administrator = |user: &User| user.spec.admin && !user.spec.disabled;
    if !is_administrator(user) {
        return Ok(Transaction::default());
    }
    let others = objects::all::<UserKind>(context.mirror, None);
    let left = others
        .iter()
        .find(|other| other.meta.id != user.meta.id && is_administrator(other));
    if let Some(left) = left {
        return Ok(Transaction {
            expect: vec![objects::unchanged::<UserKind>(left)],
            ..Transaction::default()
        });
    }
    let title = format!("{} is the last administrator", user.meta.name);
    Err(Problem::new(Reason::InUse, title).advise("make another one first"))
}

impl Rules for ProjectKind {
    fn make(context: &Context<'_>, id: &Id, draft: &mut Draft<Self>) -> Result<Beside, Problem> {
        if let Who::User { id, .. } = context.who {
            draft.spec.members.insert(id.clone(), Role::Owner);
        }
        check_project(&draft.spec)?;
        Ok(Beside {
            transaction: first_network(id)?,
            secret: None,
        })
    }

    fn edit(
        _context: &Context<'_>,
        _old: &Of<Self>,
        new: &Of<Self>,
    ) -> Result<Transaction, Problem> {
        check_project(&new.spec)?;
        Ok(Transaction::default())
    }

    fn remove(context: &Context<'_>, project: &Of<Self>) -> Result<Transaction, Problem> {
        let id = Some(&project.meta.id);
        let hosts: Vec<Host> = objects::all::<HostKind>(context.mirror, id);
        if let Some(host) = hosts.first() {
            let title = format!(
                "the project has {} hosts, such as {}",
                hosts.len(),
                host.meta.name
            );
            return Err(Problem::new(Reason::InUse, title).advise("remove them first"));
        }
        let mut transaction = Transaction::default();
        for network in objects::all::<NetworkKind>(context.mirror, id) {
            // A host that joins meanwhile writes it.
            let expected = objects::unchanged::<NetworkKind>(&network);
            transaction.expect.push(expected);
            transaction
                .writes
                .extend(objects::removal::<NetworkKind>(&network));
        }
        // Its tokens are taken away by the leader: they may be more than one transaction holds, and open nothing without a network.
        Ok(transaction)
    }

    fn as_project(project: &Project) -> Option<&Project> {
        Some(project)
    }

    fn is_visible(who: &Who, project: &Project) -> bool {
        match who {
            Who::User { id, admin, .. } => *admin || project.spec.members.contains_key(id),
            _ => false,
        }
    }
}

fn check_project(spec: &ProjectSpec) -> Result<(), Problem> {
    let invalid = |field: &str, title: &str| Problem::new(Reason::Invalid, title).at(field);
    if !spec.members.values().any(|role| *role == Role::Owner) {
        return Err(invalid("spec.members", "a project needs an owner"));
    }
    if spec.reconnecting_after < 5 {
        let title = "hosts are heard of each 4 seconds: give 5 or more";
        return Err(invalid("spec.reconnecting_after", title));
    }
    if spec.disconnected_after <= spec.reconnecting_after {
        let title = "a host is disconnected later than it is reconnecting: give a larger number";
        return Err(invalid("spec.disconnected_after", title));
    }
    Ok(())
}

impl Rules for NetworkKind {
    fn make(context: &Context<'_>, _id: &Id, draft: &mut Draft<Self>) -> Result<Beside, Problem> {
        check_network(&draft.spec)?;
        let others = objects::all::<Self>(context.mirror, draft.project.as_ref());
        match others.first() {
            None => Ok(Beside {
                transaction: alone(context, draft.project.as_ref())?,
                secret: None,
            }),
            Some(other) => Err(Problem::new(
                Reason::Exists,
                format!("the project has a network already, {}", other.meta.name),
            )
            .advise("change that one, or make another project")),
        }
    }

    fn edit(context: &Context<'_>, old: &Network, new: &Network) -> Result<Transaction, Problem> {
        check_network(&new.spec)?;
        let has_moved =
            (old.spec.subnet, old.spec.block_prefix) != (new.spec.subnet, new.spec.block_prefix);
        if has_moved {
            has_no_blocks(context, old)?;
        }
        Ok(Transaction::default())
    }

    fn remove(context: &Context<'_>, network: &Network) -> Result<Transaction, Problem> {
        has_no_blocks(context, network)?;
        Ok(Transaction::default())
    }

    fn show(mirror: &Mirror, network: &mut Network, _secret: Option<String>) {
        let spec = &network.spec;
        let bits = spec.block_prefix.saturating_sub(spec.subnet.prefix_len());
        network.status.blocks = 1_u32.checked_shl(bits.into()).unwrap_or(u32::MAX);
        let project = network.meta.project.as_ref();
        let used = project.map_or(0, |project| objects::blocks_used(mirror, project));
        network.status.blocks_used = used.try_into().unwrap_or(u32::MAX);
    }
}

/// Writes the project as it is, so that of two networks that are made in one moment only one is.
fn alone(context: &Context<'_>, project: Option<&Id>) -> Result<Transaction, Problem> {
    let known = project.and_then(|id| objects::find::<ProjectKind>(context.mirror, None, id));
    let known = known.ok_or_else(crate::access::no_project)?;
    objects::changed::<ProjectKind>(&known)
}

fn has_no_blocks(context: &Context<'_>, network: &Network) -> Result<(), Problem> {
    let hosts = objects::all::<HostKind>(context.mirror, network.meta.project.as_ref());
    match hosts.iter().find(|host| host.status.block.is_some()) {
        None => Ok(()),
        Some(host) => Err(Problem::new(
            Reason::InUse,
            format!("hosts have blocks of it, such as {}", host.meta.name),
        )
        .at("spec.subnet")
        .advise("remove the hosts first")),
    }
}

fn check_network(spec: &NetworkSpec) -> Result<(), Problem> {
    let invalid = |field: &str, title: String| Problem::new(Reason::Invalid, title).at(field);
    let (subnet, block) = (spec.subnet, spec.block_prefix);
    if subnet.trunc() != subnet {
        let title = format!(
            "{subnet} is an address within {}: give that",
            subnet.trunc()
        );
        return Err(invalid("spec.subnet", title));
    }
    if !is_private(subnet.network()) || !is_private(subnet.broadcast()) {
        let title = format!("{subnet} is not private (RFC 1918, RFC 6598): others own it");
        return Err(invalid("spec.subnet", title));
    }
    if block <= subnet.prefix_len() || block > SMALLEST_BLOCK {
        let title = format!(
            "a block is smaller than the subnet and holds 16 addresses or more: give {} to {SMALLEST_BLOCK}",
            subnet.prefix_len() + 1
        );
        return Err(invalid("spec.block_prefix", title));
    }
    if spec.port == Some(0) {
        return Err(invalid("spec.port", "port 0 cannot be used".into()));
    }
    if let Some(mtu) = spec.mtu.filter(|mtu| !(576..=65_535).contains(mtu)) {
        return Err(invalid(
            "spec.mtu",
            format!("{mtu} is not from 576 to 65535"),
        ));
    }
    Ok(())
}

fn is_private(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_private() || (a == 100 && (64..128).contains(&b))
}

impl Rules for HostKind {
    fn remove(_context: &Context<'_>, host: &Host) -> Result<Transaction, Problem> {
        let mut transaction = Transaction::default();
        if let Some((project, block)) = host.meta.project.as_ref().zip(host.status.block) {
            let key = objects::block_key(project, &block);
            transaction.writes.push(Write::delete(key));
        }
        // Its containers are taken away by the leader, in pieces: they may be more than one transaction holds.
        Ok(transaction)
    }
}

impl Rules for TokenKind {
    fn make(context: &Context<'_>, id: &Id, draft: &mut Draft<Self>) -> Result<Beside, Problem> {
        let (secret, now) = (secret::fresh(), now());
        let expires = *draft.spec.expires.get_or_insert(now + TOKEN_LIFETIME);
        if expires <= now {
            let title = format!("{expires} is past");
            return Err(Problem::new(Reason::Invalid, title).at("spec.expires"));
        }
        if draft.spec.uses == Some(0) {
            let title = "a token that nobody may use is of no use";
            return Err(Problem::new(Reason::Invalid, title).at("spec.uses"));
        }
        draft.status.secret_hash = secret::hash(&secret);
        let token = JoinToken {
            id: id.clone(),
            secret,
            ca: context.ca,
        };
        Ok(Beside {
            transaction: Transaction::default(),
            secret: Some(token.reveal()),
        })
    }

    fn show(_mirror: &Mirror, token: &mut Of<Self>, secret: Option<String>) {
        token.status.secret_hash.clear();
        token.status.token = secret;
    }
}

impl Rules for ApiKeyKind {
    fn make(context: &Context<'_>, id: &Id, draft: &mut Draft<Self>) -> Result<Beside, Problem> {
        let Who::User { id: own, admin, .. } = context.who else {
            return Err(crate::access::unknown());
        };
        let user = draft.spec.user.get_or_insert_with(|| own.clone());
        if user != own && !admin {
            let title = "only an administrator may make keys for others";
            return Err(Problem::new(Reason::Forbidden, title).at("spec.user"));
        }
        if objects::find::<UserKind>(context.mirror, None, user).is_none() {
            return Err(objects::missing::<UserKind>(user.as_str()).at("spec.user"));
        }
        let secret = secret::fresh();
        draft.status.secret_hash = secret::hash(&secret);
        let key = Key {
            id: id.clone(),
            secret,
        };
        Ok(Beside {
            transaction: Transaction::default(),
            secret: Some(key.reveal()),
        })
    }

    fn edit(
        _context: &Context<'_>,
        old: &Of<Self>,
        new: &Of<Self>,
    ) -> Result<Transaction, Problem> {
        // Who could give a key to another user would be that user.
        if new.spec.user == old.spec.user {
            return Ok(Transaction::default());
        }
        let title = "a key stays its user's";
        Err(Problem::new(Reason::Forbidden, title)
            .at("spec.user")
            .advise("make a new one"))
    }

    fn show(_mirror: &Mirror, key: &mut Of<Self>, secret: Option<String>) {
        key.status.secret_hash.clear();
        key.status.key = secret;
    }

    fn is_visible(who: &Who, key: &Of<Self>) -> bool {
        matches!(who, Who::User { id, admin, .. } if *admin || key.spec.user.as_ref() == Some(id))
    }
}

/// The name under which a host joins: as it wishes, or with a number after it when that is taken.
#[must_use]
pub fn free_name(mirror: &Mirror, project: &Id, wished: &str) -> Option<String> {
    let base = name::label(wished)?;
    let taken = |name: &String| objects::named::<HostKind>(mirror, Some(project), name).is_some();
    let numbered = (2..1000).map(|number| {
        let short: String = base.chars().take(58).collect();
        format!("{short}-{number}")
    });
    std::iter::once(base.clone())
        .chain(numbered)
        .find(|name| !taken(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(change: impl FnOnce(&mut NetworkSpec)) -> Result<(), String> {
        let mut spec = NetworkSpec::default();
        change(&mut spec);
        check_network(&spec).map_err(|problem| problem.to_string())
    }

    #[test]
    fn networks_are_checked() {
        let subnet = |text: &str| text.parse().unwrap();
        assert_eq!(network(|_| {}), Ok(()));
        assert_eq!(
            network(|spec| spec.subnet = subnet("100.64.0.0/10")),
            Ok(())
        );
        for (text, said) in [
            (
                "10.42.1.0/16",
                "spec.subnet: 10.42.1.0/16 is an address within 10.42.0.0/16: give that",
            ),
            (
                "8.8.0.0/16",
                "spec.subnet: 8.8.0.0/16 is not private (RFC 1918, RFC 6598): others own it",
            ),
            (
                "172.16.0.0/11",
                "spec.subnet: 172.16.0.0/11 is an address within 172.0.0.0/11: give that",
            ),
            (
                "10.42.7.0/24",
                "spec.block_prefix: a block is smaller than the subnet and holds 16 addresses or more: give 25 to 28",
            ),
        ] {
            assert_eq!(
                network(|spec| spec.subnet = subnet(text)),
                Err(said.to_owned())
            );
        }
        assert!(network(|spec| spec.mtu = Some(100)).is_err());
        assert!(network(|spec| spec.port = Some(0)).is_err());
    }

    #[test]
    fn a_project_keeps_an_owner() {
        let mut spec = ProjectSpec::default();
        assert!(check_project(&spec).is_err());
        spec.members.insert(Id::from_bits("u", 1), Role::Owner);
        assert_eq!(check_project(&spec), Ok(()));
        spec.disconnected_after = spec.reconnecting_after;
        assert!(check_project(&spec).is_err());
    }
}
