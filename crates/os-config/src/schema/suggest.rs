//! "Did you mean": what a wrong key was probably meant to be. Owns the distance and the wording.

use super::{Schema, child, keys::ROOT};

/// Keys of upstream cloud-init that RancherOS never had.
const FOREIGN: [&str; 9] = [
    "groups",
    "packages",
    "package_update",
    "package_upgrade",
    "swap",
    "timezone",
    "locale",
    "apt",
    "final_message",
];

/// Advice for `key`, unknown in an object that stands at `path` and has `schema`.
pub(crate) fn for_key(schema: &'static Schema, path: &str, key: &str) -> String {
    if path == "rancher" && matches!(key, "password" | "autologin") {
        return format!("give it on the kernel command line: rancher.{key}=…");
    }
    if path.is_empty() && matches!(key, "password" | "chpasswd") {
        return "write the hash as `passwd` of an entry of `users`, with `lock_passwd: false`"
            .into();
    }
    if let Some(close) = closest(schema, key) {
        return format!("did you mean `{close}`?");
    }
    let rancher = child(&ROOT, "rancher");
    if path.is_empty() && rancher.is_some_and(|rancher| child(rancher, key).is_some()) {
        return format!("did you mean `rancher.{key}`?");
    }
    if !path.is_empty() && child(&ROOT, key).is_some() {
        return format!("`{key}` stands at the top level, without indentation");
    }
    if path.is_empty() && FOREIGN.contains(&key) {
        return "RancherOS does not have this key of cloud-init; remove it".into();
    }
    "remove it, or look the key up in the documentation".into()
}

fn closest(schema: &'static Schema, key: &str) -> Option<&'static str> {
    let keys = schema.keys()?;
    let allowed = if key.chars().count() < 5 { 1 } else { 2 };
    let written = key.to_lowercase().replace('-', "_");
    let scored = keys
        .iter()
        .map(|known| (distance(known.name, &written), known.name));
    scored
        .filter(|&(score, _)| score <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// Edits (insert, delete, replace, swap of neighbours) between two words; long words are far from everything.
fn distance(left: &str, right: &str) -> usize {
    const LONGEST: usize = 64;
    let (left, right): (Vec<char>, Vec<char>) = (
        left.chars().collect(),
        right.chars().take(LONGEST + 1).collect(),
    );
    if left.len() > LONGEST || right.len() > LONGEST {
        return usize::MAX;
    }
    let mut before_last = vec![0; right.len() + 1];
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, &a) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &b) in right.iter().enumerate() {
            let replaced = last[column] + usize::from(a != b);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && a == right[column - 1] && left[row - 1] == b {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(distance("port", "prot"), 1);
        assert_eq!(distance("hostname", "hostnam"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("dns", "ssh"), 3);
        assert_eq!(distance("x", &"y".repeat(100_000)), usize::MAX);
    }
}
