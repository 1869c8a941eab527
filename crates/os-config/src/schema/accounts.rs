//! `users`: the shapes that cloud-init allows, put into one, and what entries say of one another: names and ids given twice, keys that
//! cancel each other. Owns the texts of these findings; what an account is on the machine is not its business.

use std::collections::HashMap;

use super::check::truth;
use crate::node::{Data, Entry, Map, Node};
use crate::problem::{Position, Problem, Severity};

/// What cloud-init calls the account that a system ships.
const DEFAULT: &str = "default";
/// Accounts that are there anyway, with ids that do not change.
const SHIPPED: [(&str, &str); 2] = [("rancher", "1100"), ("docker", "1101")];
/// `nobody`, and "none" in 16 bits.
const NOBODY: [&str; 2] = ["65534", "65535"];
/// What the console keeps over a reboot.
const KEPT: [&str; 5] = ["/home/", "/opt/", "/mnt/", "/media/", "/root/"];

/// `docker, sudo` becomes a list.
pub(super) fn split_at_commas(node: &mut Node) {
    let Data::Scalar { text, .. } = &node.data else {
        return;
    };
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let items: Vec<Node> = words.map(|word| text_at(word, node)).collect();
    node.data = Data::List(items);
}

/// One rule becomes a list of it; false, null and nothing an empty one.
pub(super) fn list_rules(node: &mut Node) {
    let Data::Scalar { text, quoted } = &node.data else {
        return;
    };
    let is_none = node.is_null() || text.is_empty() || truth(text, *quoted, false) == Some("false");
    let items = if is_none {
        Vec::new()
    } else {
        vec![text_at(text, node)]
    };
    node.data = Data::List(items);
}

/// A text becomes a map with that name.
pub(super) fn map_name(node: &mut Node) {
    let Data::Scalar { text, .. } = &node.data else {
        return;
    };
    let entry = Entry {
        key: node.position.clone(),
        node: text_at(text, node),
    };
    node.data = Data::Map(Map::from_iter([("name".to_owned(), entry)]));
}

fn text_at(text: &str, node: &Node) -> Node {
    Node {
        position: node.position.clone(),
        ..Node::text(text)
    }
}

/// Looks at the entries of the list together: takes out what contradicts another entry, and reports it.
pub(super) fn check(list: &mut Node, path: &str, problems: &mut Vec<Problem>) {
    let Data::List(items) = &mut list.data else {
        return;
    };
    let mut seen = Seen::default();
    items.retain_mut(|item| {
        let Data::Map(map) = &mut item.data else {
            return false;
        };
        if is_default(map) {
            if map.len() == 1 {
                return false;
            }
            map.insert("name".to_owned(), shipped(map));
        }
        let Some((name, position)) = text_of(map, "name") else {
            return false;
        };
        let mut entry = Checked {
            path: format!("{path}.{name}"),
            name,
            map,
            problems: &mut *problems,
        };
        if let Some(line) = seen.names.insert(entry.name.clone(), position.line) {
            entry.report(
                Severity::Error,
                "name",
                format!(
                    "{} stands in the list twice, first on line {line}",
                    entry.name
                ),
                "put both under one entry; this one is skipped",
            );
            seen.names.insert(entry.name.clone(), line);
            return false;
        }
        entry.id(&mut seen.ids);
        entry.password();
        entry.home();
        true
    });
}

#[derive(Default)]
struct Seen {
    /// With the line of the first.
    names: HashMap<String, u32>,
    /// Whose it is.
    ids: HashMap<String, String>,
}

/// Alone it only says that the shipped account is to be there, as it always is.
fn is_default(map: &Map) -> bool {
    text_of(map, "name").is_some_and(|(name, _)| name == DEFAULT)
}

/// The shipped account's name, in the place of cloud-init's word for it.
fn shipped(map: &Map) -> Entry {
    let position = text_of(map, "name").map(|(_, position)| position);
    let position = position.unwrap_or_default();
    Entry {
        key: position.clone(),
        node: Node {
            position,
            ..Node::text(SHIPPED[0].0)
        },
    }
}

fn text_of(map: &Map, key: &str) -> Option<(String, Position)> {
    let node = &map.get(key)?.node;
    match &node.data {
        Data::Scalar { text, .. } if !text.is_empty() => {
            Some((text.clone(), node.position.clone()))
        }
        _ => None,
    }
}

struct Checked<'a> {
    path: String,
    name: String,
    map: &'a mut Map,
    problems: &'a mut Vec<Problem>,
}

impl Checked<'_> {
    fn report(&mut self, severity: Severity, key: &str, what: String, advice: &str) {
        let Some(entry) = self.map.get(key) else {
            return;
        };
        let path = format!("{}.{key}", self.path);
        let problem = Problem::new(severity, &entry.node.position, &path, what);
        self.problems.push(problem.advise(advice));
    }

    fn id(&mut self, ids: &mut HashMap<String, String>) {
        let Some((id, _)) = text_of(self.map, "uid") else {
            return;
        };
        let own = SHIPPED.iter().find(|(name, _)| *name == self.name);
        let owner = SHIPPED.iter().find(|(_, known)| *known == id);
        let (what, advice) = match (own, owner, ids.get(&id).cloned()) {
            (Some((_, own)), _, _) if *own == id => return,
            (Some((name, own)), _, _) => (
                format!("{name} has the id {own} and keeps it"),
                "remove the line",
            ),
            (None, Some((owner, _)), _) => (format!("{id} is the id of {owner}"), CHOOSE),
            (None, None, _) if NOBODY.contains(&id.as_str()) => {
                (format!("{id} is nobody's id"), CHOOSE)
            }
            (None, None, Some(other)) => (format!("{id} is the id of {other} already"), CHOOSE),
            (None, None, None) => {
                ids.insert(id, self.name.clone());
                return;
            }
        };
        self.report(Severity::Error, "uid", what, advice);
        self.map.shift_remove("uid");
    }

    /// cloud-init locks passwords unless it is told not to; that surprises whoever wrote one.
    fn password(&mut self) {
        let hash = ["passwd", "hashed_passwd"]
            .into_iter()
            .find(|key| text_of(self.map, key).is_some_and(|(text, _)| text.starts_with('$')));
        let is_open = text_of(self.map, "lock_passwd").is_some_and(|(text, _)| text == "false");
        if let Some(key) = hash
            && !is_open
        {
            self.report(
                Severity::Warning,
                key,
                "Has no effect: passwords are locked, as in cloud-init".into(),
                "add `lock_passwd: false`",
            );
        }
        let has_password = hash.is_some() && is_open;
        if !has_password && self.asks_for_a_password() {
            self.report(
                Severity::Warning,
                "sudo",
                "A rule asks for a password, and the user has none".into(),
                "write NOPASSWD: before the commands, or give `passwd` and `lock_passwd: false`",
            );
        }
    }

    fn asks_for_a_password(&self) -> bool {
        let Some(Data::List(rules)) = self.map.get("sudo").map(|entry| &entry.node.data) else {
            return false;
        };
        rules.iter().any(
            |rule| matches!(&rule.data, Data::Scalar { text, .. } if !text.contains("NOPASSWD:")),
        )
    }

    fn home(&mut self) {
        let lost = |home: &str| !KEPT.iter().any(|folder| home.starts_with(folder));
        if text_of(self.map, "homedir").is_some_and(|(home, _)| lost(&home)) {
            self.report(
                Severity::Warning,
                "homedir",
                "Is not kept over a reboot".into(),
                "choose a directory below /home",
            );
        }
    }
}

const CHOOSE: &str = "choose another, or remove the line: ids given by RancherOS stay the same too";

#[cfg(test)]
mod tests {
    use crate::layers::{Layers, Owner};
    use crate::schema::check_text;

    fn findings(text: &str) -> Vec<String> {
        check_text(text.as_bytes(), "c.yml")
            .iter()
            .map(|problem| format!("{:?} {problem}", problem.severity))
            .collect()
    }

    #[test]
    fn entries_are_compared() {
        let text = "\
users:
- default
- name: web
  uid: 2000
  passwd: \"*\"
- name: web
- name: db
  uid: 2000
- name: thief
  uid: 1100
- name: docker
  uid: 1200
- name: none
  uid: 65534
  homedir: /srv/none
- name: ops
  sudo: ALL=(ALL) ALL
";
        assert_eq!(
            findings(text),
            [
                "Error c.yml:6:9: users.web.name: web stands in the list twice, first on line 3; put both under one entry; this one is skipped",
                "Error c.yml:8:8: users.db.uid: 2000 is the id of web already; choose another, or remove the line: ids given by RancherOS stay the same too",
                "Error c.yml:10:8: users.thief.uid: 1100 is the id of rancher; choose another, or remove the line: ids given by RancherOS stay the same too",
                "Error c.yml:12:8: users.docker.uid: docker has the id 1101 and keeps it; remove the line",
                "Error c.yml:14:8: users.none.uid: 65534 is nobody's id; choose another, or remove the line: ids given by RancherOS stay the same too",
                "Warning c.yml:15:12: users.none.homedir: Is not kept over a reboot; choose a directory below /home",
                "Warning c.yml:17:9: users.ops.sudo: A rule asks for a password, and the user has none; write NOPASSWD: before the commands, or give `passwd` and `lock_passwd: false`",
            ]
        );
    }

    #[test]
    fn the_default_account_is_rancher() {
        let found = |text: &str| {
            let mut layers = Layers::default();
            layers.add_file(Owner::User, text.as_bytes(), "c.yml");
            let loaded = layers.resolve();
            assert_eq!(loaded.problems, []);
            loaded.config.users
        };
        assert_eq!(found("users: [default]\n"), []);
        let users = found("users:\n- default\n- name: rancher\n- web\n");
        let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
        assert_eq!(names, ["rancher", "web"]);
        let users = found("users:\n- name: default\n  groups: a, b\n  sudo: null\n");
        assert_eq!(users[0].name, "rancher");
        assert_eq!(users[0].groups, ["a", "b"]);
        assert!(users[0].sudo.is_empty());
    }

    #[test]
    fn passwords_in_plain_text_are_refused_and_not_told() {
        let text =
            "users:\n- name: a\n  passwd: hunter2\n- name: b\n  plain_text_passwd: hunter2\n";
        let found = findings(text);
        assert_eq!(
            found,
            [
                "Error c.yml:3:11: users.0.passwd: The text is not a password hash; passwords in plain text are refused; `openssl passwd -6` makes a hash, which begins with `$6$`; put it in quotes",
                "Error c.yml:5:22: users.1.plain_text_passwd: The text is not taken: passwords in plain text are refused; write a hash as `passwd`; `openssl passwd -6` makes one",
            ]
        );
    }

    /// Each costs what it is, and the rest stays.
    #[test]
    fn broken_shapes_are_told_and_the_rest_counts() {
        let text = "\
hostname: a
users:
- [a, b]
- 7
- null
- {}
- name: \"a\\nroot::0:0::/:/bin/sh\"
- name: good
  uid: \"1500\"
  groups: {docker: x}
  sudo: [\"ALL=ALL\", \"ALL=ALL\\nroot ALL=ALL\"]
  ssh_authorized_keys: [\"ssh-ed25519 AAAA\", \"ssh-ed25519 AAAA\\nssh-rsa AAAA\"]
  shell: sh
  lock_passwd: maybe
  passwd: [hunter2]
";
        let mut layers = Layers::default();
        layers.add_file(Owner::User, text.as_bytes(), "c.yml");
        let loaded = layers.resolve();
        let [good] = loaded.config.users.as_slice() else {
            panic!("{:?}", loaded.config.users);
        };
        assert_eq!(good.name, "good");
        assert_eq!(
            (good.uid, good.lock_passwd, good.hash()),
            (None, true, None)
        );
        assert_eq!(good.sudo, ["ALL=ALL"]);
        assert_eq!(good.ssh_authorized_keys, ["ssh-ed25519 AAAA"]);
        assert!(good.groups.is_empty() && good.shell.is_none());
        let told: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        let places: Vec<&str> = told
            .iter()
            .filter_map(|line| line.split(": ").next())
            .collect();
        assert_eq!(
            places,
            [
                "c.yml:3:3",
                "c.yml:4:3",
                "c.yml:4:3",
                "c.yml:5:3",
                "c.yml:6:3",
                "c.yml:7:9",
                "c.yml:7:3",
                "c.yml:9:8",
                "c.yml:10:11",
                "c.yml:11:21",
                "c.yml:12:45",
                "c.yml:13:10",
                "c.yml:14:16",
                "c.yml:15:11",
                "c.yml:11:9"
            ]
        );
        let all = told.concat();
        assert!(!all.contains("hunter2") && !all.contains('\n'), "{all}");
        assert_eq!(loaded.config.hostname.as_deref(), Some("a"));
        for whole in ["users: web", "users: {name: web}", "users: 7", "users:"] {
            let mut layers = Layers::default();
            let text = format!("hostname: a\n{whole}\n");
            layers.add_file(Owner::User, text.as_bytes(), "c.yml");
            let loaded = layers.resolve();
            assert_eq!(loaded.problems.len(), 1, "{whole}");
            assert_eq!(loaded.config.hostname.as_deref(), Some("a"), "{whole}");
            assert!(loaded.config.users.is_empty(), "{whole}");
        }
    }

    #[test]
    fn a_locked_password_is_told() {
        let hash = format!("$6$salt${}", "a".repeat(86));
        let text = format!("users:\n- name: a\n  passwd: {hash}\n");
        assert_eq!(
            findings(&text),
            [
                "Warning c.yml:3:11: users.a.passwd: Has no effect: passwords are locked, as in cloud-init; add `lock_passwd: false`"
            ]
        );
        let open = format!("{text}  lock_passwd: false\n  sudo: ALL=(ALL) ALL\n");
        assert_eq!(findings(&open), Vec::<String>::new());
    }
}
