//! Checks a kernel's final `.config` against what was asked for: every line of the fragments, and the options each feature needs.
//! Pure but for reading the files it is given.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Result, data, file, missing};

/// Option names (with `CONFIG_`) and values; `n` for "is not set".
pub type Options = BTreeMap<String, String>;

/// Parses a `.config` or a fragment.
pub fn parse(text: &str) -> Options {
    let mut options = Options::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix("# ")
            .and_then(|l| l.strip_suffix(" is not set"))
        {
            options.insert(name.to_owned(), "n".to_owned());
        } else if let (true, Some((name, value))) =
            (line.starts_with("CONFIG_"), line.split_once('='))
        {
            options.insert(name.to_owned(), value.to_owned());
        }
    }
    options
}

/// The fragments in the order in which they are merged.
pub fn fragments(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(file("read", folder))? {
        let path = entry.map_err(file("read", folder))?.path();
        if path.extension().is_some_and(|e| e == "config") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Lines of the fragments that the final configuration does not honour, each with its fragment.
pub fn unmet_lines(config: &Options, fragments: &[(String, Options)]) -> Vec<String> {
    let mut wanted: BTreeMap<&String, (&String, &String)> = BTreeMap::new();
    for (fragment, options) in fragments {
        for (name, value) in options {
            wanted.insert(name, (value, fragment));
        }
    }
    let got = |name: &String| config.get(name).map_or("n", String::as_str);
    let unmet = wanted
        .iter()
        .filter(|(name, (value, _))| got(name) != value.as_str());
    unmet
        .map(|(name, (value, fragment))| {
            format!("{name}={value} ({fragment}), but it is {}", got(name))
        })
        .collect()
}

/// Options that features need and the configuration lacks. A need `CONFIG_X` is met by `y` or `m`, `CONFIG_X=y` by that value alone.
pub fn unmet_features(config: &Options, features: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut unmet = Vec::new();
    for (feature, needs) in features {
        for need in needs {
            let (name, wanted) = need.split_once('=').unwrap_or((need, ""));
            let got = config.get(name).map_or("n", String::as_str);
            let met = if wanted.is_empty() {
                got != "n"
            } else {
                got == wanted
            };
            if !met {
                unmet.push(format!("{need} for \"{feature}\", but it is {got}"));
            }
        }
    }
    unmet
}

/// Checks `config` against `kernel-config/fragments` and `kernel-config/features.toml`.
pub fn check(config: &Path, folder: &Path) -> Result<()> {
    let read = |path: &Path| fs::read_to_string(path).map_err(file("read", path));
    let options = parse(&read(config)?);
    let mut asked = Vec::new();
    for path in fragments(&folder.join("fragments"))? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        asked.push((name, parse(&read(&path)?)));
    }
    let path = folder.join("features.toml");
    let features = toml::from_str(&read(&path)?).map_err(|e| data(&path, e))?;
    let mut unmet = unmet_lines(&options, &asked);
    unmet.extend(unmet_features(&options, &features));
    if unmet.is_empty() {
        return Ok(());
    }
    Err(missing(
        format!(
            "the kernel configuration lacks what was asked for:\n  {}",
            unmet.join("\n  ")
        ),
        "Each option's dependencies are in the kernel's Kconfig files; correct kernel-config/.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_was_dropped_is_named_with_its_fragment() {
        let config = parse("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_S=\"x y\"\n");
        let fragment = parse("# why\nCONFIG_A=y\nCONFIG_B=m\nCONFIG_C=n\nCONFIG_S=\"x y\"\n");
        let unmet = unmet_lines(&config, &[("20-x.config".into(), fragment)]);
        assert_eq!(unmet, ["CONFIG_B=m (20-x.config), but it is n"]);
    }

    #[test]
    fn a_later_fragment_overrides() {
        let config = parse("CONFIG_A=m\n");
        let fragments = [
            ("1".into(), parse("CONFIG_A=y")),
            ("2".into(), parse("CONFIG_A=m")),
        ];
        assert_eq!(unmet_lines(&config, &fragments), Vec::<String>::new());
    }

    #[test]
    fn features_take_modules_unless_they_say_otherwise() {
        let config = parse("CONFIG_VXLAN=m\nCONFIG_EXT4_FS=m\n");
        let needs = vec![
            "CONFIG_VXLAN".to_owned(),
            "CONFIG_EXT4_FS=y".to_owned(),
            "CONFIG_NONE".to_owned(),
        ];
        let unmet = unmet_features(&config, &BTreeMap::from([("f".to_owned(), needs)]));
        assert_eq!(unmet.len(), 2, "{unmet:?}");
        assert!(unmet[0].contains("CONFIG_EXT4_FS=y") && unmet[1].contains("CONFIG_NONE"));
    }
}
