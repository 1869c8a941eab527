//! What a file names and does not bring: services of the repository of 1.x, files of services, services that others refer to. Owns the table of the
//! repository's names.

use super::remark::{Kind, Remark};
use super::services::{SERVICES, is_built_in};
use super::{Work, tree};
use crate::node::Data;
use crate::problem::Position;
use std::collections::HashSet;

pub(super) const INCLUDES: [&str; 2] = ["rancher", "services_include"];

/// The repository of 1.x and of BurmillaOS, with what to do instead.
static REPOSITORY: [(&str, &str); 20] = [
    ("amazon-ecs-agent", OWN),
    ("amazon-metadata", OWN),
    ("container-cron", OWN),
    ("hyperv-vm-tools", TOOLS),
    ("kernel-extras", MODULES),
    ("kernel-headers", MODULES),
    ("kernel-headers-system-docker", MODULES),
    ("modem-manager", OWN),
    ("open-iscsi", OWN),
    ("open-vm-tools", TOOLS),
    ("pingan-amc", OWN),
    ("qemu-guest-agent", TOOLS),
    ("rancher-server", OWN),
    ("rancher-server-stable", OWN),
    ("virtualbox-tools", TOOLS),
    ("volume-cifs", VOLUMES),
    ("volume-efs", VOLUMES),
    ("volume-nfs", VOLUMES),
    ("waagent", TOOLS),
    ("zfs", "this kernel has no ZFS: use ext4, XFS or btrfs"),
];

const OWN: &str = "define it under `rancher.services` with an image that has it";
const TOOLS: &str =
    "the machine runs without them; if you need them, define a service with an image that has them";
const MODULES: &str = "try `modprobe`: the modules of this kernel are in the image";
const VOLUMES: &str = "volumes of Docker's driver `local` need no helper: `docker volume create --opt type=nfs --opt o=addr=… --opt device=:/…`";

/// Names of the services of the repository.
#[cfg(test)]
pub(super) fn repository() -> impl Iterator<Item = &'static str> {
    REPOSITORY.iter().map(|(name, _)| *name)
}

pub(super) fn apply(work: &mut Work<'_>) {
    references(work);
    includes(work);
}

/// What a service needs and this file does not bring.
fn references(work: &mut Work<'_>) {
    let Some(services) = tree::map(&mut work.tree, &SERVICES) else {
        return;
    };
    let is_there = |name: &str| services.contains_key(name) || is_built_in(name);
    for (service, entry) in services.iter() {
        let Some(definition) = entry.node.as_map() else {
            continue;
        };
        let mut say = |key: &str, at: &Position, what: String| {
            let path = format!("rancher.services.{service}.{key}");
            let remark = Remark::new(Kind::Different, at, &path, what);
            work.remarks
                .push(remark.advise("without it the service does not start: bring it along"));
        };
        if let Some(file) = definition.get("env_file") {
            say("env_file", &file.key, "It is read on the machine".into());
        }
        for key in ["volumes_from", "links"] {
            let Some(list) = definition.get(key) else {
                continue;
            };
            let items = match &list.node.data {
                Data::List(items) => items.as_slice(),
                _ => std::slice::from_ref(&list.node),
            };
            for item in items {
                let name = tree::text(item).split(':').next().unwrap_or_default();
                if !name.is_empty() && !is_there(name) {
                    let what = format!("Service {name} is not in this file");
                    say(key, &item.position, what);
                }
            }
        }
    }
}

/// There is no repository: what names a service of one goes, with what to do instead.
fn includes(work: &mut Work<'_>) {
    let own: HashSet<String> = tree::map(&mut work.tree, &SERVICES)
        .map(|map| map.keys().cloned().collect())
        .unwrap_or_default();
    let Some(map) = tree::map(&mut work.tree, &INCLUDES) else {
        return;
    };
    let remarks = &mut work.remarks;
    map.retain(|name, entry| {
        let key = format!("rancher.services_include.{}", without_login(name));
        let is_on = tree::text(&entry.node) == "true";
        let is_here = own.contains(name) || is_built_in(name);
        let mut say = |kind, what: &str, advice: &str| {
            remarks.push(Remark::new(kind, &entry.key, &key, what).advise(advice));
        };
        let of_repository = REPOSITORY.iter().find(|(known, _)| known == name);
        if name.starts_with('/') {
            if is_on {
                let what = "The file is read on the machine; it is not converted with this one";
                say(Kind::Different, what, "bring it along below /var/lib/rancher/conf, and look for images `rancher/os-…` in it");
            }
            return true;
        }
        if is_here || (!is_on && of_repository.is_none()) {
            return true;
        }
        if !is_on {
            say(Kind::Changed, "Left out: it asks for what is so anyway", "");
            return false;
        }
        let advice = match of_repository {
            Some((_, advice)) => advice,
            None if name.contains("://") => "download the file to /var/lib/rancher/conf, and name its path here",
            None => "define it under `rancher.services`, or in a file below /var/lib/rancher/conf whose path stands here",
        };
        say(Kind::NoEffect, "No effect here: left out, there is no repository of services", advice);
        false
    });
}

/// A URL without the name and password in it.
fn without_login(name: &str) -> String {
    match (name.split_once("://"), name.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => name.to_owned(),
    }
}
