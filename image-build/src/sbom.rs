//! `build/sbom.spdx.json` (SPDX 2.3): Debian packages, kernel, iptables and the Rust crates that are linked into our programs.

use serde_json::{Value, json};

use crate::context::{Context, write_if_changed};
use crate::error::{Result, data};
use crate::manifest::{self, Facts};
use crate::root::created;

/// A crate linked into `ros` or `init`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
    license: String,
}

/// Writes the SBOM.
pub fn write(context: &Context, facts: &Facts) -> Result<()> {
    let mut packages = vec![image(facts)];
    packages.extend(manifest::used(facts).into_iter().map(|(_, (package, _))| {
        let home = Some(package.homepage.as_str())
            .filter(|h| !h.is_empty())
            .unwrap_or("NOASSERTION");
        let mut entry = entry(&package.name, &package.version, "deb/debian", "NOASSERTION");
        entry["homepage"] = home.into();
        entry["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": package.sha256 }]);
        entry["sourceInfo"] =
            format!("built by Debian from source package {}", package.source).into();
        entry
    }));
    let kernel = &facts.kernel.source;
    let mut linux = entry(&kernel.name, &kernel.version, "deb/debian", "GPL-2.0-only");
    linux["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": kernel.sha256 }]);
    linux["sourceInfo"] = "built here with kernel-config/".into();
    packages.push(linux);
    let mut iptables = entry("iptables", facts.iptables, "deb/debian", "GPL-2.0-or-later");
    iptables["sourceInfo"] =
        "built here, static, from the upstream release in Debian's source package".into();
    packages.push(iptables);
    packages.extend(
        crates(context)?
            .iter()
            .map(|c| entry(&c.name, &c.version, "cargo", &c.license)),
    );
    let path = context.build.join("sbom.spdx.json");
    let text = serde_json::to_string_pretty(&document(context, facts, packages))
        .map_err(|e| data(&path, e))?;
    write_if_changed(&path, format!("{text}\n").as_bytes())
}

fn document(context: &Context, facts: &Facts, packages: Vec<Value>) -> Value {
    let contains = |package: &Value| json!({ "spdxElementId": "SPDXRef-image", "relationshipType": "CONTAINS", "relatedSpdxElement": package["SPDXID"] });
    let mut relationships: Vec<Value> = packages.iter().skip(1).map(contains).collect();
    relationships.push(json!({ "spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-image" }));
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("RancherOS {}", facts.version),
        "documentNamespace": format!("urn:rancheros:{}:{}", facts.version, facts.root.image_id),
        "creationInfo": { "created": created(context.settings.epoch), "creators": ["Tool: image-build"] },
        "packages": packages,
        "relationships": relationships,
    })
}

fn image(facts: &Facts) -> Value {
    json!({
        "SPDXID": "SPDXRef-image",
        "name": "rancheros",
        "versionInfo": facts.version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseDeclared": "Apache-2.0",
    })
}

fn entry(name: &str, version: &str, kind: &str, license: &str) -> Value {
    let id: String = format!("{kind}-{name}-{version}")
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect();
    json!({
        "SPDXID": format!("SPDXRef-{id}"),
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseDeclared": license,
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": format!("pkg:{kind}/{}@{}", percent(name), percent(version)),
        }],
    })
}

/// Package URLs escape what is not unreserved.
fn percent(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c);
    text.chars()
        .map(|c| {
            if plain(c) {
                c.to_string()
            } else {
                format!("%{:02X}", c as u32)
            }
        })
        .collect()
}

fn crates(context: &Context) -> Result<Vec<Crate>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let run = context.run("sbom", &cargo).dir(&context.repo);
    let args = "tree --locked -p ros -p init --no-default-features -e normal --prefix none --format {p}|{l}";
    Ok(parse_crates(&String::from_utf8_lossy(
        &run.args(args.split(' ')).output()?,
    )))
}

/// Lines of `name vVERSION (place)|LICENCE`, a crate named more than once counted once.
fn parse_crates(text: &str) -> Vec<Crate> {
    let one = |line: &str| {
        let (package, license) = line.trim_end_matches(" (*)").split_once('|')?;
        let mut words = package.split(' ');
        let (name, version) = (
            words.next()?.to_owned(),
            words.next()?.trim_start_matches('v').to_owned(),
        );
        let license = license.trim().replace('/', " OR ");
        let license = if license.is_empty() {
            "NOASSERTION".to_owned()
        } else {
            license
        };
        Some(Crate {
            name,
            version,
            license,
        })
    };
    let mut crates: Vec<Crate> = text.lines().filter_map(one).collect();
    crates.sort();
    crates.dedup();
    crates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_counted_once_with_their_licence() {
        let text = "ros v2.0.0 (/repo/ros)|Apache-2.0\nlibc v0.2.1|MIT/Apache-2.0\n\nlibc v0.2.1|MIT/Apache-2.0 (*)\n";
        let crates = parse_crates(text);
        assert_eq!(crates.len(), 2);
        assert_eq!(
            crates[0],
            Crate {
                name: "libc".into(),
                version: "0.2.1".into(),
                license: "MIT OR Apache-2.0".into()
            }
        );
    }

    #[test]
    fn package_urls_are_escaped() {
        let entry = entry("libstdc++6", "1:2+b1", "deb/debian", "NOASSERTION");
        assert_eq!(
            entry["externalRefs"][0]["referenceLocator"],
            "pkg:deb/debian/libstdc%2B%2B6@1%3A2%2Bb1"
        );
    }
}
