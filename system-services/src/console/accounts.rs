//! User names and ids from `/etc/passwd` and `/etc/group`, and the password line of `/etc/shadow`.
//!
//! Reads the files itself: a static program has no NSS. Users are made by `users`.

use std::io;
use std::path::Path;

use sha_crypt::{ROUNDS_DEFAULT, Sha512Params, sha512_simple};

use crate::files::write_atomically;

/// A user of `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Group id of the primary group.
    pub gid: u32,
    /// Home directory.
    pub home: String,
}

/// Why an owner or a password cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such user or group.
    #[error("no {kind} named `{name}`; use a name of /etc/{file} or a number", file = if *kind == "user" { "passwd" } else { "group" })]
    Unknown {
        /// `user` or `group`.
        kind: &'static str,
        /// The name given.
        name: String,
    },
    /// The password could not be hashed.
    #[error("the password cannot be hashed")]
    Hash,
    /// `/etc/shadow` cannot be changed.
    #[error("cannot change /etc/shadow")]
    Shadow(#[source] io::Error),
}

/// The user accounts and groups of a file system tree.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    /// Reads `/etc/passwd` and `/etc/group` under `root`; what cannot be read is empty.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let text = |file: &str| std::fs::read_to_string(root.join(file)).unwrap_or_default();
        Self {
            passwd: text("etc/passwd"),
            group: text("etc/group"),
        }
    }

    /// The user called `name`.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<User> {
        let line = line_of(&self.passwd, name)?;
        let fields: Vec<&str> = line.split(':').collect();
        Some(User {
            name: name.to_owned(),
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
            home: (*fields.get(5)?).to_owned(),
        })
    }

    /// User and group ids of an owner as chown(1) writes it: `user`, `user:group`, `:group`, names or numbers. `user:` is the user's own group.
    ///
    /// # Errors
    /// [`Error::Unknown`].
    pub fn owner(&self, text: &str) -> Result<(Option<u32>, Option<u32>), Error> {
        let (user, group) = match text.split_once([':', '.']) {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let uid = if user.is_empty() {
            None
        } else {
            Some(self.uid(user)?)
        };
        let gid = match group {
            None => None,
            Some("") => self.user(user).map(|user| user.gid),
            Some(group) => Some(self.gid(group)?),
        };
        Ok((uid, gid))
    }

    fn uid(&self, name: &str) -> Result<u32, Error> {
        name.parse()
            .ok()
            .or_else(|| self.user(name).map(|user| user.uid))
            .ok_or_else(|| Error::Unknown {
                kind: "user",
                name: name.to_owned(),
            })
    }

    fn gid(&self, name: &str) -> Result<u32, Error> {
        let by_name = || line_of(&self.group, name)?.split(':').nth(2)?.parse().ok();
        name.parse()
            .ok()
            .or_else(by_name)
            .ok_or_else(|| Error::Unknown {
                kind: "group",
                name: name.to_owned(),
            })
    }
}

fn line_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find(|line| line.split(':').next() == Some(name) && !name.is_empty())
}

/// What a user may log in with at a password prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Password<'a> {
    /// No password is accepted.
    None,
    /// This one, in plain text, or already hashed (crypt(5): it begins with `$`).
    Is(&'a str),
    /// The one with this hash.
    Hash(&'a str),
}

/// Writes the password of `user` to `/etc/shadow` under `root`, mode 0640.
///
/// # Errors
/// When it cannot be hashed or written.
pub fn set_password(root: &Path, user: &str, password: Password<'_>) -> Result<(), Error> {
    let hash = match password {
        Password::None => "*".to_owned(),
        Password::Hash(hash) => hash.to_owned(),
        Password::Is(text) if looks_hashed(text) => text.to_owned(),
        Password::Is(text) => hash(text)?,
    };
    let path = root.join("etc/shadow");
    let old = std::fs::read_to_string(&path).map_err(Error::Shadow)?;
    let new = with_hash(&old, user, &hash);
    if new == old {
        return Ok(());
    }
    write_atomically(&path, new.as_bytes(), 0o640).map_err(Error::Shadow)
}

fn looks_hashed(text: &str) -> bool {
    ["$6$", "$5$", "$y$", "$2b$"]
        .iter()
        .any(|method| text.starts_with(method))
        && !text.contains(':')
}

fn hash(password: &str) -> Result<String, Error> {
    let parameters = Sha512Params::new(ROUNDS_DEFAULT).map_err(|_| Error::Hash)?;
    sha512_simple(password, &parameters).map_err(|_| Error::Hash)
}

fn with_hash(shadow: &str, user: &str, hash: &str) -> String {
    let mut text = String::new();
    for line in shadow.lines() {
        let mut fields: Vec<&str> = line.split(':').collect();
        if fields.first() == Some(&user) && fields.len() > 1 {
            fields[1] = hash;
        }
        text.push_str(&fields.join(":"));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd:
                "root:x:0:0:root:/root:/bin/bash\nrancher:x:1100:1100::/home/rancher:/bin/bash\n"
                    .into(),
            group: "root:x:0:\ndocker:x:1101:rancher\n".into(),
        }
    }

    #[test]
    fn owners_are_names_or_numbers() {
        let accounts = accounts();
        assert_eq!(accounts.owner("rancher").unwrap(), (Some(1100), None));
        assert_eq!(
            accounts.owner("rancher:docker").unwrap(),
            (Some(1100), Some(1101))
        );
        assert_eq!(
            accounts.owner("rancher:").unwrap(),
            (Some(1100), Some(1100))
        );
        assert_eq!(accounts.owner(":docker").unwrap(), (None, Some(1101)));
        assert_eq!(accounts.owner("7:8").unwrap(), (Some(7), Some(8)));
    }

    #[test]
    fn an_unknown_owner_is_named() {
        let error = accounts().owner("rancher:wheel").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no group named `wheel`; use a name of /etc/group or a number"
        );
    }

    #[test]
    fn a_password_is_hashed_and_taken_away_again() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let shadow = root.path().join("etc/shadow");
        std::fs::write(&shadow, "root:*:1:0:9:7:::\nrancher:*:1:0:9:7:::\n").unwrap();
        set_password(root.path(), "rancher", Password::Is("se:cret")).unwrap();
        let text = std::fs::read_to_string(&shadow).unwrap();
        let hash = text
            .lines()
            .nth(1)
            .unwrap()
            .split(':')
            .nth(1)
            .unwrap()
            .to_owned();
        sha_crypt::sha512_check("se:cret", &hash).unwrap();
        assert_eq!(
            shadow.metadata().unwrap().permissions().mode() & 0o777,
            0o640
        );
        set_password(root.path(), "rancher", Password::None).unwrap();
        assert_eq!(
            std::fs::read_to_string(&shadow).unwrap(),
            "root:*:1:0:9:7:::\nrancher:*:1:0:9:7:::\n"
        );
    }

    #[test]
    fn a_hash_is_kept_as_it_is() {
        assert_eq!(
            with_hash("a:*:1\nb:*:2\n", "b", "$6$x$y"),
            "a:*:1\nb:$6$x$y:2\n"
        );
        assert!(looks_hashed("$6$salt$hash"));
        assert!(!looks_hashed("$ecret"));
    }
}
