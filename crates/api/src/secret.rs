//! Secrets that people and hosts carry, and their text: API keys and join tokens. How they are made and checked is the server's business.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::id::Id;

/// First word of an API key.
const KEY: &str = "roskey";
/// First word of a join token.
const TOKEN: &str = "rosjoin";

/// 128 bits, and never on a screen by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 16]);

impl Secret {
    /// Of these bits, which are random.
    #[must_use]
    pub fn new(bits: [u8; 16]) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub fn bits(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    /// Not of the form of an API key.
    #[error("this is not an API key: one begins with `roskey.`")]
    Key,
    /// Not of the form of a join token.
    #[error("this is not a join token: one begins with `rosjoin.`; was it cut off?")]
    Token,
}

/// `roskey.<id>.<secret>`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key's id.
    pub id: Id,
    /// What proves it.
    pub secret: Secret,
}

impl Key {
    /// As its owner keeps it.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!(
            "{KEY}.{}.{}",
            self.id,
            URL_SAFE_NO_PAD.encode(self.secret.0)
        )
    }
}

impl FromStr for Key {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        let read = || {
            let mut parts = text.trim().split('.');
            let key = (parts.next()? == KEY).then_some(Self {
                id: parts.next()?.parse().ok()?,
                secret: Secret(bytes(parts.next()?)?),
            })?;
            parts.next().is_none().then_some(key)
        };
        read().ok_or(BadSecret::Key)
    }
}

/// `rosjoin.<id>.<secret>.<hash of the CA>`: with the hash the first contact is authenticated in both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The token's id.
    pub id: Id,
    /// What proves it.
    pub secret: Secret,
    /// SHA-256 of the CA's certificate, DER.
    pub ca: [u8; 32],
}

impl JoinToken {
    /// As it is handed to a host.
    #[must_use]
    pub fn reveal(&self) -> String {
        let secret = URL_SAFE_NO_PAD.encode(self.secret.0);
        let ca = URL_SAFE_NO_PAD.encode(self.ca);
        format!("{TOKEN}.{}.{secret}.{ca}", self.id)
    }
}

impl FromStr for JoinToken {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        let read = || {
            let mut parts = text.trim().split('.');
            let token = (parts.next()? == TOKEN).then_some(Self {
                id: parts.next()?.parse().ok()?,
                secret: Secret(bytes(parts.next()?)?),
                ca: bytes(parts.next()?)?,
            })?;
            parts.next().is_none().then_some(token)
        };
        read().ok_or(BadSecret::Token)
    }
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_back_and_are_not_shown() {
        let secret = Secret::new([9; 16]);
        let key = Key {
            id: Id::from_bits("k", 5),
            secret: secret.clone(),
        };
        assert_eq!(key.reveal().parse(), Ok(key.clone()));
        assert!(!format!("{key:?}").contains(&URL_SAFE_NO_PAD.encode(secret.0)));
        let token = JoinToken {
            id: Id::from_bits("t", 5),
            secret: secret.clone(),
            ca: [7; 32],
        };
        assert_eq!(token.reveal().parse(), Ok(token.clone()));
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let token = JoinToken {
            id: Id::from_bits("t", 5),
            secret: Secret::new([9; 16]),
            ca: [7; 32],
        };
        let text = token.reveal();
        for end in 0..text.len() {
            assert_eq!(text[..end].parse::<JoinToken>(), Err(BadSecret::Token));
        }
        assert_eq!(
            format!("{text}.x").parse::<JoinToken>(),
            Err(BadSecret::Token)
        );
        assert_eq!(text.parse::<Key>(), Err(BadSecret::Key));
    }
}
