//! The texts of `/etc/passwd`, `/etc/group` and `/etc/shadow` (passwd(5), group(5), shadow(5)): finds, adds and takes out records.
//!
//! Pure but for [`Tables::read`] and [`Tables::write`]. A name or field that would end a record never gets here: the schema refuses it, and
//! [`record`] takes out what would.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::files::{Attributes, write_with};

/// Days since 1970 of the last change, as in the shipped file; then ageing that never sets in.
const AGEING: &str = "20000:0:99999:7:::";
/// No password fits it, and sshd does not take the account for locked as it does with `!`.
pub const NO_PASSWORD: &str = "*";

/// The three files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// `/etc/passwd`
    pub passwd: String,
    /// `/etc/group`
    pub group: String,
    /// `/etc/shadow`
    pub shadow: String,
}

/// A record of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Comment.
    pub gecos: String,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

impl Tables {
    /// Reads the files under `root`; what is not there is empty.
    ///
    /// # Errors
    /// When one is there and cannot be read: it must not be written anew then.
    pub fn read(root: &Path) -> io::Result<Self> {
        let text = |file: &str| match fs::read_to_string(root.join(file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        };
        Ok(Self {
            passwd: text("etc/passwd")?,
            group: text("etc/group")?,
            shadow: text("etc/shadow")?,
        })
    }

    /// Writes what differs from `old` under `root`. The group of `/etc/shadow` stays what it is.
    ///
    /// # Errors
    /// The first file that cannot be written; groups come first and passwords before accounts, so that none is there without its own.
    pub fn write(&self, old: &Self, root: &Path) -> io::Result<()> {
        let files = [
            ("etc/group", &self.group, &old.group, 0o644),
            ("etc/shadow", &self.shadow, &old.shadow, 0o640),
            ("etc/passwd", &self.passwd, &old.passwd, 0o644),
        ];
        for (file, new, old, mode) in files {
            if new == old {
                continue;
            }
            let path = root.join(file);
            let gid = fs::metadata(&path).ok().map(|file| file.gid());
            let attributes = Attributes {
                mode,
                uid: None,
                gid,
            };
            write_with(&path, new.as_bytes(), attributes)?;
        }
        Ok(())
    }

    /// The account called `name`.
    #[must_use]
    pub fn account(&self, name: &str) -> Option<Record> {
        self.accounts().find(|record| record.name == name)
    }

    /// All accounts that can be read.
    pub fn accounts(&self) -> impl Iterator<Item = Record> {
        self.passwd.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, gecos, home, shell] = fields.as_slice() else {
                return None;
            };
            Some(Record {
                name: (*name).to_owned(),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                gecos: (*gecos).to_owned(),
                home: (*home).to_owned(),
                shell: (*shell).to_owned(),
            })
        })
    }

    /// Id of the group called `name`.
    #[must_use]
    pub fn group_id(&self, name: &str) -> Option<u32> {
        self.groups().find(|(known, _)| *known == name)?.1
    }

    /// Names and ids of all groups.
    fn groups(&self) -> impl Iterator<Item = (&str, Option<u32>)> {
        self.group.lines().map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().unwrap_or_default();
            (name, fields.nth(1).and_then(|id| id.parse().ok()))
        })
    }

    /// Every id that a user or a group has.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<u32> {
        let groups = self.groups().filter_map(|(_, id)| id);
        let users = self.accounts().map(|record| record.uid);
        groups.chain(users).collect()
    }

    /// Puts `account` in the place of the record of that name, or at the end.
    pub fn set_account(&mut self, account: &Record) {
        let (uid, gid) = (account.uid.to_string(), account.gid.to_string());
        let line = record(&[
            &account.name,
            "x",
            &uid,
            &gid,
            &account.gecos,
            &account.home,
            &account.shell,
        ]);
        set(&mut self.passwd, &account.name, line);
    }

    /// The password of `name`: a hash, or [`NO_PASSWORD`].
    pub fn set_password(&mut self, name: &str, hash: &str) {
        let line = format!("{}:{AGEING}", record(&[name, hash]));
        set(&mut self.shadow, name, line);
    }

    /// A group of `name` with this id, if there is none of that name.
    pub fn add_group(&mut self, name: &str, id: u32) {
        if self.group_id(name).is_none() {
            let line = record(&[name, "x", &id.to_string(), ""]);
            set(&mut self.group, name, line);
        }
    }

    /// Makes `user` a member of `group`.
    pub fn join(&mut self, group: &str, user: &str) {
        self.group = members(&self.group, |name, list| {
            if name == group && !list.contains(&user) {
                list.push(user);
            }
        });
    }

    /// Takes the account out, with its password, its group of the same name if that has `gid`, and every membership.
    pub fn remove_account(&mut self, name: &str, gid: u32) {
        remove(&mut self.passwd, name);
        remove(&mut self.shadow, name);
        if self.group_id(name) == Some(gid) {
            remove(&mut self.group, name);
        }
        self.group = members(&self.group, |_, list| list.retain(|user| *user != name));
    }
}

/// Fields as one record. What would end a field or the record is taken out.
fn record(fields: &[&str]) -> String {
    let clean = |field: &&str| -> String {
        field
            .chars()
            .filter(|c| *c != ':' && !c.is_control())
            .collect()
    };
    let fields: Vec<String> = fields.iter().map(clean).collect();
    fields.join(":")
}

fn is_of(line: &str, name: &str) -> bool {
    line.split(':').next() == Some(name)
}

fn set(text: &mut String, name: &str, record: String) {
    let mut lines: Vec<&str> = text.lines().collect();
    match lines.iter().position(|line| is_of(line, name)) {
        Some(index) => lines[index] = &record,
        None => lines.push(&record),
    }
    *text = whole(&lines);
}

fn remove(text: &mut String, name: &str) {
    let lines: Vec<&str> = text.lines().filter(|line| !is_of(line, name)).collect();
    *text = whole(&lines);
}

fn whole(lines: &[&str]) -> String {
    let mut text = lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// The groups with the members that `edit` leaves each; other fields stay as they are.
fn members<'a>(text: &'a str, edit: impl Fn(&str, &mut Vec<&'a str>)) -> String {
    let mut new = String::new();
    for line in text.lines() {
        match line.rsplit_once(':') {
            Some((fields, list)) if fields.matches(':').count() == 2 => {
                let mut users: Vec<&str> =
                    list.split(',').filter(|user| !user.is_empty()).collect();
                edit(fields.split(':').next().unwrap_or_default(), &mut users);
                new.push_str(fields);
                new.push(':');
                new.push_str(&users.join(","));
            }
            _ => new.push_str(line),
        }
        new.push('\n');
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables() -> Tables {
        Tables {
            passwd:
                "root:x:0:0:root:/root:/bin/bash\nrancher:x:1100:1100::/home/rancher:/bin/bash\n"
                    .into(),
            group: "root:x:0:\nrancher:x:1100:\ndocker:x:1101:rancher\n".into(),
            shadow: "root:*:20000:0:99999:7:::\nrancher:*:20000:0:99999:7:::\n".into(),
        }
    }

    fn web() -> Record {
        Record {
            name: "web".into(),
            uid: 2000,
            gid: 2000,
            gecos: "Web: root:x:0:0\n".into(),
            home: "/home/web".into(),
            shell: "/bin/bash".into(),
        }
    }

    #[test]
    fn an_account_comes_and_goes_without_a_trace() {
        let mut changed = tables();
        changed.add_group("web", 2000);
        changed.set_account(&web());
        changed.set_password("web", NO_PASSWORD);
        changed.join("docker", "web");
        changed.join("docker", "web");
        assert!(
            changed
                .passwd
                .ends_with("\nweb:x:2000:2000:Web rootx00:/home/web:/bin/bash\n")
        );
        assert!(changed.shadow.ends_with("\nweb:*:20000:0:99999:7:::\n"));
        assert!(
            changed
                .group
                .ends_with("docker:x:1101:rancher,web\nweb:x:2000:\n")
        );
        assert_eq!(changed.account("web").unwrap().uid, 2000);
        changed.remove_account("web", 2000);
        assert_eq!(changed, tables());
    }

    #[test]
    fn a_group_of_somebody_else_stays() {
        let mut changed = tables();
        changed.remove_account("docker", 7);
        assert_eq!(changed, tables());
    }

    #[test]
    fn a_record_is_replaced_where_it_stands() {
        let mut changed = tables();
        let mut root = changed.account("root").unwrap();
        root.shell = "/bin/sh".into();
        changed.set_account(&root);
        assert!(
            changed
                .passwd
                .starts_with("root:x:0:0:root:/root:/bin/sh\n")
        );
        changed.set_password("rancher", "$6$a$b");
        assert_eq!(
            changed.shadow,
            "root:*:20000:0:99999:7:::\nrancher:$6$a$b:20000:0:99999:7:::\n"
        );
    }

    #[test]
    fn files_are_written_with_their_modes_and_only_when_they_differ() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        let old = Tables::read(root.path()).unwrap();
        assert_eq!(old, Tables::default());
        tables().write(&old, root.path()).unwrap();
        assert_eq!(Tables::read(root.path()).unwrap(), tables());
        let shadow = root.path().join("etc/shadow");
        let metadata = |path: &Path| fs::metadata(path).unwrap();
        assert_eq!(metadata(&shadow).permissions().mode() & 0o7777, 0o640);
        let inode = metadata(&shadow).ino();
        tables().write(&tables(), root.path()).unwrap();
        assert_eq!(metadata(&shadow).ino(), inode);
    }
}
