//! Who may log in, with which keys, and how home and keys are made: as root for the shipped users, who can become root anyway, and with nothing
//! but their own rights for the others, who could otherwise lead root astray with links in their homes.

use std::fs;
use std::io;
use std::os::unix::fs::lchown;
use std::path::Path;
use std::thread;

use os_config::Config;
use os_config::types::Account;
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::below;
use super::plan::is_a_persons;
use crate::console::accounts::{Accounts, User};
use crate::console::authorized_keys;
use crate::files;

/// The users of every machine.
const SHIPPED: [&str; 2] = ["rancher", "docker"];

/// Somebody who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The account.
    pub user: User,
    keys: Vec<String>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Shipped with the system.
    Shipped,
    /// Of the configuration.
    Listed,
    /// The same, whose home is somebody else's business.
    Homeless,
}

/// The shipped users and those of `users` that have an account under `root`.
#[must_use]
pub fn people(root: &Path, config: &Config) -> Vec<Person> {
    let accounts = Accounts::read(root);
    let keys_of = |entry: Option<&Account>| {
        entry.map_or_else(Vec::new, |entry| entry.ssh_authorized_keys.clone())
    };
    let shipped = SHIPPED.iter().filter_map(|name| {
        let own = config.users.iter().find(|entry| entry.name == **name);
        let mut keys = config.ssh_authorized_keys.clone();
        keys.extend(keys_of(own));
        Some(Person {
            user: accounts.user(name)?,
            keys,
            kind: Kind::Shipped,
        })
    });
    let others = config
        .users
        .iter()
        .filter(|entry| !SHIPPED.contains(&entry.name.as_str()));
    let listed = others.filter_map(|entry| {
        Some(Person {
            user: accounts.user(&entry.name)?,
            keys: keys_of(Some(entry)),
            kind: if entry.no_create_home {
                Kind::Homeless
            } else {
                Kind::Listed
            },
        })
    });
    shipped
        .chain(listed.filter(|person| is_a_persons(person.user.uid)))
        .collect()
}

impl Person {
    /// Makes the home directory if it is not there; one that is there stays as it is.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_home(&self, root: &Path) -> io::Result<()> {
        let home = below(root, &self.user.home);
        if home.exists() || self.kind == Kind::Homeless {
            return Ok(());
        }
        files::make_directory(home.parent().unwrap_or(root), 0o755)?;
        let mode = if self.kind == Kind::Shipped {
            0o755
        } else {
            0o700
        };
        files::make_directory(&home, mode)?;
        lchown(&home, Some(self.user.uid), Some(self.user.gid))
    }

    /// Writes the keys into the home directory.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_keys(&self, root: &Path) -> io::Result<()> {
        match self.kind {
            Kind::Shipped => authorized_keys::apply(root, &self.user, &self.keys),
            Kind::Homeless if !below(root, &self.user.home).exists() && self.keys.is_empty() => {
                Ok(())
            }
            _ => self.as_themselves(|| {
                expect_own(&below(root, &self.user.home), &self.user)?;
                authorized_keys::apply(root, &self.user, &self.keys)
            }),
        }
    }

    /// Runs `work` in a thread with the user's rights and no others. The kernel keeps rights by thread (credentials(7), NPTL's part of it).
    fn as_themselves(&self, work: impl FnOnce() -> io::Result<()> + Send) -> io::Result<()> {
        let user = &self.user;
        thread::scope(|scope| {
            let running =
                thread::Builder::new()
                    .name("as-user".into())
                    .spawn_scoped(scope, move || {
                        become_user(user)?;
                        work()
                    })?;
            running
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread ended early")))
        })
    }
}

/// Nothing to give up for who is that user already.
fn become_user(user: &User) -> io::Result<()> {
    let (uid, gid) = (
        rustix::process::Uid::from_raw(user.uid),
        rustix::process::Gid::from_raw(user.gid),
    );
    if rustix::process::geteuid() == uid {
        return Ok(());
    }
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

/// sshd takes no keys from a home that is another user's, without a word to him: so it is said here.
fn expect_own(home: &Path, user: &User) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(home)?.uid();
    if owner == user.uid {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{} belongs to user id {owner}, not to {} ({}); `sudo chown -R {}: {}` gives it back",
        home.display(),
        user.name,
        user.uid,
        user.name,
        home.display(),
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    const KEY: &str = "ssh-ed25519 AAAA";

    fn person(uid: u32, kind: Kind) -> Person {
        Person {
            user: User {
                name: "web".into(),
                uid,
                gid: uid,
                home: "/home/web".into(),
            },
            keys: vec![KEY.into()],
            kind,
        }
    }

    /// A root that everybody may enter.
    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(root.path(), open).unwrap();
        root
    }

    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[test]
    fn home_and_keys_are_the_users_own() {
        let root = root();
        let uid = if is_root() {
            2345
        } else {
            rustix::process::geteuid().as_raw()
        };
        let web = person(uid, Kind::Listed);
        for _ in 0..2 {
            web.make_home(root.path()).unwrap();
            web.write_keys(root.path()).unwrap();
        }
        let home = root.path().join("home/web");
        let seen = |path: &Path| {
            let metadata = fs::metadata(path).unwrap();
            (metadata.uid(), metadata.mode() & 0o7777)
        };
        assert_eq!(seen(&home), (uid, 0o700));
        assert_eq!(seen(&home.join(".ssh")), (uid, 0o700));
        let file = home.join(".ssh/authorized_keys");
        assert_eq!(seen(&file), (uid, 0o600));
        let text = fs::read_to_string(file).unwrap();
        assert_eq!(text.matches(KEY).count(), 1, "{text}");
        assert_eq!(rustix::process::geteuid().is_root(), is_root());
    }

    #[test]
    fn a_link_leads_root_nowhere() {
        if !is_root() {
            // Without root there is nobody to lead astray.
            return;
        }
        let root = root();
        let web = person(2345, Kind::Listed);
        web.make_home(root.path()).unwrap();
        let secret = root.path().join("shadow");
        fs::write(&secret, "root:*:1\n").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let folder = root.path().join("home/web/.ssh");
        fs::create_dir(&folder).unwrap();
        chown(&folder, Some(2345), Some(2345)).unwrap();
        symlink(&secret, folder.join("authorized_keys")).unwrap();
        let error = web.write_keys(root.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(fs::read_to_string(&secret).unwrap(), "root:*:1\n");
        assert_eq!(fs::metadata(&secret).unwrap().uid(), 0);
    }

    #[test]
    fn a_home_of_somebody_else_is_told() {
        if !is_root() {
            return;
        }
        let root = root();
        fs::create_dir_all(root.path().join("home/web")).unwrap();
        let error = person(2345, Kind::Listed)
            .write_keys(root.path())
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("belongs to user id 0, not to web"),
            "{error}"
        );
    }

    #[test]
    fn no_home_is_made_for_who_wants_none() {
        let root = root();
        let mut web = person(2345, Kind::Homeless);
        web.keys.clear();
        web.make_home(root.path()).unwrap();
        web.write_keys(root.path()).unwrap();
        assert!(!root.path().join("home").exists());
    }
}
