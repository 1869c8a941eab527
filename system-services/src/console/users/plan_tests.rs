//! What `plan` decides: who gets which id, which groups, and what is refused.

use std::collections::BTreeSet;

use super::ids::Ids;
use super::plan::{Facts, Plan, plan};
use super::tables::Tables;
use os_config::types::{Account, Secret};

const HASH: &str = "$6$salt$hash";

fn tables() -> Tables {
    Tables {
        passwd: include_str!("../../../base/root/etc/passwd").into(),
        group: include_str!("../../../base/root/etc/group").into(),
        shadow: include_str!("../../../base/root/etc/shadow").into(),
    }
}

fn user(name: &str) -> Account {
    Account {
        name: name.into(),
        ..Account::default()
    }
}

/// Plans with the shipped files, bash and sh, and no directory.
fn planned(entries: &[Account], ids: &Ids) -> Plan {
    with(entries, &tables(), ids)
}

fn with(entries: &[Account], tables: &Tables, ids: &Ids) -> Plan {
    let facts = Facts {
        tables,
        ids,
        has_program: &|path| ["/bin/bash", "/bin/sh"].contains(&path),
        owner: &|_| None,
        at_home: &BTreeSet::new(),
    };
    plan(entries, &facts)
}

fn told(plan: &Plan) -> Vec<String> {
    plan.findings
        .iter()
        .map(|finding| format!("{}.{}: {}", finding.user, finding.key, finding.what))
        .collect()
}

fn uid(plan: &Plan, name: &str) -> Option<u32> {
    Some(plan.tables.account(name)?.uid)
}

#[test]
fn ids_do_not_depend_on_who_else_is_listed() {
    let first = planned(&[user("a"), user("b"), user("c")], &Ids::default());
    let b = uid(&first, "b");
    assert_eq!(b, Some(2001));
    // `a` is gone and others stand before `b`.
    let second = planned(&[user("x"), user("y"), user("b")], &first.ids);
    assert_eq!(uid(&second, "b"), b);
    assert_eq!(uid(&second, "a"), None);
    assert_eq!(uid(&second, "x"), Some(2003));
    let third = planned(&[user("a")], &second.ids);
    assert_eq!(uid(&third, "a"), Some(2000));
}

#[test]
fn an_id_that_somebody_asks_for_is_given_to_nobody_else() {
    let mut asking = user("late");
    asking.uid = Some(2000);
    let plan = planned(&[user("early"), asking], &Ids::default());
    assert_eq!(uid(&plan, "late"), Some(2000));
    assert_eq!(uid(&plan, "early"), Some(2001));
    assert_eq!(told(&plan), Vec::<String>::new());
}

#[test]
fn an_id_that_is_taken_is_refused() {
    let known = planned(&[user("web")], &Ids::default()).ids;
    let mut thief = user("thief");
    thief.uid = Some(2000);
    let plan = planned(&[thief.clone(), user("web")], &known);
    assert_eq!(
        told(&plan),
        ["thief.uid: 2000 is the id of user web already"]
    );
    assert_eq!(uid(&plan, "web"), Some(2000));
    assert_eq!(uid(&plan, "thief"), Some(2001));
    thief.uid = Some(1101);
    let plan = planned(&[thief], &Ids::default());
    assert_eq!(
        told(&plan),
        ["thief.uid: 1101 is the id of the system already"]
    );
    assert_eq!(uid(&plan, "thief"), Some(2000));
}

#[test]
fn the_owner_of_a_home_has_its_id_when_ids_are_lost() {
    let tables = tables();
    let facts = Facts {
        tables: &tables,
        ids: &Ids::default(),
        has_program: &|_| true,
        owner: &|path| (path == "/home/web").then_some(2000),
        at_home: &[2000, 2001].into(),
    };
    let plan = plan(&[user("other"), user("web")], &facts);
    assert_eq!(uid(&plan, "web"), Some(2000));
    // Nor has the first who comes what somebody who is not listed has left in /home.
    assert_eq!(uid(&plan, "other"), Some(2002));
}

#[test]
fn passwords_are_hashes_or_none_and_never_empty() {
    let mut open = user("open");
    open.passwd = Secret::new(HASH);
    open.lock_passwd = false;
    let mut locked = user("locked");
    locked.passwd = Secret::new(HASH);
    let mut star = user("star");
    star.hashed_passwd = Secret::new("*");
    star.lock_passwd = false;
    let mut empty = user("empty");
    empty.lock_passwd = false;
    let plan = planned(&[open, locked, star, empty], &Ids::default());
    let passwords: Vec<&str> = plan
        .tables
        .shadow
        .lines()
        .rev()
        .take(4)
        .filter_map(|line| line.split(':').nth(1))
        .collect();
    assert_eq!(passwords, ["*", "*", "*", HASH]);
    let empty = plan
        .tables
        .shadow
        .lines()
        .find(|line| line.contains("::0:"));
    assert_eq!(empty, None);
}

#[test]
fn rancher_is_changed_and_stays_who_it_is() {
    let mut rancher = user("rancher");
    rancher.shell = Some("/bin/sh".into());
    rancher.groups = vec!["staff".into(), "docker".into()];
    rancher.uid = Some(3000);
    rancher.homedir = Some("/home/other".into());
    rancher.passwd = Secret::new(HASH);
    rancher.lock_passwd = false;
    let plan = planned(&[rancher], &Ids::default());
    let record = plan.tables.account("rancher").unwrap();
    assert_eq!((record.uid, record.gid), (1100, 1100));
    assert_eq!(
        (
            record.home.as_str(),
            record.shell.as_str(),
            record.gecos.as_str()
        ),
        ("/home/rancher", "/bin/sh", "RancherOS")
    );
    let groups = &plan.tables.group;
    for line in [
        "docker:x:1101:rancher,docker\n",
        "sudo:x:27:rancher,docker\n",
        "staff:x:2000:rancher\n",
    ] {
        assert!(groups.contains(line), "{line}\n{groups}");
    }
    assert!(plan.tables.shadow.contains(&format!("\nrancher:{HASH}:")));
    assert_eq!(
        told(&plan),
        [
            "rancher.uid: rancher has the id 1100",
            "rancher.homedir: The home of rancher is /home/rancher"
        ]
    );
    assert!(plan.ids.users.is_empty());
}

#[test]
fn a_shell_that_turns_people_away_need_not_be_there() {
    let mut off = user("off");
    off.shell = Some("/usr/sbin/nologin".into());
    let plan = planned(&[off], &Ids::default());
    let record = plan.tables.account("off").unwrap();
    assert_eq!(record.shell, "/usr/sbin/nologin");
    assert_eq!(told(&plan), Vec::<String>::new());
}

#[test]
fn a_home_has_one_owner() {
    let mut entry = user("web");
    entry.homedir = Some("/home/rancher".into());
    let plan = planned(&[entry], &Ids::default());
    assert_eq!(
        told(&plan),
        ["web.homedir: /home/rancher is, holds or is in the home of rancher"]
    );
    assert_eq!(plan.tables.account("web").unwrap().home, "/home/web");
    for nested in ["/home", "/home/web/inner"] {
        let mut inner = user("inner");
        inner.homedir = Some(nested.into());
        let plan = planned(&[user("web"), inner], &Ids::default());
        assert_eq!(told(&plan).len(), 1, "{nested}");
        assert_eq!(plan.tables.account("inner").unwrap().home, "/home/inner");
    }
}

#[test]
fn a_group_that_was_made_for_members_may_become_a_users_own() {
    let mut member = user("a");
    member.groups = vec!["web".into()];
    let first = planned(std::slice::from_ref(&member), &Ids::default());
    assert_eq!(first.tables.group_id("web"), Some(2001));
    // In the running console the group is there; at the next start it is not.
    for tables in [&first.tables, &tables()] {
        let second = with(&[member.clone(), user("web")], tables, &first.ids);
        assert_eq!(told(&second), Vec::<String>::new());
        let web = second.tables.account("web").unwrap();
        assert_eq!((web.uid, web.gid), (2002, 2001));
        assert!(second.tables.group.contains("\nweb:x:2001:a\n"));
    }
}

#[test]
fn applying_twice_is_applying_once() {
    let mut web = user("web");
    web.groups = vec!["docker".into(), "staff".into()];
    web.sudo = vec!["ALL=(ALL) NOPASSWD:ALL".into()];
    let entries = [web, user("db")];
    let first = planned(&entries, &Ids::default());
    let second = with(&entries, &first.tables, &first.ids);
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(second.ids, first.ids);
    assert_eq!(second.rules, first.rules);
    assert_eq!(sorted(&second.tables.passwd), sorted(&first.tables.passwd));
    assert_eq!(sorted(&second.tables.shadow), sorted(&first.tables.shadow));
    assert_eq!(sorted(&second.tables.group), sorted(&first.tables.group));
}
