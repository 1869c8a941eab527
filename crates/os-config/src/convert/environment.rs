//! Variables that the OS itself has in `rancher.environment`. Owns what becomes of another value of theirs; variables of the user's own are left alone.

use super::remark::{Kind, Remark};
use super::{Work, tree};

const ENVIRONMENT: [&str; 2] = ["rancher", "environment"];
const REGISTRY: &str = "REGISTRY_DOMAIN";

pub(super) fn apply(work: &mut Work<'_>) {
    tag(work, "VERSION");
    tag(work, "SUFFIX");
    registry(work);
}

/// The images of the OS have it in their tag: with another value none of its services would start.
fn tag(work: &mut Work<'_>, name: &str) {
    let Some(map) = tree::map(&mut work.tree, &ENVIRONMENT) else {
        return;
    };
    let Some(entry) = map.shift_remove(name) else {
        return;
    };
    if map.is_empty() {
        tree::remove(&mut work.tree, &ENVIRONMENT);
    }
    let key = format!("rancher.environment.{name}");
    let remark = if is_of_the_os(tree::text(&entry.node)) {
        let what = "Left out: the machine sets it from its own release";
        Remark::new(Kind::Changed, &entry.key, &key, what)
    } else {
        let what = "Left out: it is in the name of every image of this release, which another value makes nobody find";
        Remark::new(Kind::NoEffect, &entry.key, &key, what)
            .advise("give the variable of your services another name")
    };
    work.remarks.push(remark);
}

/// What a release of 1.x or BurmillaOS set itself: `v1.5.8`, and nothing or `_arm64`.
fn is_of_the_os(value: &str) -> bool {
    let version = value.strip_prefix('v').unwrap_or_default();
    value.is_empty() || value.starts_with('_') || version.starts_with(|c: char| c.is_ascii_digit())
}

/// 1.x put it before the names of images.
fn registry(work: &mut Work<'_>) {
    let Some(map) = tree::map(&mut work.tree, &ENVIRONMENT) else {
        return;
    };
    let Some(entry) = map.get(REGISTRY) else {
        return;
    };
    if matches!(tree::text(&entry.node), "" | "docker.io") {
        return;
    }
    let what = "Means something else here: a variable and no more, it is not put before the names of images";
    let key = format!("rancher.environment.{REGISTRY}");
    let remark = Remark::new(Kind::Different, &entry.key, &key, what);
    work.remarks.push(remark.advise(
        "name the registry in `image` of your services; the images of the OS are on the machine",
    ));
}
