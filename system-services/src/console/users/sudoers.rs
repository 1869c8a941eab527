//! Rules for sudo: one file a user below `/etc/sudoers.d`, put in place only when visudo(8) finds no fault in it, so that a broken line costs its
//! user the rule and nobody else anything.
//!
//! Owns the files there that begin with `cloud-config-`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::files::{make_directory, write_atomically};

const FOLDER: &str = "etc/sudoers.d";
const PREFIX: &str = "cloud-config-";
const VISUDO: &str = "/usr/sbin/visudo";

/// Rules of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Login name.
    pub user: String,
    /// User id; names the file, for a name with special characters would be passed over.
    pub uid: u32,
    /// What stands after the name, one rule each.
    pub lines: Vec<String>,
}

/// Why rules are not in force.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// visudo finds a fault; its words.
    #[error("sudo does not understand it: {0}")]
    Fault(String),
    /// visudo cannot be asked.
    #[error("it cannot be checked: {0}")]
    Unchecked(io::Error),
    /// The file cannot be written.
    #[error("it cannot be written: {0}")]
    Write(io::Error),
}

/// Judges a file of rules.
pub type Check<'a> = &'a dyn Fn(&Path) -> Result<(), Error>;

/// Puts the rules of each user in force under `root`, and those of others out of it. Returns who has none for an error.
pub fn apply(root: &Path, all: &[Rules], check: Check<'_>) -> Vec<(String, Error)> {
    let folder = root.join(FOLDER);
    let mut errors = Vec::new();
    let mut wanted = BTreeSet::new();
    for rules in all.iter().filter(|rules| !rules.lines.is_empty()) {
        let name = format!("{PREFIX}{}", rules.uid);
        match put(&folder, &name, rules, check) {
            Ok(()) => {
                wanted.insert(name);
            }
            Err(error) => errors.push((rules.user.clone(), error)),
        }
    }
    remove_others(&folder, &wanted);
    errors
}

/// Judges the rules of each user without putting them in force.
pub fn faults(root: &Path, all: &[Rules], check: Check<'_>) -> Vec<(String, Error)> {
    let folder = root.join(FOLDER);
    let with_rules = all.iter().filter(|rules| !rules.lines.is_empty());
    with_rules
        .filter_map(|rules| {
            let name = format!("{PREFIX}{}.check", rules.uid);
            let candidate = folder.join(name);
            let judged = judge(&candidate, rules, check);
            fs::remove_file(&candidate).ok();
            Some((rules.user.clone(), judged.err()?))
        })
        .collect()
}

/// Asks visudo(8), which knows what sudo takes. Strictly: an alias that nobody defines is a rule that never fits.
///
/// # Errors
/// Its complaint.
pub fn visudo(file: &Path) -> Result<(), Error> {
    let output = Command::new(VISUDO)
        .args(["-c", "-s", "-f"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .map_err(Error::Unchecked)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let name = file.display().to_string();
    let first = said.lines().find(|line| !line.trim().is_empty());
    let first = first.unwrap_or("no reason given").replace(&name, "");
    Err(Error::Fault(
        first.trim_start_matches(':').trim().to_owned(),
    ))
}

/// sudo reads no file with a dot in its name: a candidate has one.
fn put(folder: &Path, name: &str, rules: &Rules, check: Check<'_>) -> Result<(), Error> {
    let target = folder.join(name);
    if fs::read_to_string(&target).is_ok_and(|old| old == text(rules)) {
        return Ok(());
    }
    let candidate = folder.join(format!("{name}.new"));
    let judged = judge(&candidate, rules, check)
        .and_then(|()| fs::rename(&candidate, &target).map_err(Error::Write));
    if judged.is_err() {
        fs::remove_file(&candidate).ok();
    }
    judged
}

fn judge(candidate: &Path, rules: &Rules, check: Check<'_>) -> Result<(), Error> {
    let folder = candidate.parent().unwrap_or(candidate);
    make_directory(folder, 0o755)
        .and_then(|()| write_atomically(candidate, text(rules).as_bytes(), 0o440))
        .map_err(Error::Write)?;
    check(candidate)
}

/// Also what a start that was cut short left.
fn remove_others(folder: &Path, wanted: &BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(PREFIX) && !wanted.contains(&name) {
            fs::remove_file(entry.path()).ok();
        }
    }
}

fn text(rules: &Rules) -> String {
    let mut text = String::from("# From `users` of the cloud-config, written at each start.\n");
    for line in &rules.lines {
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        text.push_str(&format!("{} {line}\n", rules.user));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn rules(user: &str, uid: u32, lines: &[&str]) -> Rules {
        Rules {
            user: user.into(),
            uid,
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        }
    }

    fn names(root: &Path) -> Vec<String> {
        let folder = root.join(FOLDER);
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// As visudo would: a word in it that no rule has.
    fn no_nonsense(file: &Path) -> Result<(), Error> {
        if fs::read_to_string(file).unwrap().contains("nonsense") {
            return Err(Error::Fault("2:1: syntax error".into()));
        }
        Ok(())
    }

    #[test]
    fn a_broken_rule_is_left_out_alone() {
        let root = tempfile::tempdir().unwrap();
        let all = [
            rules("web", 2000, &["ALL=(ALL) NOPASSWD:ALL"]),
            rules("bad", 2001, &["nonsense=x"]),
            rules("none", 2002, &[]),
        ];
        let errors = apply(root.path(), &all, &no_nonsense);
        let said: Vec<String> = errors
            .iter()
            .map(|(user, error)| format!("{user} {error}"))
            .collect();
        assert_eq!(said, ["bad sudo does not understand it: 2:1: syntax error"]);
        assert_eq!(names(root.path()), ["cloud-config-2000"]);
        let file = root.path().join(FOLDER).join("cloud-config-2000");
        assert!(
            fs::read_to_string(&file)
                .unwrap()
                .ends_with("\nweb ALL=(ALL) NOPASSWD:ALL\n")
        );
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o440);
        assert_eq!(faults(root.path(), &all, &no_nonsense).len(), 1);
        assert_eq!(names(root.path()), ["cloud-config-2000"]);
    }

    #[test]
    fn rules_go_with_their_user_and_others_files_stay() {
        let root = tempfile::tempdir().unwrap();
        let all = [rules("web", 2000, &["ALL=(ALL) NOPASSWD:ALL"])];
        apply(root.path(), &all, &no_nonsense);
        fs::write(root.path().join(FOLDER).join("mine"), "").unwrap();
        fs::write(root.path().join(FOLDER).join("cloud-config-9.new"), "").unwrap();
        assert_eq!(apply(root.path(), &[], &no_nonsense).len(), 0);
        assert_eq!(names(root.path()), ["mine"]);
    }

    #[test]
    fn visudo_judges() {
        if !Path::new(VISUDO).exists() {
            assert!(std::env::var_os("CI").is_none(), "missing: {VISUDO}");
            eprintln!("skipped: needs {VISUDO}");
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let good = [
            "ALL=(ALL) NOPASSWD:ALL",
            "ALL=(root) NOPASSWD:/usr/bin/system-docker ps, PASSWD:/bin/ls",
        ];
        let bad = [
            "ALL=(ALL NOPASSWD:ALL",
            "ALL=(ALL) docker",
            "ALL=(ALL) NOPASSWD:NOBODY_DEFINES_IT",
            "=ALL",
            "ALL=ALL \\",
            "ALL=@include /tmp/x",
        ];
        let mut all = vec![rules("web", 2000, &good)];
        let broken = bad.iter().zip(3000..);
        all.extend(broken.map(|(rule, uid)| rules("bad", uid, &[good[0], rule])));
        let errors = apply(root.path(), &all, &visudo);
        assert_eq!(names(root.path()), ["cloud-config-2000"]);
        let told: Vec<String> = errors.iter().map(|(_, error)| error.to_string()).collect();
        assert_eq!(told.len(), bad.len(), "{told:?}");
        assert!(
            told[0].starts_with("sudo does not understand it: 3:"),
            "{told:?}"
        );
    }

    #[test]
    fn a_rule_that_became_wrong_leaves_no_old_one() {
        let root = tempfile::tempdir().unwrap();
        apply(
            root.path(),
            &[rules("web", 2000, &["ALL=ALL"])],
            &no_nonsense,
        );
        let errors = apply(
            root.path(),
            &[rules("web", 2000, &["nonsense="])],
            &no_nonsense,
        );
        assert!(matches!(errors.as_slice(), [(user, Error::Fault(_))] if user == "web"));
        assert_eq!(names(root.path()), Vec::<String>::new());
    }
}
