//! What becomes of the accounts: the entries of `users`, what the files hold and the ids that were given before, to new files and what is
//! wrong with the entries. Pure; each finding says what it costs.

use std::collections::BTreeSet;
use std::path::Path;

use os_config::Severity;
use os_config::types::Account;

use super::ids::Ids;
use super::sudoers::Rules;
use super::tables::{NO_PASSWORD, Record, Tables};

/// Whoever stands in `users` may log in by ssh, in group docker or not; `sshd_config` names this group.
const LOGIN_GROUP: &str = "ssh-users";
const SHELL: &str = "/bin/bash";
/// Accounts of people; what is below or above is the system's.
const PEOPLE: std::ops::Range<u32> = 1000..65_534;

/// What is there.
pub struct Facts<'a> {
    /// The files as they are.
    pub tables: &'a Tables,
    /// Ids that were given before.
    pub ids: &'a Ids,
    /// Whether a program can be run, by its path.
    pub has_program: &'a dyn Fn(&str) -> bool,
    /// Who owns a directory, if it is there.
    pub owner: &'a dyn Fn(&str) -> Option<u32>,
    /// Who owns the directories in `/home`.
    pub at_home: &'a BTreeSet<u32>,
}

/// What is to be.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The files.
    pub tables: Tables,
    /// All ids that have been given.
    pub ids: Ids,
    /// For sudo.
    pub rules: Vec<Rules>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Something wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Name of the entry.
    pub user: String,
    /// Key of the entry.
    pub key: &'static str,
    /// What is wrong.
    pub what: String,
    /// What to do, or what happens instead.
    pub advice: &'static str,
}

/// True for the id of an account that a person may have: not one of the system's.
#[must_use]
pub fn is_a_persons(uid: u32) -> bool {
    PEOPLE.contains(&uid) || uid > 65_535
}

/// Plans.
#[must_use]
pub fn plan(entries: &[Account], facts: &Facts<'_>) -> Plan {
    let mut planner = Planner {
        facts,
        taken: BTreeSet::new(),
        plan: Plan {
            tables: facts.tables.clone(),
            ids: facts.ids.clone(),
            ..Plan::default()
        },
    };
    planner.take_out_ours();
    planner.taken = planner.plan.tables.ids();
    let new = planner.sort(entries);
    planner.ask_for_ids(&new);
    planner.recognise(&new);
    // Usual homes first: who asks for another must not get one of theirs.
    let (asking, usual): (Vec<_>, Vec<_>) = new.iter().partition(|entry| entry.homedir.is_some());
    for entry in usual.into_iter().chain(asking) {
        planner.make(entry);
    }
    for entry in entries {
        planner.equip(entry);
    }
    planner.plan
}

fn usual_home(entry: &Account) -> String {
    format!("/home/{}", entry.name)
}

struct Planner<'a> {
    facts: &'a Facts<'a>,
    /// Ids of others than ours.
    taken: BTreeSet<u32>,
    plan: Plan,
}

impl Planner<'_> {
    fn tell(&mut self, entry: &Account, key: &'static str, what: String, advice: &'static str) {
        self.plan.findings.push(Finding {
            severity: Severity::Error,
            user: entry.name.clone(),
            key,
            what,
            advice,
        });
    }

    /// Accounts that we made at an earlier application have the id that we gave; they are made anew, or not.
    fn take_out_ours(&mut self) {
        for (name, id) in &self.facts.ids.users {
            let ours = self.facts.tables.account(name);
            if let Some(account) = ours.filter(|account| account.uid == *id) {
                self.plan.tables.remove_account(name, account.gid);
            }
        }
    }

    /// The entries that are new accounts; those that cannot be are told.
    fn sort<'e>(&mut self, entries: &'e [Account]) -> Vec<&'e Account> {
        let mut new = Vec::new();
        for entry in entries.iter().filter(|entry| !entry.name.is_empty()) {
            match self.plan.tables.account(&entry.name) {
                Some(account) if is_a_persons(account.uid) => {
                    self.cannot_move(entry, &account);
                    continue;
                }
                Some(_) => self.tell(
                    entry,
                    "name",
                    format!("{} is an account of the system", entry.name),
                    "choose another name; the entry is skipped",
                ),
                None if self.is_group_of_the_system(&entry.name) => self.tell(
                    entry,
                    "name",
                    format!("{} is a group of the system", entry.name),
                    "choose another name; the entry is skipped",
                ),
                None => new.push(entry),
            }
        }
        new
    }

    fn is_group_of_the_system(&self, name: &str) -> bool {
        let made = self.plan.ids.groups.get(name);
        let there = self.plan.tables.group_id(name);
        there.is_some() && there != made.copied()
    }

    fn cannot_move(&mut self, entry: &Account, account: &Record) {
        if entry.uid.is_some_and(|id| id != account.uid) {
            let what = format!("{} has the id {}", entry.name, account.uid);
            self.tell(entry, "uid", what, "remove the line");
        }
        if entry
            .homedir
            .as_ref()
            .is_some_and(|home| *home != account.home)
        {
            let what = format!("The home of {} is {}", entry.name, account.home);
            self.tell(entry, "homedir", what, "remove the line");
        }
    }

    /// Before any id is given freely, so that none is given that somebody asks for.
    fn ask_for_ids(&mut self, new: &[&Account]) {
        let asked: BTreeSet<u32> = new.iter().filter_map(|entry| entry.uid).collect();
        let present: BTreeSet<&str> = new.iter().map(|entry| entry.name.as_str()).collect();
        for entry in new {
            let Some(id) = entry.uid else {
                continue;
            };
            let whose = if self.taken.contains(&id) && !self.is_made_group(id) {
                Err("the system".to_owned())
            } else {
                self.plan.ids.ask(&entry.name, id, &present)
            };
            if let Err(whose) = whose {
                self.tell(
                    entry,
                    "uid",
                    format!("{id} is the id of {whose} already"),
                    "choose another, or remove the line; another is given",
                );
            }
        }
        self.taken.extend(asked);
    }

    fn is_made_group(&self, id: u32) -> bool {
        self.plan.ids.groups.values().any(|known| *known == id)
    }

    /// Ids that are not known, because their file was lost, are told by the homes. Who has none of these homes gets none of these ids: he
    /// would find himself the owner of what somebody else has left.
    fn recognise(&mut self, new: &[&Account]) {
        for entry in new {
            let usual = usual_home(entry);
            let home = entry.homedir.as_ref().unwrap_or(&usual);
            if let Some(owner) = (self.facts.owner)(home) {
                self.plan.ids.recognise(&entry.name, owner, &self.taken);
            }
        }
        self.taken.extend(self.facts.at_home);
    }

    /// Account, group of its own and password.
    fn make(&mut self, entry: &Account) {
        let home = self.home(entry);
        let Some(uid) = self.plan.ids.user(&entry.name, &self.taken) else {
            self.tell(
                entry,
                "name",
                "All ids are given".into(),
                "give `uid`; the entry is skipped",
            );
            return;
        };
        let made = self.plan.ids.groups.get(&entry.name);
        let gid = made.copied().unwrap_or(uid);
        let shell = self.shell(entry);
        let tables = &mut self.plan.tables;
        tables.add_group(&entry.name, gid);
        tables.set_account(&Record {
            name: entry.name.clone(),
            uid,
            gid,
            gecos: entry.gecos.clone(),
            home,
            shell: shell.unwrap_or_else(|| SHELL.to_owned()),
        });
        tables.set_password(&entry.name, entry.hash().unwrap_or(NO_PASSWORD));
        if tables.group_id(LOGIN_GROUP).is_some() {
            tables.join(LOGIN_GROUP, &entry.name);
        }
    }

    /// Two accounts in one home would write each other's keys, and who has another's within his own can put something else in its place.
    fn home(&mut self, entry: &Account) -> String {
        let usual = usual_home(entry);
        let Some(asked) = &entry.homedir else {
            return usual;
        };
        let contains = |path: &str, folder: &str| Path::new(path).starts_with(folder);
        let collides = |account: &Record| {
            let nested = contains(asked, &account.home) || contains(&account.home, asked);
            account.home == *asked || nested && is_a_persons(account.uid)
        };
        let other = self.plan.tables.accounts().find(collides);
        if let Some(other) = other {
            let what = format!("{asked} is, holds or is in the home of {}", other.name);
            self.tell(entry, "homedir", what, "the usual one below /home is used");
            return usual;
        }
        asked.clone()
    }

    /// `None`: none is named, or it is not there. One that turns everybody away need not be there to do so.
    fn shell(&mut self, entry: &Account) -> Option<String> {
        let shell = entry.shell.as_ref()?;
        let refuses = shell.ends_with("/nologin") || shell.ends_with("/false");
        if refuses || (self.facts.has_program)(shell) {
            return Some(shell.clone());
        }
        let what = format!("{shell} is not in the console");
        self.tell(entry, "shell", what, "the default is used");
        None
    }

    /// What shipped and new accounts get alike: groups, sudo; for those that were there, also shell, comment and password.
    fn equip(&mut self, entry: &Account) {
        let Some(mut account) = self.plan.tables.account(&entry.name) else {
            return;
        };
        if !is_a_persons(account.uid) {
            return;
        }
        if !self.plan.ids.users.contains_key(&entry.name) {
            if let Some(shell) = self.shell(entry) {
                account.shell = shell;
            }
            if !entry.gecos.is_empty() {
                account.gecos.clone_from(&entry.gecos);
            }
            self.plan.tables.set_account(&account);
            if let Some(hash) = entry.hash() {
                self.plan.tables.set_password(&entry.name, hash);
            }
        }
        for group in entry.groups.iter().filter(|group| !group.is_empty()) {
            self.join(entry, group);
        }
        self.plan.rules.push(Rules {
            user: entry.name.clone(),
            uid: account.uid,
            lines: entry
                .sudo
                .iter()
                .filter(|rule| !rule.is_empty())
                .cloned()
                .collect(),
        });
    }

    fn join(&mut self, entry: &Account, group: &str) {
        if self.plan.tables.group_id(group).is_none() {
            let Some(id) = self.plan.ids.group(group, &self.taken) else {
                self.tell(
                    entry,
                    "groups",
                    format!("{group} cannot be made: all ids are given"),
                    "use a group that is there",
                );
                return;
            };
            self.plan.tables.add_group(group, id);
        }
        self.plan.tables.join(group, &entry.name);
    }
}
