//! Names that people give: labels of RFC 1123, because every one of them may become a part of a DNS name. And the labels, keys with values,
//! that they stick to things.

use std::collections::BTreeMap;
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

/// Most labels of an object.
const LABELS: usize = 128;
/// Longest key of a label, bytes.
const KEY: usize = 253;
/// Longest value of a label, bytes.
const VALUE: usize = 4096;

/// What is wrong with labels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLabels {
    /// More than 128.
    #[error("{0} labels: an object has at most {LABELS}")]
    Many(usize),
    /// A key that is empty, too long, or has blanks or control characters.
    #[error("the label `{0}`: a key has 1 to {KEY} characters, none of them a blank, `=` or `,`")]
    Key(String),
    /// A value that is too long or has control characters.
    #[error(
        "the label `{0}`: a value has at most {VALUE} characters, none of them a control character"
    )]
    Value(String),
}

/// Checks labels.
///
/// # Errors
/// What is wrong with one of them.
pub fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), BadLabels> {
    if labels.len() > LABELS {
        return Err(BadLabels::Many(labels.len()));
    }
    // What stands between labels where they are asked for.
    let is_mark = |c: char| c.is_whitespace() || c.is_control() || c == '=' || c == ',';
    for (key, value) in labels {
        let shown = || key.chars().take(80).collect();
        if key.is_empty() || key.len() > KEY || key.contains(is_mark) {
            return Err(BadLabels::Key(shown()));
        }
        if value.len() > VALUE || value.contains(char::is_control) {
            return Err(BadLabels::Value(shown()));
        }
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
    fn labels_have_limits() {
        let of = |key: &str, value: &str| {
            check_labels(&BTreeMap::from([(key.to_owned(), value.to_owned())]))
        };
        assert_eq!(of("io.rancher.role", "db, or \u{e4}"), Ok(()));
        for key in ["", "a b", "a=b", "a,b", "a\n", &"k".repeat(254)] {
            assert!(matches!(of(key, ""), Err(BadLabels::Key(_))), "{key}");
        }
        for value in ["\u{7}", &"v".repeat(4097)] {
            assert!(
                matches!(of("k", value), Err(BadLabels::Value(_))),
                "{value}"
            );
        }
        let many = (0..129).map(|n| (format!("k{n}"), String::new())).collect();
        assert_eq!(check_labels(&many), Err(BadLabels::Many(129)));
    }

    #[test]
    fn what_docker_allows_becomes_a_label() {
        assert_eq!(label("Web_1.old").as_deref(), Some("web-1-old"));
        assert_eq!(label("_"), None);
        assert_eq!(label(&"x".repeat(80)).map(|l| l.len()), Some(63));
    }
}
