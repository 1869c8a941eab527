//! Finds Debian's mirrors in the machine's own apt sources, in both of apt's formats. Reads only; no mirror is named in this repository.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Result, file, missing};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Base addresses of Debian's archives.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mirrors {
    /// The main archive.
    pub main: String,
    /// The security archive, if the machine uses one.
    pub security: Option<String>,
}

/// Reads `/etc/apt/sources.list` and `sources.list.d`; `ROS_DEBIAN_MIRROR` in the environment goes before them.
pub fn find(etc_apt: &Path) -> Result<Mirrors> {
    if let Some(main) = std::env::var("ROS_DEBIAN_MIRROR")
        .ok()
        .filter(|m| !m.is_empty())
    {
        return Ok(Mirrors {
            main,
            security: None,
        });
    }
    let mut uris = Vec::new();
    for path in source_files(etc_apt)? {
        let text = fs::read_to_string(&path).map_err(file("read", &path))?;
        let deb822 = path.extension().is_some_and(|e| e == "sources");
        uris.extend(if deb822 {
            parse_deb822(&text)
        } else {
            parse_one_line(&text)
        });
    }
    choose(&uris).ok_or_else(|| {
        missing(
            format!(
                "no Debian archive among the apt sources in {}",
                etc_apt.display()
            ),
            "Add one, or set ROS_DEBIAN_MIRROR to the address of a Debian mirror.",
        )
    })
}

/// A `sources.list` for `suite`, package and source indices, signed by Debian's own keys only.
pub fn render(mirrors: &Mirrors, suite: &str) -> String {
    let mut lines = Vec::new();
    for kind in ["deb", "deb-src"] {
        for pocket in [suite.to_owned(), format!("{suite}-updates")] {
            lines.push(format!(
                "{kind} [signed-by={KEYRING}] {} {pocket} main",
                mirrors.main
            ));
        }
        if let Some(security) = &mirrors.security {
            lines.push(format!(
                "{kind} [signed-by={KEYRING}] {security} {suite}-security main"
            ));
        }
    }
    lines.join("\n") + "\n"
}

fn source_files(etc_apt: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![etc_apt.join("sources.list")];
    let dir = etc_apt.join("sources.list.d");
    if dir.is_dir() {
        for entry in fs::read_dir(&dir).map_err(file("read", &dir))? {
            files.push(entry.map_err(file("read", &dir))?.path());
        }
    }
    files.retain(|f| f.is_file() && f.extension().is_some_and(|e| e == "list" || e == "sources"));
    files.sort();
    Ok(files)
}

fn parse_one_line(text: &str) -> Vec<String> {
    let entry = |line: &str| -> Option<String> {
        let line = line.split('#').next()?.trim();
        let rest = line.strip_prefix("deb ")?.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        let mut words = rest.split_whitespace();
        let uri = words.next()?.to_owned();
        words.any(|w| w == "main").then_some(uri)
    };
    text.lines().filter_map(entry).collect()
}

fn parse_deb822(text: &str) -> Vec<String> {
    let mut uris = Vec::new();
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            stanza
                .lines()
                .filter(|l| !l.starts_with('#'))
                .find_map(|line| {
                    let (key, value) = line.split_once(':')?;
                    key.eq_ignore_ascii_case(name)
                        .then(|| value.trim().to_owned())
                })
        };
        let has = |name: &str, word: &str| {
            field(name).is_some_and(|v| v.split_whitespace().any(|w| w == word))
        };
        let off = field("Enabled").is_some_and(|v| v.eq_ignore_ascii_case("no"));
        if has("Types", "deb") && has("Components", "main") && !off {
            uris.extend(
                field("URIs")
                    .unwrap_or_default()
                    .split_whitespace()
                    .map(str::to_owned),
            );
        }
    }
    uris
}

fn choose(uris: &[String]) -> Option<Mirrors> {
    let clean: Vec<&str> = uris.iter().map(|u| u.trim_end_matches('/')).collect();
    let is_security = |u: &&&str| u.ends_with("debian-security") || u.ends_with("security");
    let main = clean.iter().find(|u| u.ends_with("/debian"))?;
    Some(Mirrors {
        main: (*main).to_owned(),
        security: clean.iter().find(is_security).map(|u| (*u).to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEB822: &str = "Types: deb\n# a comment: with a colon\nURIs: http://mirror.test/debian\nSuites: x x-updates\n\
        Components: main\n\nTypes: deb\nURIs: http://mirror.test/debian-security\nSuites: x-security\nComponents: main\n";

    #[test]
    fn deb822_sources() {
        let found = choose(&parse_deb822(DEB822)).unwrap();
        assert_eq!(found.main, "http://mirror.test/debian");
        assert_eq!(
            found.security.as_deref(),
            Some("http://mirror.test/debian-security")
        );
    }

    #[test]
    fn one_line_sources_skip_other_vendors_and_disabled_ones() {
        let text = "# deb http://old.test/debian x main\ndeb http://vendor.test/apt x main\n\
            deb [arch=amd64 signed-by=/k] http://m.test/debian/ x main contrib\ndeb-src http://s.test/debian x main\n";
        assert_eq!(
            choose(&parse_one_line(text)).unwrap(),
            Mirrors {
                main: "http://m.test/debian".into(),
                security: None
            }
        );
    }

    #[test]
    fn disabled_stanzas_do_not_count() {
        assert_eq!(
            choose(&parse_deb822(&format!("Enabled: no\n{DEB822}"))),
            None
        );
    }

    #[test]
    fn rendered_list_has_sources_too() {
        let text = render(
            &Mirrors {
                main: "http://m.test/debian".into(),
                security: None,
            },
            "trixie",
        );
        assert!(
            text.contains(&format!(
                "deb-src [signed-by={KEYRING}] http://m.test/debian trixie main\n"
            )),
            "{text}"
        );
        assert!(!text.contains("security"));
    }
}
