//! Debian's mirror as this machine uses it, for the file trees of other suites. Owns no files.

use crate::error::{HarnessError, Result};
use crate::tool::Tool;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The deb lines of Debian's own mirror and pockets (updates, security) that this machine uses, with `suite` in the place of its own.
///
/// # Errors
/// When this machine is no Debian.
pub fn sources(suite: &str) -> Result<Vec<String>> {
    let release = std::fs::read_to_string("/etc/os-release")
        .map_err(HarnessError::file("read release", "/etc/os-release"))?;
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.unwrap_or("bookworm");
    let targets = Tool::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        ])
        .arg("Created-By: Packages")
        .run()?;
    let mut lines = lines_for_suite(&targets, codename, suite);
    lines.dedup();
    if lines.is_empty() {
        return Err(HarnessError::Missing {
            what: "Debian's mirror in the apt sources of this machine".into(),
            remedy: "run this on Debian".into(),
        });
    }
    Ok(lines)
}

fn lines_for_suite(targets: &str, codename: &str, suite: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for target in targets.lines() {
        let words: Vec<&str> = target.split_whitespace().collect();
        let [uri, release, "main"] = words.as_slice() else {
            continue;
        };
        let Some(pocket @ ("" | "-updates" | "-security")) = release.strip_prefix(codename) else {
            continue;
        };
        lines.push(format!(
            "deb [signed-by={KEYRING}] {uri} {suite}{pocket} main"
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debian_suites_of_this_release_are_taken_over() {
        let targets = "http://a/debian/ bookworm main\nhttp://a/debian/ bookworm-updates main\n\
            http://a/debian/ bookworm contrib\nhttp://b/cloud sdk-bookworm main\nhttp://c/node nodistro main\n";
        let expected = ["a/debian/ trixie main", "a/debian/ trixie-updates main"];
        let lines = lines_for_suite(targets, "bookworm", "trixie");
        assert_eq!(lines.len(), 2, "{lines:?}");
        for (line, end) in lines.iter().zip(expected) {
            assert!(line.ends_with(end), "{line}");
        }
    }
}
