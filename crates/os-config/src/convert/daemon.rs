//! Where user-data comes from, and the call of the user's Docker. Owns names of datasources and arguments of dockerd that are no more.

use super::remark::{Kind, Remark};
use super::{Work, tree};
use crate::node::Node;

const DATASOURCES: &str = "rancher.cloud_init.datasources";

/// Storage drivers of the Docker of 1.x that the one of this release has not (removed in 24.0 and 25.0), or has no kernel for (zfs).
const GONE_DRIVERS: [&str; 4] = ["aufs", "overlay", "devicemapper", "zfs"];

/// Arguments that dockerd does not know any more; it does not start with them (docs.docker.com, "Deprecated Docker Engine features").
const GONE_ARGUMENTS: [&str; 6] = [
    "--cluster-store",
    "--cluster-store-opt",
    "--cluster-advertise",
    "--disable-legacy-registry",
    "--exec-driver",
    "--oom-score-adjust",
];

pub(super) fn apply(work: &mut Work<'_>) {
    datasources(work);
    storage_driver(work);
    arguments(work);
}

/// Names that are not known would be complained of at each boot; without any the shipped list counts.
fn datasources(work: &mut Work<'_>) {
    let is_known = work.abilities.datasource;
    let path = ["rancher", "cloud_init", "datasources"];
    let Some(items) = tree::list(&mut work.tree, &path) else {
        return;
    };
    let is_empty_from_the_start = items.is_empty();
    let mut remarks = Vec::new();
    items.retain(|item| {
        let is_known = is_known(tree::text(item));
        if !is_known {
            let what = format!(
                "No effect here yet: datasource `{}` is left out",
                name_of(item)
            );
            let remark = Remark::new(Kind::NoEffect, &item.position, DATASOURCES, what);
            remarks.push(remark.advise(
                "give the user-data on a config drive (`configdrive`, `nocloud`), or name it with `url:…`",
            ));
        }
        is_known
    });
    if items.is_empty() && !is_empty_from_the_start {
        tree::remove(&mut work.tree, &path);
        if tree::map(&mut work.tree, &path[..2]).is_some_and(|map| map.is_empty()) {
            tree::remove(&mut work.tree, &path[..2]);
        }
    }
    work.remarks.append(&mut remarks);
}

/// Without the argument, which may hold a password.
fn name_of(item: &Node) -> String {
    tree::text(item)
        .split(':')
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn storage_driver(work: &mut Work<'_>) {
    let Some(docker) = tree::map(&mut work.tree, &["rancher", "docker"]) else {
        return;
    };
    let driver = docker
        .get("storage_driver")
        .map(|entry| tree::text(&entry.node).to_owned());
    let Some(driver) = driver.filter(|driver| GONE_DRIVERS.contains(&driver.as_str())) else {
        return;
    };
    let Some(entry) = docker.shift_remove("storage_driver") else {
        return;
    };
    let what = format!("Left out: there is no driver `{driver}` any more, Docker would not start");
    let remark = Remark::new(
        Kind::NoEffect,
        &entry.key,
        "rancher.docker.storage_driver",
        what,
    );
    work.remarks.push(remark.advise(
        "Docker chooses overlay2; images that lie in the old driver's form are pulled again",
    ));
}

fn arguments(work: &mut Work<'_>) {
    const KEY: &str = "rancher.docker.extra_args";
    let Some(items) = tree::list(&mut work.tree, &["rancher", "docker", "extra_args"]) else {
        return;
    };
    let mut remarks = Vec::new();
    let mut given = std::mem::take(items).into_iter().peekable();
    while let Some(mut item) = given.next() {
        let text = tree::text(&item).to_owned();
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), None),
        };
        let follows = given
            .peek()
            .map(|next| tree::text(next).to_owned())
            .filter(|next| inline.is_none() && !next.starts_with('-'));
        let value = inline.as_ref().or(follows.as_ref());
        if let Some(gone) = gone_argument(name, value.map_or("", String::as_str)) {
            let what =
                format!("Left out: dockerd does not know `{gone}` any more and would not start");
            let remark = Remark::new(Kind::NoEffect, &item.position, KEY, what);
            remarks.push(remark.advise("do without it"));
            if follows.is_some() {
                given.next();
            }
            continue;
        }
        if matches!(name, "--graph" | "-g") {
            let what = format!("`{name}` is called `--data-root`");
            remarks.push(Remark::new(Kind::Changed, &item.position, KEY, what));
            let value = inline.map(|value| format!("={value}")).unwrap_or_default();
            item.data = Node::text(format!("--data-root{value}")).data;
        }
        items.push(item);
    }
    work.remarks.append(&mut remarks);
}

/// The argument as far as it may be shown, if dockerd does not start with it.
fn gone_argument(name: &str, value: &str) -> Option<String> {
    let is_driver = matches!(name, "--storage-driver" | "-s") && GONE_DRIVERS.contains(&value);
    let option = value.split_once('.').map_or("", |(driver, _)| driver);
    match name {
        _ if GONE_ARGUMENTS.contains(&name) => Some(name.to_owned()),
        _ if is_driver => Some(format!("{name} {value}")),
        "--storage-opt" if ["dm", "aufs", "zfs"].contains(&option) => {
            Some(format!("{name} {option}.…"))
        }
        _ => None,
    }
}
