//! Which packages are needed: those that the layers name, and the libraries that these depend on. Programs are never pulled in
//! by a dependency: a package that only its maintainer scripts need has no business in the image.

use std::collections::{BTreeMap, BTreeSet};

use crate::apt::Apt;
use crate::control::Package;
use crate::error::{Result, missing};

/// Answers with the packages of these names that exist.
pub trait Index {
    /// Looks names up.
    fn lookup(&self, names: &[String]) -> Result<BTreeMap<String, Package>>;
}

impl Index for Apt<'_> {
    fn lookup(&self, names: &[String]) -> Result<BTreeMap<String, Package>> {
        self.show(names)
    }
}

/// The named packages and the closure of their libraries.
pub fn closure(index: &dyn Index, seeds: &[String]) -> Result<BTreeMap<String, Package>> {
    let mut found = index.lookup(seeds)?;
    let absent: Vec<&str> = seeds
        .iter()
        .filter(|s| !found.contains_key(*s))
        .map(String::as_str)
        .collect();
    if !absent.is_empty() {
        return Err(missing(
            format!(
                "packages that the suite does not have: {}",
                absent.join(", ")
            ),
            "Correct image-build/layers/*.toml or the suite in image-build/settings.toml.",
        ));
    }
    let mut asked: BTreeSet<String> = seeds.iter().cloned().collect();
    let mut fresh: Vec<Package> = found.values().cloned().collect();
    while !fresh.is_empty() {
        let groups: Vec<&Vec<String>> = fresh.iter().flat_map(|p| &p.depends).collect();
        let names: BTreeSet<String> = groups
            .into_iter()
            .flatten()
            .filter(|n| !asked.contains(*n))
            .cloned()
            .collect();
        asked.extend(names.iter().cloned());
        let answers = index.lookup(&names.into_iter().collect::<Vec<_>>())?;
        fresh = answers.into_values().filter(is_library).collect();
        found.extend(fresh.iter().map(|p| (p.name.clone(), p.clone())));
    }
    Ok(found)
}

fn is_library(package: &Package) -> bool {
    package.section == "libs" || package.section == "oldlibs"
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(BTreeMap<String, Package>);

    impl Index for Fixed {
        fn lookup(&self, names: &[String]) -> Result<BTreeMap<String, Package>> {
            Ok(names
                .iter()
                .filter_map(|n| self.0.get(n).map(|p| (n.clone(), p.clone())))
                .collect())
        }
    }

    fn package(name: &str, section: &str, depends: &[&str]) -> (String, Package) {
        let depends = depends
            .iter()
            .map(|d| d.split('|').map(str::to_owned).collect())
            .collect();
        (
            name.into(),
            Package {
                name: name.into(),
                section: section.into(),
                depends,
                ..Package::default()
            },
        )
    }

    fn archive() -> Fixed {
        Fixed(BTreeMap::from([
            package(
                "sudo",
                "admin",
                &["libpam0g", "adduser", "libnone|libaudit1"],
            ),
            package("adduser", "admin", &["libperl"]),
            package("libperl", "libs", &[]),
            package("libpam0g", "libs", &["libc6"]),
            package("libaudit1", "libs", &["libc6"]),
            package("libc6", "libs", &["libpam0g"]),
        ]))
    }

    #[test]
    fn libraries_are_followed_programs_are_not() {
        let found = closure(&archive(), &["sudo".into()]).unwrap();
        let names: Vec<&String> = found.keys().collect();
        assert_eq!(names, ["libaudit1", "libc6", "libpam0g", "sudo"]);
    }

    #[test]
    fn an_unknown_seed_is_named() {
        let error = closure(&archive(), &["sudoo".into()])
            .unwrap_err()
            .to_string();
        assert!(error.contains("sudoo"), "{error}");
    }
}
