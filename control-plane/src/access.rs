//! Who may do what: the one place. Pure.

use api::access::{ApiKeyKind, Role, TokenKind, UserKind};
use api::container::ContainerKind;
use api::event::EventKind;
use api::host::HostKind;
use api::network::NetworkKind;
use api::problem::{Problem, Reason};
use api::project::ProjectKind;
use api::resource::Kind;
use api::{Id, Project};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A user, by an API key.
    User {
        /// Its id.
        id: Id,
        /// Its name.
        name: String,
        /// May do everything everywhere.
        admin: bool,
    },
    /// A host, by its certificate.
    Host {
        /// Its id.
        id: Id,
        /// Its name.
        name: String,
        /// Its project.
        project: Id,
    },
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Get, list, watch.
    Read,
    /// Make a new one.
    Create,
    /// Change one.
    Update,
    /// Remove one.
    Delete,
}

/// Whether `who` may. In a project that `who` is no member of, nothing is there.
///
/// # Errors
/// The refusal.
pub fn check<K: Kind>(who: &Who, verb: Verb, project: Option<&Project>) -> Result<(), Problem> {
    check_person(who)?;
    let Who::User { id, admin, .. } = who else {
        return Err(unknown());
    };
    let admin = *admin;
    let role = match project {
        _ if admin => Some(Role::Owner),
        Some(project) => project.spec.members.get(id).copied(),
        None => None,
    };
    if K::IN_PROJECT && project.is_none() && !admin {
        return Err(forbidden(
            "only an administrator may look into all projects",
        ));
    }
    if K::IN_PROJECT || (K::PLURAL == ProjectKind::PLURAL && verb != Verb::Create) {
        let Some(role) = role else {
            return Err(no_project());
        };
        return match least::<K>(verb) {
            Some(least) if role >= least => Ok(()),
            Some(least) => Err(forbidden(&format!(
                "this takes the role {} in the project",
                name_of(least)
            ))),
            None => Err(forbidden(&format!("nobody may do this with a {}", K::NAME))),
        };
    }
    match K::PLURAL {
        UserKind::PLURAL if !admin && verb != Verb::Read => {
            Err(forbidden("only an administrator may change users"))
        }
        _ => Ok(()),
    }
}

/// Hosts speak for themselves on paths of their own: nothing else is there for them, whether it is or not.
///
/// # Errors
/// The refusal.
pub fn check_person(who: &Who) -> Result<(), Problem> {
    match who {
        Who::Host { .. } => Err(forbidden("a host may only speak for itself")),
        Who::User { .. } => Ok(()),
    }
}

/// Whether anybody may.
#[must_use]
pub fn is_possible<K: Kind>(verb: Verb) -> bool {
    !K::IN_PROJECT || least::<K>(verb).is_some()
}

/// The least role for a verb. `None`: it is done in another way, or never.
fn least<K: Kind>(verb: Verb) -> Option<Role> {
    match (K::PLURAL, verb) {
        (TokenKind::PLURAL, _) => Some(Role::Member),
        (_, Verb::Read) => Some(Role::Readonly),
        (HostKind::PLURAL, Verb::Update | Verb::Delete) | (NetworkKind::PLURAL, _) => {
            Some(Role::Member)
        }
        (ProjectKind::PLURAL, Verb::Update | Verb::Delete) => Some(Role::Owner),
        // Hosts join, containers are seen, events happen.
        (HostKind::PLURAL | ContainerKind::PLURAL | EventKind::PLURAL, _) => None,
        (ApiKeyKind::PLURAL | UserKind::PLURAL, _) => None,
        _ => Some(Role::Owner),
    }
}

fn name_of(role: Role) -> &'static str {
    match role {
        Role::Readonly => "readonly",
        Role::Member => "member",
        Role::Owner => "owner",
    }
}

/// There is no such project, or not for who asks.
#[must_use]
pub fn no_project() -> Problem {
    Problem::new(Reason::NotFound, "there is no such project")
}

fn forbidden(title: &str) -> Problem {
    Problem::new(Reason::Forbidden, title)
}

/// Who asks is not known.
#[must_use]
pub fn unknown() -> Problem {
    Problem::new(Reason::Unauthenticated, "who asks is not known")
        .advise("give an API key: `Authorization: Bearer roskey.…`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::now;
    use api::resource::{Meta, Resource};

    fn user(bits: u64, admin: bool) -> Who {
        Who::User {
            id: Id::from_bits("u", bits),
            name: "n".into(),
            admin,
        }
    }

    fn project() -> Project {
        let mut project: Project = Resource {
            meta: Meta {
                id: Id::from_bits("p", 1),
                project: None,
                name: "default".into(),
                labels: Default::default(),
                created: now(),
                revision: 1,
                generation: 1,
            },
            spec: Default::default(),
            status: Default::default(),
        };
        for (bits, role) in [(1, Role::Readonly), (2, Role::Member), (3, Role::Owner)] {
            project.spec.members.insert(Id::from_bits("u", bits), role);
        }
        project
    }

    /// For a stranger, readonly, member, owner and admin: `.` yes, `x` forbidden, `?` not found.
    fn row<K: Kind>(verb: Verb) -> String {
        let project = project();
        [
            user(9, false),
            user(1, false),
            user(2, false),
            user(3, false),
            user(9, true),
        ]
        .iter()
        .map(|who| match check::<K>(who, verb, Some(&project)) {
            Ok(()) => '.',
            Err(problem) if problem.reason == Reason::NotFound => '?',
            Err(_) => 'x',
        })
        .collect()
    }

    fn table<K: Kind>() -> [String; 4] {
        [Verb::Read, Verb::Create, Verb::Update, Verb::Delete].map(row::<K>)
    }

    #[test]
    fn the_whole_table() {
        assert_eq!(table::<HostKind>(), ["?....", "?xxxx", "?x...", "?x..."]);
        assert_eq!(
            table::<ContainerKind>(),
            ["?....", "?xxxx", "?xxxx", "?xxxx"]
        );
        assert_eq!(table::<NetworkKind>(), ["?....", "?x...", "?x...", "?x..."]);
        assert_eq!(table::<TokenKind>(), ["?x...", "?x...", "?x...", "?x..."]);
        assert_eq!(table::<EventKind>(), ["?....", "?xxxx", "?xxxx", "?xxxx"]);
        assert_eq!(table::<ProjectKind>(), ["?....", ".....", "?xx..", "?xx.."]);
        assert_eq!(table::<UserKind>(), [".....", "xxxx.", "xxxx.", "xxxx."]);
        assert_eq!(table::<ApiKeyKind>(), [".....", ".....", ".....", "....."]);
    }

    #[test]
    fn hosts_have_no_business_here() {
        let host = Who::Host {
            id: Id::from_bits("h", 1),
            name: "h".into(),
            project: project().meta.id,
        };
        let refused = |who| {
            check::<HostKind>(&who, Verb::Read, Some(&project()))
                .unwrap_err()
                .reason
        };
        let all = |who| check::<EventKind>(&who, Verb::Read, None).map_err(|it| it.reason);
        assert_eq!(all(user(9, true)), Ok(()));
        assert_eq!(all(user(1, false)), Err(Reason::Forbidden));
        assert_eq!(refused(host), Reason::Forbidden);
    }
}
