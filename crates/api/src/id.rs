//! Identity of an object: `<kind letter(s)>-<12 of [a-z2-7]>`, given by the server once and never used again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Letters of RFC 4648 base 32, in lower case: 5 bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// 60 bits: a collision among a million objects has a chance of one in two million.
const LENGTH: usize = 12;

/// Identity of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "h-k3v6xq2mzd7a")]
pub struct Id(String);

/// Not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id, such as h-k3v6xq2mzd7a")]
pub struct BadId(String);

impl Id {
    /// From a kind's prefix and random bits, of which 60 are used.
    #[must_use]
    pub fn from_bits(prefix: &str, bits: u64) -> Self {
        let letters = (0..LENGTH).map(|place| {
            let five = usize::try_from((bits >> (5 * place)) & 31).unwrap_or(0);
            char::from(ALPHABET[five])
        });
        Self(format!("{prefix}-{}", letters.collect::<String>()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Id {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = || BadId(text.chars().take(40).collect());
        let (prefix, rest) = text.split_once('-').ok_or_else(bad)?;
        let is_prefix = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_lowercase());
        let is_rest = rest.len() == LENGTH && rest.bytes().all(|b| ALPHABET.contains(&b));
        if is_prefix && is_rest {
            Ok(Self(text.to_owned()))
        } else {
            Err(bad())
        }
    }
}

impl TryFrom<String> for Id {
    type Error = BadId;

    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_form() {
        let id = Id::from_bits("h", u64::MAX);
        assert_eq!(id.as_str(), "h-777777777777");
        assert_eq!(id.as_str().parse(), Ok(id));
        for text in [
            "",
            "h",
            "h-",
            "-aaaaaaaaaaaa",
            "h-aaaaaaaaaaa",
            "h-aaaaaaaaaaaA",
            "H-aaaaaaaaaaaa",
            "h-aaaaaaaaaaaa/..",
        ] {
            assert_eq!(text.parse::<Id>(), Err(BadId(text.to_owned())), "{text}");
        }
    }
}
