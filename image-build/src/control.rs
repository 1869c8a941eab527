//! Debian control data: the fields of a `Packages` stanza that the build uses. Pure text in, values out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One binary package of the archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Source package and its version.
    pub source: String,
    /// Section (`libs`, `admin` …).
    pub section: String,
    /// SHA-256 of the .deb as the signed index states it.
    pub sha256: String,
    /// Base name of the .deb in the archive, without epoch.
    pub file: String,
    /// Home page, for the SBOM.
    pub homepage: String,
    /// `Pre-Depends` and `Depends`: each a list of alternatives.
    pub depends: Vec<Vec<String>>,
}

/// Parses the output of `apt-cache show`; the first stanza of a name counts (apt lists its candidate first).
pub fn parse(text: &str) -> BTreeMap<String, Package> {
    let mut packages = BTreeMap::new();
    for stanza in text.split("\n\n") {
        let fields = fields(stanza);
        let get = |key: &str| fields.get(key).cloned().unwrap_or_default();
        let (name, version) = (get("Package"), get("Version"));
        if name.is_empty() || get("SHA256").is_empty() {
            continue;
        }
        let mut depends = relations(&get("Pre-Depends"));
        depends.extend(relations(&get("Depends")));
        let package = Package {
            source: source(&get("Source"), &name, &version),
            section: get("Section"),
            sha256: get("SHA256"),
            file: get("Filename")
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned(),
            homepage: get("Homepage"),
            depends,
            version,
            name: name.clone(),
        };
        packages.entry(name).or_insert(package);
    }
    packages
}

fn fields(stanza: &str) -> BTreeMap<&str, String> {
    let mut fields = BTreeMap::new();
    for line in stanza.lines().filter(|l| !l.starts_with([' ', '\t'])) {
        if let Some((key, value)) = line.split_once(':') {
            fields.insert(key, value.trim().to_owned());
        }
    }
    fields
}

/// `Source: glibc (2.41-1)`, `Source: glibc` or nothing, always read as `glibc 2.41-1`.
fn source(field: &str, name: &str, version: &str) -> String {
    match field.split_once(" (") {
        Some((source, rest)) => format!("{source} {}", rest.trim_end_matches(')')),
        None if field.is_empty() => format!("{name} {version}"),
        None => format!("{field} {version}"),
    }
}

/// Names in a dependency field; versions and architectures are apt's business.
fn relations(field: &str) -> Vec<Vec<String>> {
    let name = |alternative: &str| {
        alternative
            .trim()
            .split([' ', '(', ':', '['])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let groups = field.split(',').map(|group| {
        group
            .split('|')
            .map(name)
            .filter(|n| !n.is_empty())
            .collect()
    });
    groups.filter(|g: &Vec<String>| !g.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Package: runc\nVersion: 1.1+b4\nSource: runc (1.1)\nSection: devel\nPre-Depends: libc6 (>= 2)\n\
        Depends: libseccomp2:any (>= 2.5.0), a | b (<< 1)\nDescription: x\n more: text\nFilename: pool/r/runc_1.1_amd64.deb\nSHA256: ab\n\n\
        Package: runc\nVersion: 1.0\nSHA256: cd\n\nPackage: virtual\n";

    #[test]
    fn fields_of_a_stanza() {
        let all = parse(TEXT);
        let runc = &all["runc"];
        assert_eq!(
            (runc.version.as_str(), runc.source.as_str()),
            ("1.1+b4", "runc 1.1")
        );
        assert_eq!(runc.file, "runc_1.1_amd64.deb");
        assert_eq!(
            runc.depends,
            [vec!["libc6"], vec!["libseccomp2"], vec!["a", "b"]]
        );
    }

    #[test]
    fn a_stanza_without_a_hash_is_not_a_package() {
        assert_eq!(parse(TEXT).len(), 1);
    }
}
