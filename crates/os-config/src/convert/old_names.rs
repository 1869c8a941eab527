//! Keys under names that they no longer have, and keys that were never more than a name. Owns the two tables.

use super::remark::{Kind, Need, Remark};
use super::{Work, tree};
use crate::merge::{merge, put};
use crate::node::{Data, Entry, Map, Node};
use crate::path;
use crate::schema::ROOT;

/// Names of releases before 1.0, and what they are called since.
const MOVED: [(&str, &str); 3] = [
    ("rancher.user_docker", "rancher.docker"),
    ("rancher.system_containers", "rancher.services"),
    ("rancher.bootstrap_containers", "rancher.bootstrap"),
];

/// A key that is no key here.
struct Gone {
    path: &'static str,
    kind: Kind,
    need: Need,
    what: &'static str,
    advice: &'static str,
}

static GONE: [Gone; 7] = [
    Gone {
        path: "rancher.password",
        kind: Kind::NoEffect,
        need: Need::Hands,
        what: "Left out: it counts on the kernel line only, as in RancherOS 1.x",
        advice: "write rancher.password=… there, best a hash; or log in with a key of `ssh_authorized_keys`",
    },
    Gone {
        path: "rancher.autologin",
        kind: Kind::NoEffect,
        need: Need::Hands,
        what: "Left out: it counts on the kernel line only, as in RancherOS 1.x",
        advice: "write rancher.autologin=tty1 there",
    },
    Gone {
        path: "rancher.state.formatzero",
        kind: Kind::Changed,
        need: Need::Nothing,
        what: "Left out: no release ever read it",
        advice: "a disk of `rancher.state.autoformat` that is blank is formatted without it",
    },
    Gone {
        path: "rancher.autoformat",
        kind: Kind::NoEffect,
        need: Need::Hands,
        what: "Left out: a name of releases before 1.0",
        advice: "write the disks as rancher.state.autoformat=[/dev/sda] on the kernel line",
    },
    Gone {
        path: "rancher.docker.userns_enabled",
        kind: Kind::NoEffect,
        need: Need::Hands,
        what: "Left out: a key of BurmillaOS",
        advice: "if containers are to have users of their own, add `--userns-remap=default` to `extra_args`",
    },
    Gone {
        path: "rancher.environment.EXTRA_CMDLINE",
        kind: Kind::Changed,
        need: Need::Nothing,
        what: "Left out: the machine sets it from its own kernel line",
        advice: "",
    },
    Gone {
        path: "EXTRA_CMDLINE",
        kind: Kind::Changed,
        need: Need::Nothing,
        what: "Left out: RancherOS 1.x kept its own kernel line there",
        advice: "",
    },
];

pub(super) fn apply(work: &mut Work<'_>) {
    kernel_words(work);
    for (old, new) in MOVED {
        moved(work, old, new);
    }
    for gone in &GONE {
        let parts: Vec<&str> = gone.path.split('.').collect();
        if let Some(entry) = tree::remove(&mut work.tree, &parts) {
            let remark = Remark::new(gone.kind, &entry.key, gone.path, gone.what);
            work.remarks
                .push(remark.advise(gone.advice).needing(gone.need));
        }
    }
    listed_interfaces(work);
}

/// `rancher.debug: true` and `cc.hostname: x` at the top: words of the kernel line, which 1.x did not read in a file.
fn kernel_words(work: &mut Work<'_>) {
    let Data::Map(map) = &mut work.tree.data else {
        return;
    };
    let mut words = Vec::new();
    map.retain(|name, entry| {
        let keys = kernel_word(name);
        let stays = keys.is_none();
        words.extend(keys.map(|keys| (name.clone(), keys, entry.clone())));
        stays
    });
    for (word, keys, entry) in words {
        if tree::has(&work.tree, &keys) || !put(&mut work.tree, &keys, entry.node.clone()) {
            put(&mut work.tree, &[word], entry.node);
            continue;
        }
        let what = format!(
            "A word of the kernel line: written as `{}:`",
            keys.join(": ")
        );
        let remark = Remark::new(Kind::Changed, &entry.key, &word, what);
        work.remarks
            .push(remark.advise("RancherOS 1.x did not read it in a file, here it counts"));
    }
}

/// The keys that a word of the kernel line names, if it is one and they have a meaning.
fn kernel_word(name: &str) -> Option<Vec<String>> {
    let dotted = match name.strip_prefix("cc.") {
        Some(dotted) => dotted,
        None if name.starts_with("rancher.") => name,
        None => return None,
    };
    let segments = path::segments(dotted);
    let known = path::locate(&ROOT, &segments).map(|(keys, _)| keys);
    known.or_else(|| is_gone(dotted).then_some(segments))
}

fn is_gone(dotted: &str) -> bool {
    GONE.iter().any(|gone| gone.path == dotted)
}

/// What stands under both names is merged; the newer name wins.
fn moved(work: &mut Work<'_>, old: &'static str, new: &'static str) {
    let parts = |dotted: &'static str| dotted.split('.').collect::<Vec<_>>();
    let Some(entry) = tree::remove(&mut work.tree, &parts(old)) else {
        return;
    };
    let mut node = entry.node;
    if let Some(present) = tree::remove(&mut work.tree, &parts(new)) {
        merge(&mut node, present.node);
    }
    put(&mut work.tree, &path::segments(new), node);
    let what = format!("Renamed to `{new}`");
    work.remarks
        .push(Remark::new(Kind::Changed, &entry.key, old, what));
}

/// Before 0.4 interfaces were a list of maps, each with its `match`.
fn listed_interfaces(work: &mut Work<'_>) {
    const KEY: &str = "rancher.network.interfaces";
    let Some(network) = tree::map(&mut work.tree, &["rancher", "network"]) else {
        return;
    };
    let Some(entry) = network.get_mut("interfaces") else {
        return;
    };
    let Data::List(items) = &entry.node.data else {
        return;
    };
    let Some(map) = items.iter().map(named).collect::<Option<Map>>() else {
        return;
    };
    // Two of one name cannot stand in a map.
    if map.len() < items.len() {
        return;
    }
    entry.node.data = Data::Map(map);
    let what = "A list of releases before 1.0: written as a map by what each matches";
    work.remarks
        .push(Remark::new(Kind::Changed, &entry.key, KEY, what));
}

fn named(item: &Node) -> Option<(String, Entry)> {
    let mut node = item.clone();
    let matches = tree::remove(&mut node, &["match"])?;
    let name = tree::text(&matches.node);
    let entry = Entry {
        key: item.position.clone(),
        node,
    };
    (!name.is_empty()).then(|| (name.to_owned(), entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key that comes to the schema, or leaves it, must leave these tables.
    #[test]
    fn the_tables_are_of_what_the_schema_does_not_know() {
        let is_known = |dotted: &str| path::locate(&ROOT, &path::segments(dotted)).is_some();
        for (old, new) in MOVED {
            assert!(!is_known(old) && is_known(new), "{old} -> {new}");
        }
        // Accepted everywhere, and of no meaning anywhere.
        for gone in GONE
            .iter()
            .filter(|gone| !gone.path.ends_with("EXTRA_CMDLINE"))
        {
            assert!(!is_known(gone.path), "{}", gone.path);
        }
    }
}
