//! User-data: what a datasource delivered, recognised by its first bytes.
//! Owns unpacking and recognition; fetching and saving it is cloud-init's.

use crate::emit::to_yaml;
use crate::merge::put;
use crate::node::{Data, Node};
use crate::problem::{Position, Problem, Severity};
use crate::schema::{self, ROOT, child};
use crate::yaml::{self, MAX_BYTES};
use flate2::read::MultiGzDecoder;
use std::borrow::Cow;
use std::io::{self, Read};

/// The name of user-data in findings.
pub const SOURCE: &str = "user-data";
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// User-data by kind, ready to be saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserData {
    /// Nothing but blanks.
    Empty,
    /// Begins with `#!`: for `cloud-config-script`.
    Script(Vec<u8>),
    /// A cloud-config that parses, for `cloud-config.d/boot.yml`.
    CloudConfig {
        /// The text to save (a `#compose` file arrives here turned into `rancher.services`).
        text: String,
        /// Findings of the schema and notices (missing first line, CRLF).
        problems: Vec<Problem>,
    },
}

/// Why user-data is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// gzip that does not unpack, or unpacks to too much.
    #[error(
        "user-data: gzip does not unpack to at most {MAX_BYTES} bytes; compress it again with gzip"
    )]
    Gzip(#[source] io::Error),
    /// Not text, or of no known kind.
    #[error("user-data: not recognised; begin it with `#cloud-config`, `#compose` or `#!`")]
    Unknown,
    /// A cloud-config that is not YAML.
    #[error("{0}")]
    Yaml(Problem),
}

/// Recognises user-data: gzip is unpacked, then `#!` is a script, `#cloud-config` and `#compose` are YAML. Without any of
/// these, a YAML map with at least one known key is taken as a cloud-config, with a warning.
///
/// # Errors
/// See [`Error`]; nothing should be saved then.
pub fn classify(bytes: &[u8]) -> Result<UserData, Error> {
    let bytes = unpacked(bytes)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(UserData::Empty);
    }
    if bytes.starts_with(b"#!") {
        return Ok(UserData::Script(bytes.to_vec()));
    }
    match bytes
        .split(|&byte| byte == b'\n')
        .next()
        .map(<[u8]>::trim_ascii_end)
    {
        Some(b"#cloud-config") => cloud_config(bytes),
        Some(b"#compose") => compose(bytes),
        _ => headless(bytes),
    }
}

pub(crate) fn unpacked(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    if !bytes.starts_with(&GZIP) {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut plain = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    MultiGzDecoder::new(bytes)
        .take(limit)
        .read_to_end(&mut plain)
        .map_err(Error::Gzip)?;
    if plain.len() > MAX_BYTES {
        return Err(Error::Gzip(io::Error::other("too large when unpacked")));
    }
    Ok(Cow::Owned(plain))
}

fn cloud_config(bytes: &[u8]) -> Result<UserData, Error> {
    let parsed = yaml::parse(bytes, SOURCE).map_err(Error::Yaml)?;
    let mut problems = parsed.problems;
    let mut root = parsed.root;
    if !root.is_null() && !schema::check(&mut root, &ROOT, "", &mut problems) {
        let last = problems.pop();
        return Err(last.map_or(Error::Unknown, Error::Yaml));
    }
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    Ok(UserData::CloudConfig { text, problems })
}

/// No first line that says what it is: the config would be lost in silence, a frequent grief with RancherOS 1.x.
fn headless(bytes: &[u8]) -> Result<UserData, Error> {
    let root = yaml::parse(bytes, SOURCE).map_err(|_| Error::Unknown)?.root;
    let Some(map) = root.as_map() else {
        return Err(Error::Unknown);
    };
    if !map.keys().any(|name| child(&ROOT, name).is_some()) {
        return Err(Error::Unknown);
    }
    let mut found = cloud_config(bytes)?;
    if let UserData::CloudConfig { problems, .. } = &mut found {
        let position = Position {
            line: 1,
            column: 1,
            ..Position::whole(SOURCE)
        };
        let problem = Problem::new(
            Severity::Warning,
            &position,
            "",
            "The first line is not `#cloud-config`",
        );
        problems.insert(0, problem.advise("read as a cloud-config; add the line"));
    }
    Ok(found)
}

/// A Compose file, old (services at the top) or new (under `services`), becomes `rancher.services`.
fn compose(bytes: &[u8]) -> Result<UserData, Error> {
    let parsed = yaml::parse(bytes, SOURCE).map_err(Error::Yaml)?;
    let services = match parsed.root.as_map().and_then(|map| map.get("services")) {
        Some(entry) if matches!(entry.node.data, Data::Map(_)) => entry.node.clone(),
        _ => parsed.root,
    };
    let mut root = Node::default();
    let mut problems = parsed.problems;
    put(&mut root, &["rancher".into(), "services".into()], services);
    let text = format!("#cloud-config\n{}", to_yaml(&root));
    schema::check(&mut root, &ROOT, "", &mut problems);
    Ok(UserData::CloudConfig { text, problems })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn config(bytes: &[u8]) -> (String, Vec<String>) {
        match classify(bytes) {
            Ok(UserData::CloudConfig { text, problems }) => {
                (text, problems.iter().map(ToString::to_string).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn kinds() {
        assert_eq!(classify(b" \n").unwrap(), UserData::Empty);
        assert_eq!(
            classify(b"#!/bin/sh\n").unwrap(),
            UserData::Script(b"#!/bin/sh\n".to_vec())
        );
        assert_eq!(
            classify(&gzip(b"#!/bin/sh\n")).unwrap(),
            UserData::Script(b"#!/bin/sh\n".to_vec())
        );
        assert_eq!(
            config(b"#cloud-config \nhostname: x\n"),
            ("#cloud-config \nhostname: x\n".into(), vec![])
        );
        assert!(matches!(classify(b"hello"), Err(Error::Unknown)));
        assert!(matches!(classify(b"{\"a\": 1}"), Err(Error::Unknown)));
        assert!(matches!(classify(b"\x00\x01\x02"), Err(Error::Unknown)));
        assert!(matches!(
            classify(b"#cloud-config\n- a\n"),
            Err(Error::Yaml(_))
        ));
        assert!(matches!(
            classify(b"#cloud-config\na: [\n"),
            Err(Error::Yaml(_))
        ));
    }

    #[test]
    fn a_missing_first_line_and_windows_line_ends_are_told_and_do_no_harm() {
        let (text, problems) = config(b"hostname: x\r\nrunccmd: []\r\n");
        assert_eq!(text, "hostname: x\nrunccmd: []\n");
        assert_eq!(
            problems,
            [
                "user-data:1:1: The first line is not `#cloud-config`; read as a cloud-config; add the line",
                "user-data:1:12: file format shouldn't contain CRLF characters; read as if it had Unix line ends",
                "user-data:2:1: runccmd: Additional property runccmd is not allowed; did you mean `runcmd`?",
            ]
        );
    }

    #[test]
    fn compose_becomes_services() {
        let expected = "#cloud-config\nrancher:\n  services:\n    web:\n      image: nginx\n";
        assert_eq!(config(b"#compose\nweb:\n  image: nginx\n").0, expected);
        assert_eq!(
            config(b"#compose\nversion: '2'\nservices:\n  web:\n    image: nginx\n").0,
            expected
        );
    }

    #[test]
    fn a_gzip_bomb_is_refused() {
        let bomb = gzip(&vec![b' '; MAX_BYTES + 10]);
        assert!(bomb.len() < 100_000);
        assert!(matches!(classify(&bomb), Err(Error::Gzip(_))));
        assert!(matches!(classify(b"\x1f\x8bnonsense"), Err(Error::Gzip(_))));
    }
}
