//! Accounts of the machine beside the shipped ones, and its time servers: the keys that cloud-init has at the top level too.
//! Owns names, types and defaults only.

use super::Secret;
use serde::{Deserialize, Serialize};

/// One entry of `users`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// Comment field of `/etc/passwd`.
    pub gecos: String,
    /// Groups beside the own one; those that do not exist are made.
    pub groups: Vec<String>,
    /// Public keys, one authorized_keys line each.
    pub ssh_authorized_keys: Vec<String>,
    /// Password hash, crypt(5).
    pub passwd: Secret,
    /// The same under cloud-init's other name.
    pub hashed_passwd: Secret,
    /// No password is accepted, whatever `passwd` says.
    pub lock_passwd: bool,
    /// Rules of sudoers(5) without the user's name.
    pub sudo: Vec<String>,
    /// Login shell; `None`: bash.
    pub shell: Option<String>,
    /// User id; `None`: one that stays the same from boot to boot.
    pub uid: Option<u32>,
    /// Home directory; `None`: below `/home`.
    pub homedir: Option<String>,
    /// The home directory is not made.
    pub no_create_home: bool,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            name: String::new(),
            gecos: String::new(),
            groups: Vec::new(),
            ssh_authorized_keys: Vec::new(),
            passwd: Secret::default(),
            hashed_passwd: Secret::default(),
            lock_passwd: true,
            sudo: Vec::new(),
            shell: None,
            uid: None,
            homedir: None,
            no_create_home: false,
        }
    }
}

impl Account {
    /// The password hash that counts; `None`: no password is accepted.
    #[must_use]
    pub fn hash(&self) -> Option<&str> {
        let given = [&self.passwd, &self.hashed_passwd];
        let hash = given.into_iter().find(|secret| !secret.is_empty())?;
        let hash = hash.reveal();
        (!self.lock_passwd && hash.starts_with('$')).then_some(hash)
    }
}

/// `ntp`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ntp {
    /// Keep the clock by the network.
    pub enabled: bool,
    /// Names or addresses of servers.
    pub servers: Vec<String>,
    /// Names that stand for several servers each.
    pub pools: Vec<String>,
}

impl Default for Ntp {
    fn default() -> Self {
        Self {
            enabled: true,
            servers: Vec::new(),
            pools: Vec::new(),
        }
    }
}
