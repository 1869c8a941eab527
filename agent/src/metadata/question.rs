//! What a request asks for: the version, the path in it, and whether to wait for another value. Pure.

use std::time::Duration;

use super::format::unescape;
use super::objects::Version;

/// The versions, as the list of them has them.
const VERSIONS: [(&str, Version); 4] = [
    ("2015-07-25", Version::Names),
    ("2015-12-19", Version::Objects),
    ("2016-07-29", Version::Lower),
    ("latest", Version::Lower),
];
/// How long a request waits unless it says so, and at most.
const WAIT: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(120));

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Which versions there are.
    Versions,
    /// What a path leads to.
    Path {
        /// In this version.
        version: Version,
        /// Its keys.
        keys: Vec<String>,
        /// Until the value is another one.
        wait: Option<Wait>,
    },
}

/// Waiting for another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The value that is known.
    pub value: String,
    /// At most so long.
    pub longest: Duration,
}

/// Why nothing can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bad {
    /// There is no such version.
    Version,
    /// Something in the path or the query is not escaped as it should be.
    Escape(String),
}

impl Question {
    /// Of a path and a query, as they stand in the request line.
    ///
    /// # Errors
    /// When it cannot be understood.
    pub fn parse(path: &str, query: &str) -> Result<Self, Bad> {
        // Slashes too many mean nothing.
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let Some(first) = parts.next() else {
            return Ok(Self::Versions);
        };
        let known = VERSIONS.iter().find(|(name, _)| *name == first);
        let (_, version) = *known.ok_or(Bad::Version)?;
        let keys: Result<Vec<String>, String> = parts.map(unescape).collect();
        Ok(Self::Path {
            version,
            keys: keys.map_err(Bad::Escape)?,
            wait: wait(query).map_err(Bad::Escape)?,
        })
    }
}

/// The names of the versions.
pub fn versions() -> impl Iterator<Item = &'static str> {
    VERSIONS.iter().map(|(name, _)| *name)
}

/// Who does not say what it knows is answered at once.
fn wait(query: &str) -> Result<Option<Wait>, String> {
    let (mut is_wanted, mut value, mut longest) = (false, None, WAIT.0);
    for pair in query.split('&') {
        let (key, given) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "wait" => is_wanted = given == "true",
            "value" => value = Some(unescape(given)?),
            // As in the ancestor, no number and 0 mean the usual time.
            "maxWait" => match given.parse().unwrap_or(0) {
                0 => longest = WAIT.0,
                seconds => longest = Duration::from_secs(seconds).min(WAIT.1),
            },
            _ => {}
        }
    }
    Ok(value
        .filter(|_| is_wanted)
        .map(|value| Wait { value, longest }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str, query: &str) -> (Version, Vec<String>, Option<Wait>) {
        match Question::parse(path, query) {
            Ok(Question::Path {
                version,
                keys,
                wait,
            }) => (version, keys, wait),
            other => panic!("{path}?{query}: {other:?}"),
        }
    }

    #[test]
    fn paths() {
        assert_eq!(Question::parse("/", ""), Ok(Question::Versions));
        assert_eq!(Question::parse("//", "wait=true"), Ok(Question::Versions));
        assert_eq!(path("/latest", "").0, Version::Lower);
        assert_eq!(path("/2015-07-25/", ""), (Version::Names, vec![], None));
        let keys = ["self", "a/b c"].map(str::to_owned).to_vec();
        assert_eq!(path("/latest//self/a%2Fb+c/", "").1, keys);
        assert_eq!(Question::parse("/2017-01-01/x", ""), Err(Bad::Version));
        assert_eq!(Question::parse("/favicon.ico", ""), Err(Bad::Version));
        assert_eq!(
            Question::parse("/latest/%zz", ""),
            Err(Bad::Escape("%zz".into()))
        );
    }

    #[test]
    fn waits() {
        let seconds = |query| {
            path("/latest/version", query)
                .2
                .map(|wait| wait.longest.as_secs())
        };
        assert_eq!(seconds("wait=true&value=7"), Some(60));
        assert_eq!(seconds("wait=true&value=7&maxWait=5"), Some(5));
        assert_eq!(seconds("value=&maxWait=99999999999&wait=true"), Some(120));
        assert_eq!(seconds("wait=true&value=7&maxWait=-1"), Some(60));
        assert_eq!(seconds("wait=true&value=7&maxWait=0"), Some(60));
        assert_eq!(seconds("wait=true"), None);
        assert_eq!(seconds("wait=1&value=7"), None);
        assert_eq!(seconds("&&=&wait"), None);
        let value = path("/latest/x", "wait=true&value=a+b%2Fc")
            .2
            .map(|wait| wait.value);
        assert_eq!(value.as_deref(), Some("a b/c"));
        assert_eq!(
            Question::parse("/latest", "value=%"),
            Err(Bad::Escape("%".into()))
        );
    }
}
