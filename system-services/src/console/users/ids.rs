//! The ids that were given to users and groups of the configuration, kept in `/var/lib/rancher/accounts.json`, so that a name has the same id
//! at each boot whatever else is added or removed. An id is never given to another name: files of a user who is gone stay his.
//!
//! Pure but for [`Ids::read`] and [`Ids::write`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files::{make_directory, write_atomically};

/// Where they are kept, below the root.
pub const FILE: &str = "var/lib/rancher/accounts.json";
/// Given by us. Below, from 1000, is room for ids that the configuration names.
const GIVEN: std::ops::Range<u32> = 2000..60_000;
/// Ids of the shipped accounts, and those that mean nobody.
const RESERVED: [u32; 4] = [1100, 1101, 65_534, 65_535];
/// Ids below are the system's.
const FIRST: u32 = 1000;

/// Which name has which id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ids {
    /// Users, also those who are gone. Each one's own group has the same id.
    pub users: BTreeMap<String, u32>,
    /// Groups that were made because somebody is to be a member.
    pub groups: BTreeMap<String, u32>,
}

impl Ids {
    /// Reads them; none when there is no file. What cannot be an id of an account is left out.
    ///
    /// # Errors
    /// When the file cannot be read or is not what was written.
    pub fn read(root: &Path) -> io::Result<Self> {
        let text = match fs::read(root.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other?,
        };
        let mut ids: Self = serde_json::from_slice(&text)?;
        let is_ours = |id: u32| id >= FIRST && !RESERVED.contains(&id);
        ids.users.retain(|_, id| is_ours(*id));
        ids.groups.retain(|_, id| is_ours(*id));
        Ok(ids)
    }

    /// Writes them for root alone, if they differ from `old`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, old: &Self, root: &Path) -> io::Result<()> {
        if self == old {
            return Ok(());
        }
        let path = root.join(FILE);
        make_directory(path.parent().unwrap_or(root), 0o755)?;
        let text = serde_json::to_string_pretty(self)? + "\n";
        write_atomically(&path, text.as_bytes(), 0o600)
    }

    /// Gives `name` the id that the configuration asks for. An id of somebody who is gone may be taken over.
    ///
    /// # Errors
    /// Whose it is: a group's, or that of a user in `present`.
    pub fn ask(&mut self, name: &str, id: u32, present: &BTreeSet<&str>) -> Result<(), String> {
        let of = |map: &BTreeMap<String, u32>| -> Vec<String> {
            let same = map.iter().filter(|(_, known)| **known == id);
            same.map(|(name, _)| name.clone()).collect()
        };
        if let Some(group) = of(&self.groups).into_iter().find(|group| group != name) {
            return Err(format!("group {group}"));
        }
        let others = of(&self.users).into_iter().filter(|user| user != name);
        let (here, gone): (Vec<String>, Vec<String>) =
            others.partition(|user| present.contains(user.as_str()));
        if let Some(user) = here.first() {
            return Err(format!("user {user}"));
        }
        for user in gone {
            self.users.remove(&user);
        }
        self.users.insert(name.to_owned(), id);
        Ok(())
    }

    /// Gives `name`, if it has none, the id of the owner of its home. `taken` are ids of others in the system.
    pub fn recognise(&mut self, name: &str, owner: u32, taken: &BTreeSet<u32>) {
        let fits = owner >= FIRST && !RESERVED.contains(&owner) && !taken.contains(&owner);
        if fits && !self.users.contains_key(name) && !self.given().contains(&owner) {
            self.users.insert(name.to_owned(), owner);
        }
    }

    /// The id of user `name`: the one it has, else the next. `None`: there is none left.
    pub fn user(&mut self, name: &str, taken: &BTreeSet<u32>) -> Option<u32> {
        if let Some(id) = self.users.get(name) {
            return Some(*id);
        }
        let id = self.next(taken)?;
        self.users.insert(name.to_owned(), id);
        Some(id)
    }

    /// The id of group `name`, made for its members. `None`: there is none left.
    pub fn group(&mut self, name: &str, taken: &BTreeSet<u32>) -> Option<u32> {
        if let Some(id) = self.groups.get(name) {
            return Some(*id);
        }
        let id = self.next(taken)?;
        self.groups.insert(name.to_owned(), id);
        Some(id)
    }

    fn given(&self) -> BTreeSet<u32> {
        let all = self.users.values().chain(self.groups.values());
        all.copied().collect()
    }

    fn next(&self, taken: &BTreeSet<u32>) -> Option<u32> {
        let given = self.given();
        let mut ids = GIVEN;
        ids.find(|id| !taken.contains(id) && !given.contains(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: BTreeSet<u32> = BTreeSet::new();

    #[test]
    fn an_id_stays_with_its_name_for_good() {
        let mut ids = Ids::default();
        assert_eq!(ids.user("web", &NOBODY), Some(2000));
        assert_eq!(ids.user("db", &NOBODY), Some(2001));
        assert_eq!(ids.group("staff", &NOBODY), Some(2002));
        // `web` is gone at a later boot; nobody gets its id.
        assert_eq!(ids.user("ops", &[2003].into()), Some(2004));
        ids.recognise("db", 7000, &NOBODY);
        assert_eq!(ids.user("db", &NOBODY), Some(2001));
        assert_eq!(ids.user("web", &NOBODY), Some(2000));
        assert_eq!(ids.group("staff", &NOBODY), Some(2002));
    }

    #[test]
    fn an_id_that_is_asked_for_is_given_unless_somebody_has_it() {
        let mut ids = Ids::default();
        ids.user("web", &NOBODY);
        ids.group("staff", &NOBODY);
        let present = ["web", "db"].into();
        assert_eq!(ids.ask("db", 2000, &present), Err("user web".into()));
        assert_eq!(ids.ask("db", 2001, &present), Err("group staff".into()));
        assert_eq!(ids.ask("db", 1500, &present), Ok(()));
        assert_eq!(ids.user("db", &NOBODY), Some(1500));
        // Renamed: `web` is no longer listed.
        let present = ["shop"].into();
        assert_eq!(ids.ask("shop", 2000, &present), Ok(()));
        assert_eq!(ids.user("web", &NOBODY), Some(2002));
    }

    #[test]
    fn without_the_file_a_home_tells_whose_it_is() {
        let mut ids = Ids::default();
        ids.recognise("web", 2007, &NOBODY);
        assert_eq!(ids.user("web", &NOBODY), Some(2007));
        for bad in [0, 999, 1100, 65_534, 2007] {
            let mut ids = ids.clone();
            ids.recognise("db", bad, &NOBODY);
            assert_eq!(ids.user("db", &NOBODY), Some(2000), "{bad}");
        }
        ids.recognise("db", 3000, &[3000].into());
        assert_eq!(ids.user("db", &NOBODY), Some(2000));
    }

    #[test]
    fn thousands_are_given_at_once() {
        let mut ids = Ids::default();
        for number in 0..2000 {
            let id = ids.user(&format!("u{number}"), &NOBODY);
            assert_eq!(id, Some(2000 + number));
        }
    }

    #[test]
    fn the_file_is_private_and_no_id_of_the_system_is_read_from_it() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Ids::read(root.path()).unwrap(), Ids::default());
        let mut ids = Ids::default();
        ids.user("web", &NOBODY);
        ids.write(&Ids::default(), root.path()).unwrap();
        assert_eq!(Ids::read(root.path()).unwrap(), ids);
        let path = root.path().join(FILE);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        fs::write(&path, r#"{"users": {"web": 0, "db": 1100, "ops": 2005}}"#).unwrap();
        let read = Ids::read(root.path()).unwrap();
        assert_eq!(read.users, [("ops".to_owned(), 2005)].into());
        fs::write(&path, "{").unwrap();
        assert_eq!(
            Ids::read(root.path()).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
