//! Variables of service definitions: `${NAME}` in any text, and bare names in `environment`.
//!
//! They come from `rancher.environment` (a key `service/NAME` wins for that service), the kernel's version and the proxies. The
//! process environment is never read.

use std::collections::BTreeMap;

use os_config::types::Config;
use serde_json::Value;

/// What names mean, for every service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables {
    values: BTreeMap<String, String>,
}

impl Variables {
    /// From the configuration and the release of the running kernel (`uname -r`).
    #[must_use]
    pub fn new(config: &Config, kernel_release: &str) -> Self {
        let mut values = BTreeMap::from([("KERNEL_VERSION".to_owned(), kernel_release.to_owned())]);
        let network = &config.rancher.network;
        let proxies = [
            ("http_proxy", &network.http_proxy),
            ("https_proxy", &network.https_proxy),
            ("no_proxy", &network.no_proxy),
        ];
        for (name, value) in proxies {
            if let Some(value) = value {
                values.insert(name.to_owned(), value.clone());
                values.insert(name.to_ascii_uppercase(), value.clone());
            }
        }
        values.extend(
            config
                .rancher
                .environment
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        Self { values }
    }

    /// The value of one name, for one service.
    #[must_use]
    pub fn get(&self, service: &str, name: &str) -> Option<&str> {
        let own = self.values.get(&format!("{service}/{name}"));
        own.or_else(|| self.values.get(name)).map(String::as_str)
    }

    /// What a bare name in `environment` stands for: `NAME=value`, several for `PREFIX*`, nothing when unknown.
    #[must_use]
    pub fn expand_name(&self, service: &str, name: &str) -> Vec<String> {
        let Some(prefix) = name.strip_suffix('*') else {
            return self
                .get(service, name)
                .map(|value| format!("{name}={value}"))
                .into_iter()
                .collect();
        };
        let matching = |prefix: &str, cut: usize| -> Vec<String> {
            let found = self
                .values
                .iter()
                .filter(|(key, _)| key.starts_with(prefix));
            found
                .map(|(key, value)| format!("{}={value}", &key[cut..]))
                .collect()
        };
        let own = matching(&format!("{service}/{prefix}"), service.len() + 1);
        if own.is_empty() {
            matching(prefix, 0)
        } else {
            own
        }
    }

    /// Replaces the variables in every text of a value. Unknown names become empty and are added to `unknown`.
    pub(super) fn substitute(&self, service: &str, value: &mut Value, unknown: &mut Vec<String>) {
        match value {
            Value::String(text) if text.contains('$') => {
                *text = self.substitute_text(service, text, unknown)
            }
            Value::Array(items) => items
                .iter_mut()
                .for_each(|item| self.substitute(service, item, unknown)),
            Value::Object(map) => map
                .values_mut()
                .for_each(|item| self.substitute(service, item, unknown)),
            _ => {}
        }
    }

    /// `$NAME`, `${NAME}`, `${NAME-default}`, `${NAME:-default}`; `$$` is a dollar. What is none of these stays as it is.
    fn substitute_text(&self, service: &str, text: &str, unknown: &mut Vec<String>) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            let (name, default, length) = match Reference::read(after) {
                Reference::Dollar => {
                    out.push('$');
                    rest = &after[1..];
                    continue;
                }
                Reference::None => {
                    out.push('$');
                    rest = after;
                    continue;
                }
                Reference::Name {
                    name,
                    default,
                    length,
                } => (name, default, length),
            };
            match (self.get(service, name), default) {
                (Some(value), Some(default)) if default.even_if_empty && value.is_empty() => {
                    out.push_str(default.text)
                }
                (Some(value), _) => out.push_str(value),
                (None, Some(default)) => out.push_str(default.text),
                (None, None) => unknown.push(name.to_owned()),
            }
            rest = &after[length..];
        }
        out.push_str(rest);
        out
    }
}

/// What follows a dollar sign.
enum Reference<'a> {
    Dollar,
    None,
    Name {
        name: &'a str,
        default: Option<Fallback<'a>>,
        length: usize,
    },
}

#[derive(Clone, Copy)]
struct Fallback<'a> {
    text: &'a str,
    even_if_empty: bool,
}

impl<'a> Reference<'a> {
    fn read(after: &'a str) -> Self {
        if after.starts_with('$') {
            return Self::Dollar;
        }
        let Some(inner) = after.strip_prefix('{') else {
            let length = name_length(after);
            return if length == 0 {
                Self::None
            } else {
                Self::Name {
                    name: &after[..length],
                    default: None,
                    length,
                }
            };
        };
        let Some(end) = inner.find('}') else {
            return Self::None;
        };
        let (name, tail) = inner[..end].split_at(name_length(inner));
        let default = if let Some(text) = tail.strip_prefix(":-") {
            Some(Fallback {
                text,
                even_if_empty: true,
            })
        } else if let Some(text) = tail.strip_prefix('-') {
            Some(Fallback {
                text,
                even_if_empty: false,
            })
        } else if tail.is_empty() {
            None
        } else {
            return Self::None;
        };
        if name.is_empty() {
            Self::None
        } else {
            Self::Name {
                name,
                default,
                length: end + 2,
            }
        }
    }
}

fn name_length(text: &str) -> usize {
    let letters = text
        .bytes()
        .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        .count();
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        0
    } else {
        letters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn variables() -> Variables {
        let pairs = [
            ("VERSION", "v2"),
            ("SUFFIX", ""),
            ("web/VERSION", "v9"),
            ("AWS_KEY", "k"),
            ("AWS_ID", "i"),
        ];
        Variables {
            values: pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    fn replaced(service: &str, text: &str) -> (String, Vec<String>) {
        let mut value = json!([text]);
        let mut unknown = Vec::new();
        variables().substitute(service, &mut value, &mut unknown);
        (value[0].as_str().unwrap().to_owned(), unknown)
    }

    #[test]
    fn names_are_replaced_and_a_service_has_its_own() {
        assert_eq!(
            replaced("ntp", "os:${VERSION}${SUFFIX}-$VERSION.").0,
            "os:v2-v2."
        );
        assert_eq!(replaced("web", "os:${VERSION}").0, "os:v9");
    }

    #[test]
    fn unknown_names_are_empty_and_reported() {
        assert_eq!(
            replaced("ntp", "a${NONE}b"),
            ("ab".to_owned(), vec!["NONE".to_owned()])
        );
        assert_eq!(
            replaced("ntp", "${NONE:-x}${SUFFIX:-y}${SUFFIX-z}"),
            ("xy".to_owned(), vec![])
        );
    }

    #[test]
    fn other_dollars_stay() {
        assert_eq!(
            replaced("ntp", "$$HOME ^a$ $1 ${ ${a b}").0,
            "$HOME ^a$ $1 ${ ${a b}"
        );
    }

    #[test]
    fn bare_names_match_by_prefix() {
        assert_eq!(
            variables().expand_name("x", "AWS_*"),
            ["AWS_ID=i", "AWS_KEY=k"]
        );
        assert_eq!(variables().expand_name("web", "VER*"), ["VERSION=v9"]);
        assert_eq!(variables().expand_name("x", "NONE"), Vec::<String>::new());
    }
}
