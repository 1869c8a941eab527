//! `users`: the accounts of the cloud-config. Each start of the console makes them anew from the files of its image, so that who is no longer
//! listed is gone; what must stay the same, the ids, is in `/var/lib/rancher/accounts.json`, and homes are on the state file system.
//!
//! Owns the records that it makes in `/etc/passwd`, `/etc/group` and `/etc/shadow`, the ids and the files of `sudoers.rs`. Homes and keys
//! are made by `people.rs`.

mod ids;
mod people;
mod plan;
#[cfg(test)]
mod plan_tests;
mod sessions;
mod sudoers;
mod tables;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use os_config::node::{Data, Node};
use os_config::problem::Position;
use os_config::{Loaded, Problem, Severity};

pub use people::{Person, people};

use self::ids::Ids;
use self::plan::{Facts, Finding, Plan, plan};
use self::sudoers::{Check, Error, visudo};
use self::tables::Tables;

/// What an application did.
#[derive(Debug, Default)]
pub struct Applied {
    /// What is wrong with `users`.
    pub problems: Vec<Problem>,
    /// Ids of accounts that were there and are no more.
    gone: BTreeSet<u32>,
}

impl Applied {
    /// Ends what those who are gone have running. Returns the number of processes.
    pub fn end_sessions(&self) -> usize {
        sessions::end(&self.gone)
    }
}

/// Makes the accounts under `root` what `users` says. What was made by an earlier application and is not listed any more is taken out.
#[must_use]
pub fn apply(root: &Path, loaded: &Loaded) -> Applied {
    apply_with(root, loaded, &visudo)
}

fn apply_with(root: &Path, loaded: &Loaded, check: Check<'_>) -> Applied {
    let report = Report { loaded };
    let (old, mut problems) = match Known::read(root, &report) {
        Ok(known) => known,
        Err(problem) => {
            return Applied {
                problems: vec![problem],
                ..Applied::default()
            };
        }
    };
    let plan = old.plan(root, loaded);
    let written = [
        (
            "/var/lib/rancher/accounts.json",
            plan.ids.write(&old.ids, root),
        ),
        (
            "/etc/passwd, group or shadow",
            plan.tables.write(&old.tables, root),
        ),
    ];
    for (what, result) in written {
        let failed = |error| report.whole(format!("{what} cannot be written: {error}"));
        problems.extend(result.err().map(failed));
    }
    let refused = sudoers::apply(root, &plan.rules, check);
    problems.extend(report.all(&plan, refused));
    let gone = old.gone(&Tables::read(root).unwrap_or_default());
    Applied { problems, gone }
}

/// What [`apply`] would find wrong with `users` under `root`; changes nothing.
#[must_use]
pub fn complaints(root: &Path, loaded: &Loaded) -> Vec<Problem> {
    if loaded.config.users.is_empty() {
        return Vec::new();
    }
    let report = Report { loaded };
    match Known::read(root, &report) {
        Ok((known, mut problems)) => {
            let plan = known.plan(root, loaded);
            let refused = sudoers::faults(root, &plan.rules, &visudo);
            problems.extend(report.all(&plan, refused));
            problems
        }
        Err(problem) => vec![problem],
    }
}

/// The files as they are, and the ids given before.
struct Known {
    tables: Tables,
    ids: Ids,
}

impl Known {
    /// Ids that cannot be read are no reason to lock people out; owners of homes tell most of them.
    fn read(root: &Path, report: &Report<'_>) -> Result<(Self, Vec<Problem>), Problem> {
        let tables = Tables::read(root)
            .map_err(|error| report.whole(format!("Accounts cannot be read: {error}")))?;
        let mut problems = Vec::new();
        let ids = Ids::read(root).unwrap_or_else(|error| {
            let what = format!("/var/lib/rancher/accounts.json cannot be read: {error}");
            problems.push(report.whole(what).advise("ids are given anew"));
            Ids::default()
        });
        Ok((Self { tables, ids }, problems))
    }

    /// Ids that accounts of ours had and nobody has in `new`. None when that cannot be read: it has root at least.
    fn gone(&self, new: &Tables) -> BTreeSet<u32> {
        let ids = new.ids();
        let had = self.ids.users.iter().filter(|(name, id)| {
            let account = self.tables.account(name);
            account.is_some_and(|account| account.uid == **id)
        });
        let gone = had.map(|(_, id)| *id).filter(|id| !ids.contains(id));
        gone.filter(|_| !ids.is_empty()).collect()
    }

    fn plan(&self, root: &Path, loaded: &Loaded) -> Plan {
        let has_program = |path: &str| {
            fs::metadata(below(root, path))
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        };
        let owner = |path: &str| {
            fs::symlink_metadata(below(root, path))
                .ok()
                .filter(fs::Metadata::is_dir)
                .map(|folder| folder.uid())
        };
        let homes = fs::read_dir(below(root, "/home")).into_iter().flatten();
        let at_home = homes
            .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.uid()))
            .collect();
        let facts = Facts {
            tables: &self.tables,
            ids: &self.ids,
            has_program: &has_program,
            owner: &owner,
            at_home: &at_home,
        };
        plan(&loaded.config.users, &facts)
    }
}

/// Findings as problems, each with its place in the files.
struct Report<'a> {
    loaded: &'a Loaded,
}

impl Report<'_> {
    fn whole(&self, what: String) -> Problem {
        Problem::new(Severity::Error, &Position::default(), "users", what)
    }

    fn all(&self, plan: &Plan, refused: Vec<(String, Error)>) -> Vec<Problem> {
        let of_sudo = refused.into_iter().map(|(user, error)| Finding {
            severity: Severity::Error,
            user,
            key: "sudo",
            what: error.to_string(),
            advice: "the user has none of these rules",
        });
        let findings = plan.findings.iter().cloned().chain(of_sudo);
        findings.map(|finding| self.problem(&finding)).collect()
    }

    fn problem(&self, finding: &Finding) -> Problem {
        let place = place(&self.loaded.tree, &finding.user, finding.key);
        let key = format!("users.{}.{}", finding.user, finding.key);
        Problem::new(
            finding.severity,
            &place.unwrap_or_default(),
            &key,
            finding.what.clone(),
        )
        .advise(finding.advice)
    }
}

/// Of the key of the entry of that name, else of the entry.
fn place(tree: &Node, user: &str, key: &str) -> Option<Position> {
    let Data::List(entries) = &tree.as_map()?.get("users")?.node.data else {
        return None;
    };
    let is_it = |entry: &&Node| {
        let name = entry.as_map().and_then(|map| map.get("name"));
        name.is_some_and(
            |name| matches!(&name.node.data, Data::Scalar { text, .. } if text == user),
        )
    };
    let entry = entries.iter().find(is_it)?;
    let node = entry.as_map()?.get(key).map(|entry| &entry.node);
    Some(node.unwrap_or(entry).position.clone())
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use os_config::layers::{Layers, Owner};

    fn loaded(text: &str) -> Loaded {
        let mut layers = Layers::default();
        layers.add_file(Owner::User, text.as_bytes(), "boot.yml");
        layers.resolve()
    }

    /// The files of the shipped image.
    fn console() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        start(root.path());
        root
    }

    /// As a start of the console leaves it: the files of its image, and what is kept.
    fn start(root: &Path) {
        for folder in ["etc/sudoers.d", "bin", "home", "var/lib/rancher"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        let files = [
            ("etc/passwd", include_str!("../../../base/root/etc/passwd")),
            ("etc/group", include_str!("../../../base/root/etc/group")),
            ("etc/shadow", include_str!("../../../base/root/etc/shadow")),
            ("bin/bash", ""),
            ("bin/sh", ""),
        ];
        for (name, text) in files {
            fs::write(root.join(name), text).unwrap();
            if name.starts_with("bin/") {
                fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        let rules = fs::read_dir(root.join("etc/sudoers.d")).unwrap();
        rules.for_each(|entry| fs::remove_file(entry.unwrap().path()).unwrap());
    }

    fn told(root: &Path, text: &str) -> Vec<String> {
        let fine: Check<'_> = &|_| Ok(());
        let problems = apply_with(root, &loaded(text), fine).problems;
        problems.iter().map(ToString::to_string).collect()
    }

    fn line(root: &Path, file: &str, name: &str) -> Option<String> {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let mut lines = text.lines();
        lines
            .find(|line| line.split(':').next() == Some(name))
            .map(str::to_owned)
    }

    const WEB: &str = "users:\n- name: web\n  gecos: Web\n  groups: docker, staff\n  sudo: ALL=(ALL) NOPASSWD:ALL\n";

    #[test]
    fn a_user_is_made_and_the_same_at_the_next_start() {
        let root = console();
        for _ in 0..2 {
            assert_eq!(told(root.path(), WEB), Vec::<String>::new());
            let line = |file, name: &str| line(root.path(), file, name).unwrap_or_default();
            assert_eq!(
                line("etc/passwd", "web"),
                "web:x:2000:2000:Web:/home/web:/bin/bash"
            );
            assert_eq!(line("etc/shadow", "web"), "web:*:20000:0:99999:7:::");
            assert_eq!(line("etc/group", "web"), "web:x:2000:");
            assert_eq!(
                line("etc/group", "docker"),
                "docker:x:1101:rancher,docker,web"
            );
            assert_eq!(line("etc/group", "staff"), "staff:x:2001:web");
            assert!(line("etc/group", "ssh-users").ends_with(":web"));
            let rule = fs::read_to_string(root.path().join("etc/sudoers.d/cloud-config-2000"));
            assert!(rule.unwrap().contains("\nweb ALL=(ALL) NOPASSWD:ALL\n"));
            start(root.path());
        }
    }

    #[test]
    fn who_is_not_listed_any_more_is_gone_without_a_restart_too() {
        let root = console();
        let fine: Check<'_> = &|_| Ok(());
        let gone = |text: &str| apply_with(root.path(), &loaded(text), fine).gone;
        assert_eq!(gone(WEB), BTreeSet::new());
        assert_eq!(gone(WEB), BTreeSet::new());
        assert_eq!(gone("users: [{name: db}]\n"), [2000].into());
        for file in ["etc/passwd", "etc/shadow", "etc/group"] {
            assert_eq!(line(root.path(), file, "web"), None, "{file}");
            assert!(line(root.path(), file, "db").is_some(), "{file}");
        }
        let docker = line(root.path(), "etc/group", "docker").unwrap();
        assert_eq!(docker, "docker:x:1101:rancher,docker");
        assert!(!root.path().join("etc/sudoers.d/cloud-config-2000").exists());
        // Back again, with the old id; `db` has not got it.
        told(root.path(), WEB);
        assert!(
            line(root.path(), "etc/passwd", "web")
                .unwrap()
                .starts_with("web:x:2000:2000:")
        );
    }

    #[test]
    fn nothing_changes_without_users() {
        let root = console();
        let before = Tables::read(root.path()).unwrap();
        assert_eq!(told(root.path(), "hostname: a\n"), Vec::<String>::new());
        assert_eq!(Tables::read(root.path()).unwrap(), before);
        assert!(!root.path().join(ids::FILE).exists());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let root = console();
        let text = "users:\n- name: web\n  shell: /bin/zsh\n- name: root\n  ssh_authorized_keys: [ssh-ed25519 AAAA]\n- name: sshd\n- name: adm\n";
        assert_eq!(
            told(root.path(), text),
            [
                "boot.yml:4:9: users.root.name: root is an account of the system; choose another name; the entry is skipped",
                "boot.yml:6:9: users.sshd.name: sshd is an account of the system; choose another name; the entry is skipped",
                "boot.yml:7:9: users.adm.name: adm is a group of the system; choose another name; the entry is skipped",
                "boot.yml:3:10: users.web.shell: /bin/zsh is not in the console; the default is used",
            ]
        );
        let web = line(root.path(), "etc/passwd", "web").unwrap();
        assert!(web.ends_with(":/bin/bash"), "{web}");
        let root_line = line(root.path(), "etc/passwd", "root").unwrap();
        assert_eq!(root_line, "root:x:0:0:root:/root:/bin/bash");
        let people = people(root.path(), &loaded(text).config);
        let names: Vec<&str> = people
            .iter()
            .map(|person| person.user.name.as_str())
            .collect();
        assert_eq!(names, ["rancher", "docker", "web"]);
    }

    #[test]
    fn a_rule_that_sudo_refuses_is_told() {
        let root = console();
        let bad: Check<'_> = &|_| Err(Error::Fault("2:5: syntax error".into()));
        let problems = apply_with(root.path(), &loaded(WEB), bad).problems;
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "boot.yml:5:9: users.web.sudo: sudo does not understand it: 2:5: syntax error; the user has none of these rules"
            ]
        );
        assert!(line(root.path(), "etc/passwd", "web").is_some());
    }

    #[test]
    fn ids_that_cannot_be_read_lock_nobody_out() {
        let root = console();
        fs::write(root.path().join(ids::FILE), "not json").unwrap();
        let told = told(root.path(), WEB);
        assert!(
            told[0].starts_with("users: /var/lib/rancher/accounts.json cannot be read"),
            "{told:?}"
        );
        assert!(line(root.path(), "etc/passwd", "web").is_some());
    }
}
