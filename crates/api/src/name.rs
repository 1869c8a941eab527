//! Names that people give: labels of RFC 1123, because every one of them may become a part of a DNS name.

use std::net::Ipv4Addr;

/// Longest label (RFC 1035, 2.3.4).
const LONGEST: usize = 63;

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing in it.
    #[error("a name cannot be empty")]
    Empty,
    /// More than 63 characters.
    #[error("a name has at most 63 characters")]
    Long,
    /// A character that is not allowed, or a dash at an end.
    #[error(
        "a name is made of letters a-z, digits and `-`, and begins and ends with a letter or digit"
    )]
    Characters,
    /// It would be taken for an address.
    #[error("a name cannot be an address")]
    Address,
}

/// Checks a name.
///
/// # Errors
/// What is wrong with it.
pub fn check(name: &str) -> Result<(), BadName> {
    if name.is_empty() {
        return Err(BadName::Empty);
    }
    if name.len() > LONGEST {
        return Err(BadName::Long);
    }
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !name.bytes().all(inner) || name.starts_with('-') || name.ends_with('-') {
        return Err(BadName::Characters);
    }
    if name.parse::<Ipv4Addr>().is_ok() {
        return Err(BadName::Address);
    }
    Ok(())
}

/// The DNS label of a container's or host's name: lower case, everything else than letters and digits a dash. `None`: nothing is left.
#[must_use]
pub fn label(name: &str) -> Option<String> {
    let mapped: String = name
        .chars()
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => c,
            _ => '-',
        })
        .take(LONGEST)
        .collect();
    let label = mapped.trim_matches('-');
    (!label.is_empty()).then(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        assert_eq!(check("web-1"), Ok(()));
        assert_eq!(check("7"), Ok(()));
        assert_eq!(check(""), Err(BadName::Empty));
        assert_eq!(check(&"a".repeat(64)), Err(BadName::Long));
        for name in ["-a", "a-", "A", "a_b", "a.b", "a b", "ä", "../x"] {
            assert_eq!(check(name), Err(BadName::Characters), "{name}");
        }
    }

    #[test]
    fn what_docker_allows_becomes_a_label() {
        assert_eq!(label("Web_1.old").as_deref(), Some("web-1-old"));
        assert_eq!(label("_"), None);
        assert_eq!(label(&"x".repeat(80)).map(|l| l.len()), Some(63));
    }
}
