//! WireGuard's keys of this host: made here, kept in the agent's folder, turned every 30 days. The secret ones never leave it.
//!
//! A new key is used only when the catalog shows that the others have been told it; until then both lie on the disk, so that a crash at any moment
//! loses neither.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rand::TryRng;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};

use super::desired::Key;
use crate::disk;

/// The file, below the agent's folder.
const FILE: &str = "wireguard.key";
/// How long a key is used.
const TURN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("WireGuard's key cannot be kept")]
    Disk(#[from] disk::Error),
    /// The kernel gives no random numbers.
    #[error("no random numbers for WireGuard's key")]
    Random,
}

/// A key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pair {
    /// Secret part, base64.
    secret: String,
    /// When it was made, seconds since 1970.
    made: u64,
}

/// What the file holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    current: Pair,
    /// Told to the others, not used yet.
    #[serde(default)]
    next: Option<Pair>,
}

/// The keys of this host.
pub struct Keys {
    path: PathBuf,
    stored: Stored,
}

/// What is to be done with the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Stay,
    /// The key is old: make the next one.
    Make,
    /// The others have been told the next one: use it.
    Switch,
}

impl Pair {
    fn new() -> Result<Self, Error> {
        let mut secret = [0; 32];
        SysRng
            .try_fill_bytes(&mut secret)
            .map_err(|_| Error::Random)?;
        Ok(Self {
            secret: BASE64_STANDARD.encode(secret),
            made: now(),
        })
    }

    fn secret(&self) -> Key {
        // Checked when it was read.
        super::desired::key(&self.secret).unwrap_or_default()
    }

    fn public(&self) -> Key {
        x25519(self.secret(), X25519_BASEPOINT_BYTES)
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl Keys {
    /// Those of the folder; made when there are none, or when what there is is damaged: the others are told the new one.
    ///
    /// # Errors
    /// When they cannot be read or kept.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let is_whole = |stored: &Stored| {
            let pairs = [Some(&stored.current), stored.next.as_ref()];
            pairs
                .into_iter()
                .flatten()
                .all(|pair| super::desired::key(&pair.secret).is_some())
        };
        let found = match disk::read::<Stored>(&path) {
            Ok(found) => found.filter(is_whole),
            Err(disk::Error::Damaged(..)) => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(stored) = found {
            return Ok(Self { path, stored });
        }
        let current = Pair::new()?;
        let stored = Stored {
            current,
            next: None,
        };
        disk::write(&path, &stored)?;
        Ok(Self { path, stored })
    }

    /// Forgets the keys of a folder.
    ///
    /// # Errors
    /// When the file stays.
    pub fn forget(folder: &Path) -> Result<(), disk::Error> {
        disk::remove(&folder.join(FILE))
    }

    /// The secret key in use.
    #[must_use]
    pub fn secret(&self) -> Key {
        self.stored.current.secret()
    }

    /// The public key in use.
    #[must_use]
    pub fn public(&self) -> Key {
        self.stored.current.public()
    }

    /// What the others are to be told: the next one as soon as there is one. Base64.
    #[must_use]
    pub fn to_tell(&self) -> String {
        let newest = self.stored.next.as_ref().unwrap_or(&self.stored.current);
        BASE64_STANDARD.encode(newest.public())
    }

    /// What is to be done, when the others have been told `told`.
    #[must_use]
    pub fn due(&self, told: Option<Key>) -> Turn {
        due(&self.stored, told, now())
    }

    /// Does it.
    ///
    /// # Errors
    /// When it cannot be kept; everything stays as it was then.
    pub fn turn(&mut self, turn: Turn) -> Result<(), Error> {
        let mut stored = self.stored.clone();
        match turn {
            Turn::Stay => return Ok(()),
            Turn::Make => stored.next = Some(Pair::new()?),
            Turn::Switch => {
                if let Some(next) = stored.next.take() {
                    stored.current = next;
                }
            }
        }
        disk::write(&self.path, &stored)?;
        self.stored = stored;
        Ok(())
    }
}

fn due(stored: &Stored, told: Option<Key>, now: u64) -> Turn {
    match &stored.next {
        Some(next) if told == Some(next.public()) => Turn::Switch,
        Some(_) => Turn::Stay,
        // A clock that was wrong when it was made tells no age.
        None if now.abs_diff(stored.current.made) > TURN.as_secs() => Turn::Make,
        None => Turn::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(made: u64) -> Stored {
        let pair = Pair {
            secret: BASE64_STANDARD.encode(b"0123456789abcdef0123456789abcdef"),
            made,
        };
        Stored {
            current: pair,
            next: None,
        }
    }

    #[test]
    fn public_keys_are_as_openssl_makes_them() {
        let public = BASE64_STANDARD.encode(stored(0).current.public());
        assert_eq!(public, "hlF7wMOf6Ha3ZGy1407gPa9xzLrWdFDBapcK2MvAPn4=");
    }

    #[test]
    fn a_key_is_turned_when_the_others_know() {
        let day = 24 * 3600;
        let mut old = stored(100 * day);
        assert_eq!(due(&old, None, 129 * day), Turn::Stay);
        assert_eq!(due(&old, None, 131 * day), Turn::Make);
        // Made by a clock that was ahead by years.
        assert_eq!(due(&old, None, day), Turn::Make);
        let next = Pair::new().unwrap();
        let public = next.public();
        old.next = Some(next);
        assert_eq!(due(&old, Some(old.current.public()), 131 * day), Turn::Stay);
        assert_eq!(due(&old, Some(public), 131 * day), Turn::Switch);
    }

    #[test]
    fn keys_outlive_the_agent_at_any_moment() {
        let folder = tempfile::tempdir().unwrap();
        let mut keys = Keys::open(folder.path()).unwrap();
        let first = keys.public();
        assert_eq!(keys.to_tell(), BASE64_STANDARD.encode(first));
        keys.turn(Turn::Make).unwrap();
        let mut keys = Keys::open(folder.path()).unwrap();
        assert_eq!(keys.public(), first);
        let told = keys.to_tell();
        assert_ne!(told, BASE64_STANDARD.encode(first));
        keys.turn(Turn::Switch).unwrap();
        let keys = Keys::open(folder.path()).unwrap();
        assert_eq!(BASE64_STANDARD.encode(keys.public()), told);
        // A damaged file is a new key, not a host without a network.
        std::fs::write(
            folder.path().join(FILE),
            r#"{"current":{"secret":"x","made":0}}"#,
        )
        .unwrap();
        let fresh = Keys::open(folder.path()).unwrap();
        assert_ne!(fresh.public(), keys.public());
        assert_eq!(Keys::open(folder.path()).unwrap().public(), fresh.public());
    }
}
