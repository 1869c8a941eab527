//! Contexts: the clusters that this user knows, each with its server, CA, key and project, in `~/.config/ros/contexts.yml`. Owns that
//! file and what overrides it.

pub mod commands;
mod file;

use std::fmt;

use client::Trust;
use serde::{Deserialize, Serialize};

use super::args::Common;
use super::error::{Error, Result};
pub use file::Contexts;

/// The project where none is said.
pub const PROJECT: &str = "default";

/// A cluster that is known.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// `https://host:port`.
    pub server: String,
    /// The project that commands are about.
    pub project: String,
    /// The API key.
    pub key: String,
    /// The CA's certificate, PEM.
    pub ca: String,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.server, self.project)
    }
}

/// Which cluster, as whom, in which project.
#[derive(Clone)]
pub struct Resolved {
    /// `https://host:port`.
    pub server: String,
    /// How it is known.
    pub trust: Trust,
    /// The API key.
    pub key: String,
    /// The project.
    pub project: String,
}

/// What the environment says.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    /// Name of a context.
    pub context: Option<String>,
    server: Option<String>,
    key: Option<String>,
    ca: Option<String>,
    project: Option<String>,
}

impl Variables {
    /// Of this process. An empty variable is none.
    pub fn read() -> Self {
        let of = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        Self {
            context: of("ROS_CONTEXT"),
            server: of("ROS_SERVER"),
            key: of("ROS_KEY"),
            ca: of("ROS_CA"),
            project: of("ROS_PROJECT"),
        }
    }
}

/// What the arguments, the environment and the file of contexts say together, the first of them first.
pub fn resolve(common: &Common) -> Result<Resolved> {
    decide(common, Variables::read(), &Contexts::load()?)
}

fn decide(common: &Common, variables: Variables, contexts: &Contexts) -> Result<Resolved> {
    let chosen = common.context.clone().or_else(|| variables.context.clone());
    let known = match chosen.as_ref().or(contexts.current.as_ref()) {
        Some(name) if chosen.is_some() || variables.server.is_none() => Some(contexts.get(name)?),
        Some(name) => contexts.get(name).ok(),
        None => None,
    };
    // A context that is asked for by name counts for more than variables that happen to be set.
    let variables = match common.context {
        Some(_) => Variables {
            project: variables.project,
            ..Variables::default()
        },
        None => variables,
    };
    if known.is_none() && variables.server.is_none() {
        return Err(Error::NoContext);
    }
    let of = |own: fn(&Context) -> &String| known.map(|known| own(known).clone());
    let missing = |name| move || Error::Missing(name);
    let trust = match &variables.ca {
        Some(text) if text.starts_with("sha256:") => Trust::Hash(hash(text)?),
        Some(path) => Trust::Ca(
            std::fs::read_to_string(path).map_err(|error| Error::File(path.clone(), error))?,
        ),
        None => Trust::Ca(of(|known| &known.ca).ok_or_else(missing("ROS_CA"))?),
    };
    let project = common.project.clone().or(variables.project);
    Ok(Resolved {
        server: variables
            .server
            .or_else(|| of(|known| &known.server))
            .ok_or_else(missing("ROS_SERVER"))?,
        trust,
        key: variables
            .key
            .or_else(|| of(|known| &known.key))
            .ok_or_else(missing("ROS_KEY"))?,
        project: project
            .or_else(|| of(|known| &known.project))
            .unwrap_or_else(|| PROJECT.into()),
    })
}

/// `sha256:` and 64 hexadecimal digits, also without the first word.
pub fn hash(text: &str) -> Result<[u8; 32]> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text).as_bytes();
    let mut hash = [0; 32];
    let read = || {
        if digits.len() != 2 * hash.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(hash)
    };
    let mut read = read;
    read().ok_or_else(|| Error::Hash(text.chars().take(80).collect()))
}

/// As people read and paste it.
pub fn hash_text(hash: &[u8]) -> String {
    let digits: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contexts() -> Contexts {
        let context = |name: &str| Context {
            server: format!("https://{name}"),
            project: "default".into(),
            key: format!("key-{name}"),
            ca: format!("ca-{name}"),
        };
        Contexts {
            current: Some("home".into()),
            contexts: ["home", "work"]
                .map(|name| (name.to_owned(), context(name)))
                .into(),
        }
    }

    fn told(common: &Common, variables: Variables, contexts: &Contexts) -> String {
        match decide(common, variables, contexts) {
            Ok(Resolved {
                server,
                trust,
                key,
                project,
            }) => format!("{server} {trust:?} {key} {project}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn arguments_before_variables_before_the_current_context() {
        let (none, all) = (Common::default(), contexts());
        assert_eq!(
            told(&none, Variables::default(), &all),
            "https://home Ca(\"ca-home\") key-home default"
        );
        let variables = Variables {
            context: Some("work".into()),
            key: Some("k".into()),
            project: Some("p".into()),
            ..Variables::default()
        };
        assert_eq!(
            told(&none, variables.clone(), &all),
            "https://work Ca(\"ca-work\") k p"
        );
        let given = Common {
            context: Some("home".into()),
            project: Some("q".into()),
            ..Common::default()
        };
        assert_eq!(
            told(&given, variables, &all),
            "https://home Ca(\"ca-home\") key-home q"
        );
    }

    #[test]
    fn variables_are_enough() {
        let variables = Variables {
            server: Some("https://s".into()),
            key: Some("k".into()),
            ca: Some(hash_text(&[7; 32])),
            ..Variables::default()
        };
        let none = Contexts::default();
        let told = |variables| told(&Common::default(), variables, &none);
        assert!(told(variables.clone()).starts_with("https://s Hash([7, 7"));
        assert_eq!(
            told(Variables {
                key: None,
                ..variables
            }),
            "ROS_KEY is not set, and no context says it: set it, or use a context"
        );
        assert_eq!(told(Variables::default()), Error::NoContext.to_string());
    }

    #[test]
    fn a_context_that_is_not_there_is_named() {
        let given = Common {
            context: Some("wrok".into()),
            ..Common::default()
        };
        assert_eq!(
            told(&given, Variables::default(), &contexts()),
            "there is no context `wrok`; there are: home, work"
        );
    }

    #[test]
    fn hashes_have_one_form() {
        let text = hash_text(&[0xab; 32]);
        assert_eq!(hash(&text).unwrap(), [0xab; 32]);
        assert_eq!(hash(&text[7..].to_uppercase()).unwrap(), [0xab; 32]);
        for wrong in ["", "sha256:", &text[..70], &format!("{text}0"), "sha256:zz"] {
            assert!(hash(wrong).is_err(), "{wrong}");
        }
    }
}
