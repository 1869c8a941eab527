//! Definitions of services: those that 1.x brought itself, and images of the OS. Owns the tables of their names; what a definition may hold is for the
//! programs that read it to say.

use super::compose::{self, Label};
use super::includes;
use super::remark::{Kind, Need, Remark};
use super::{Work, tree};
use crate::node::{Data, Entry, Map, Node};
use crate::problem::Position;

pub(super) const SERVICES: [&str; 2] = ["rancher", "services"];
const SCOPE: &str = "io.rancher.os.scope";
const ORDER: [&str; 2] = ["io.rancher.os.after", "io.rancher.os.before"];

/// What has become of a service that RancherOS 1.x brought itself.
#[derive(Clone, Copy)]
enum Fate {
    /// This release brings one of this name.
    Here,
    /// What it did is done by another, which those may wait for that waited for it.
    In(&'static str),
    /// It is gone; what to do.
    Gone(Need, &'static str),
}

static BUILT_IN: [(&str, Fate); 19] = [
    ("command-volumes", Fate::Here),
    ("system-volumes", Fate::Here),
    ("container-data-volumes", Fate::Here),
    ("user-volumes", Fate::Here),
    ("media-volumes", Fate::Here),
    ("all-volumes", Fate::Here),
    ("acpid", Fate::Here),
    ("syslog", Fate::Here),
    ("udev", Fate::Here),
    ("network", Fate::Here),
    ("ntp", Fate::Here),
    ("console", Fate::Here),
    ("docker", Fate::Here),
    ("udev-cold", Fate::In("udev")),
    ("cloud-init-execute", Fate::In("cloud-init")),
    (
        "system-cron",
        Fate::Gone(
            Need::Nothing,
            "the service manager itself acts on `cron.schedule`",
        ),
    ),
    (
        "logrotate",
        Fate::Gone(Need::Nothing, "logs are kept within limits without it"),
    ),
    (
        "subscriber",
        Fate::Gone(Need::Nothing, "this release calls nobody"),
    ),
    (
        "preload-user-images",
        Fate::Gone(
            Need::Nothing,
            "the service manager itself loads what lies in /var/lib/rancher/preload",
        ),
    ),
];

/// Images of this release, `rancher/os-NAME`; they are there under its own version only.
const IMAGES: [&str; 6] = ["base", "syslog", "ntp", "acpid", "console", "docker"];

/// Other images of 1.x itself.
const OTHER_IMAGES: [&str; 2] = ["os", "container-crontab"];

/// Whether this release brings a service of this name, as 1.x did.
pub(super) fn is_built_in(name: &str) -> bool {
    matches!(fate(name), Some(Fate::Here))
}

/// What to do instead of the service of 1.x called `name`; `None`: it is here, or was never one.
pub(super) fn gone(name: &str) -> Option<&'static str> {
    match fate(name)? {
        Fate::Here => None,
        Fate::In("udev") => Some("use `container: udev`"),
        Fate::In(_) => Some("leave `container` out: the console writes the file"),
        Fate::Gone(_, advice) => Some(advice),
    }
}

fn fate(name: &str) -> Option<Fate> {
    let found = BUILT_IN.iter().find(|(known, _)| *known == name);
    found.map(|(_, fate)| *fate)
}

pub(super) fn apply(work: &mut Work<'_>) {
    let remarks = &mut work.remarks;
    if let Some(services) = tree::map(&mut work.tree, &SERVICES) {
        services.retain(|name, entry| {
            let remarks = &mut *remarks;
            Service { name, remarks }.stays(entry)
        });
    }
    compose::flaws(work, &is_built_in);
    includes::apply(work);
    for path in [&SERVICES, &includes::INCLUDES] {
        if tree::map(&mut work.tree, path).is_some_and(|map| map.is_empty()) {
            tree::remove(&mut work.tree, path);
        }
    }
}

struct Service<'a> {
    name: &'a str,
    remarks: &'a mut Vec<Remark>,
}

impl Service<'_> {
    /// A remark on `key` of the service, or with `""` on the whole of it.
    fn remark(&self, kind: Kind, at: &Position, key: &str, what: impl Into<String>) -> Remark {
        let dot = if key.is_empty() { "" } else { "." };
        let path = format!("rancher.services.{}{dot}{key}", self.name);
        Remark::new(kind, at, &path, what)
    }

    fn stays(&mut self, entry: &mut Entry) -> bool {
        let at = entry.key.clone();
        let Data::Map(definition) = &mut entry.node.data else {
            return true;
        };
        let image = definition
            .get("image")
            .map(|image| tree::text(&image.node).to_owned());
        let is_ours = image
            .as_deref()
            .is_none_or(|image| of_the_os(image).is_some());
        match fate(self.name) {
            Some(Fate::Here) => return self.built_in(&at, image.as_deref(), definition),
            Some(fate) if is_ours => {
                self.left_out(&at, fate);
                return false;
            }
            _ => {}
        }
        self.image(definition);
        self.labels(definition);
        self.network(&at, definition);
        true
    }

    fn left_out(&mut self, at: &Position, fate: Fate) {
        let (need, advice) = match fate {
            Fate::Here => return,
            Fate::In(other) => (Need::Nothing, format!("service {other} does its work")),
            Fate::Gone(need, advice) => (need, advice.to_owned()),
        };
        let what = "No effect here: left out, a service of RancherOS 1.x that is gone";
        let remark = self.remark(Kind::NoEffect, at, "", what);
        self.remarks.push(remark.advise(advice).needing(need));
    }

    /// A change to a service that the release brings; its whole definition by 1.x would break it.
    fn built_in(&mut self, at: &Position, image: Option<&str>, definition: &mut Map) -> bool {
        let compare = format!(
            "compare with `ros config get rancher.services.{}` on the machine",
            self.name
        );
        match image {
            None => {
                let what = "Changes a service of the OS, which is defined otherwise here; its lists are replaced whole";
                let remark = self.remark(Kind::Different, at, "", what);
                self.remarks.push(remark.advise(compare));
                self.labels(definition);
                true
            }
            Some(image) if of_the_os(image).is_some() => {
                let what = "No effect here: left out, the definition of RancherOS 1.x; this release brings its own";
                let remark = self.remark(Kind::NoEffect, at, "", what);
                let advice =
                    format!("if you had changed something in it, write that alone: {compare}");
                self.remarks.push(remark.advise(advice));
                false
            }
            Some(_) => {
                let what = "Replaces the image of a service of the OS: one made for RancherOS 1.x does not do";
                let remark = self.remark(Kind::Different, at, "image", what);
                let advice = format!("take `image` out, or make the image anew: {compare}");
                self.remarks
                    .push(remark.advise(advice).needing(Need::Hands));
                self.labels(definition);
                true
            }
        }
    }

    /// `rancher/os-NAME:v1.5.8` of a service of the user's own.
    fn image(&mut self, definition: &mut Map) {
        let Some(entry) = definition.get_mut("image") else {
            return;
        };
        let image = tree::text(&entry.node).to_owned();
        let Some(name) = of_the_os(&image) else {
            return;
        };
        let at = entry.key.clone();
        if !IMAGES.contains(&name) {
            let what = format!(
                "No effect here: image {image} was a part of RancherOS 1.x, this release has none like it"
            );
            let remark = self.remark(Kind::NoEffect, &at, "image", what);
            self.remarks
                .push(remark.advise("name an image of your own"));
            return;
        }
        let here = format!("rancher/os-{name}:${{VERSION}}${{SUFFIX}}");
        if image == here {
            return;
        }
        let what = format!("Written as {here}: there is no {image} on the machine");
        let position = entry.node.position.clone();
        entry.node = Node {
            position,
            ..Node::text(here)
        };
        let remark = self.remark(Kind::Changed, &at, "image", what);
        self.remarks.push(
            remark.advise(
                "its programs are those of Debian and busybox: see that yours is among them",
            ),
        );
    }

    fn labels(&mut self, definition: &mut Map) {
        compose::edit_labels(definition, &mut |name, value, at| {
            if ORDER.contains(&name) {
                return self.order(name, value, at);
            }
            if name.starts_with("io.rancher.user_docker.") {
                let what = format!("No effect here: label {name}");
                let remark = self.remark(Kind::NoEffect, at, "labels", what);
                self.remarks.push(remark.advise(
                    "there are no further Dockers: run docker:dind as a service of your own",
                ));
            }
            Label::Stays
        });
    }

    /// `after` and `before` without the services that are gone.
    fn order(&mut self, label: &str, value: &str, at: &Position) -> Label {
        let names = value
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let left: Vec<&str> = names
            .filter_map(|name| match fate(name) {
                Some(Fate::In(other)) => Some(other),
                Some(Fate::Gone(..)) => None,
                Some(Fate::Here) | None => Some(name),
            })
            .collect();
        let is_touched = value.split(',').any(|name| gone(name.trim()).is_some());
        if !is_touched {
            return Label::Stays;
        }
        let left = left.join(",");
        let what = format!("{label} names services that are gone: written as `{left}`");
        let remark = self.remark(Kind::Changed, at, "labels", what);
        self.remarks.push(remark);
        if left.is_empty() {
            Label::Goes
        } else {
            Label::Becomes(left)
        }
    }

    /// The system's Docker of 1.x had a bridge.
    fn network(&mut self, at: &Position, definition: &mut Map) {
        let mut is_of_the_system = false;
        compose::edit_labels(definition, &mut |name, value, _| {
            is_of_the_system |= name == SCOPE && value == "system";
            Label::Stays
        });
        let has_network = ["net", "network_mode"]
            .iter()
            .any(|key| definition.contains_key(*key));
        if !is_of_the_system || has_network {
            return;
        }
        let what = "Means something else here: the system's Docker has no bridge, so the service has no network";
        let remark = self.remark(Kind::Different, at, "", what);
        self.remarks.push(remark
            .advise("add `net: host`, and have the program listen on the published port; or take the label of its scope out, and your Docker runs it")
            .needing(Need::Hands));
    }
}

/// The name behind `rancher/os-`, in any registry and with any tag; `None`: not an image of the OS.
fn of_the_os(image: &str) -> Option<&str> {
    let mut parts = image.rsplit('/');
    let last = parts.next()?;
    if !matches!(parts.next(), Some("rancher" | "burmilla")) {
        return None;
    }
    let name = last.split([':', '@']).next()?;
    let other = || OTHER_IMAGES.contains(&name).then_some(name);
    name.strip_prefix("os-").or_else(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// The folders of the services that this release brings, and their images.
    fn shipped() -> (BTreeSet<String>, BTreeSet<String>) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../system-services");
        let (mut names, mut images) = (BTreeSet::new(), BTreeSet::new());
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let Ok(bytes) = std::fs::read(entry.path().join("service.yml")) else {
                continue;
            };
            names.insert(entry.file_name().into_string().unwrap());
            let value = crate::yaml::parse(&bytes, "service")
                .unwrap()
                .root
                .to_value();
            let image = value["image"].as_str().and_then(of_the_os).unwrap();
            images.insert(image.to_owned());
        }
        assert!(names.len() > 10, "{names:?}");
        (names, images)
    }

    #[test]
    fn the_tables_agree_with_what_is_shipped() {
        let (names, images) = shipped();
        for (name, fate) in &BUILT_IN {
            match fate {
                Fate::Here => assert!(names.contains(*name), "{name} is gone"),
                Fate::In(other) => {
                    assert!(names.contains(*other) && !names.contains(*name), "{name}")
                }
                Fate::Gone(..) => assert!(!names.contains(*name), "{name} is here"),
            }
        }
        let known: BTreeSet<String> = IMAGES.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(images, known);
        assert!(includes::repository().all(|name| !names.contains(name)));
    }

    #[test]
    fn images_of_the_os_are_known_by_their_names() {
        for (image, name) in [
            ("rancher/os-base:v1.5.8", Some("base")),
            (
                "${REGISTRY_DOMAIN}/rancher/os-console:${VERSION}${SUFFIX}",
                Some("console"),
            ),
            (
                "registry.example.com:5000/rancher/os-ntp@sha256:00",
                Some("ntp"),
            ),
            ("burmilla/os-base:v2.0.1", Some("base")),
            ("rancher/os:v1.5.8", Some("os")),
            ("rancher/server", None),
            ("os-base", None),
            ("someone/os-base", None),
        ] {
            assert_eq!(of_the_os(image), name, "{image}");
        }
    }
}
