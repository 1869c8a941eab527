//! What puts a changed key of the cloud-config into effect: who reads it, and what has changed since he read it. Pure.

use crate::node::{Data, Node};
use crate::schema::{self, ROOT, Schema, child};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Who reads a key, in the order in which they are told of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reader {
    /// The console's settings that need no new start: keys, files, mounts, kernel settings.
    Settings,
    /// The network service.
    Network,
    /// The service manager.
    Services,
    /// The server of the cluster, service `control-plane`.
    Server,
    /// The clock's service, `ntp`.
    Ntp,
    /// The user's Docker.
    Docker,
    /// The console, at its start.
    Console,
    /// PID 1 and what it starts.
    Boot,
}

impl Reader {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Settings,
        Self::Network,
        Self::Services,
        Self::Server,
        Self::Ntp,
        Self::Docker,
        Self::Console,
        Self::Boot,
    ];

    /// Its name in files and for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Network => "network",
            Self::Services => "services",
            Self::Server => "server",
            Self::Ntp => "ntp",
            Self::Docker => "docker",
            Self::Console => "console",
            Self::Boot => "boot",
        }
    }
}

/// Readers of each key and of what is below it, unless a longer one says otherwise.
const READERS: &[(&str, &[Reader])] = &[
    ("hostname", &[Reader::Network]),
    ("ssh_authorized_keys", &[Reader::Settings]),
    ("write_files", &[Reader::Settings]),
    ("mounts", &[Reader::Settings]),
    ("runcmd", &[Reader::Settings]),
    ("users", &[Reader::Settings]),
    ("ntp", &[Reader::Ntp]),
    ("ntp.enabled", &[Reader::Boot]),
    ("bootcmd", &[Reader::Boot]),
    ("rancher.environment", &[Reader::Services, Reader::Console]),
    ("rancher.services", &[Reader::Services]),
    ("rancher.services_include", &[Reader::Services]),
    ("rancher.registry_auths", &[Reader::Services]),
    ("rancher.preload_wait", &[Reader::Services]),
    ("rancher.cluster", &[Reader::Services]),
    (
        "rancher.cluster.server",
        &[Reader::Services, Reader::Server],
    ),
    ("rancher.docker", &[Reader::Docker]),
    ("rancher.system_docker", &[Reader::Boot]),
    ("rancher.cloud_init", &[Reader::Boot]),
    (
        "rancher.debug",
        &[Reader::Docker, Reader::Console, Reader::Boot],
    ),
    ("rancher.recovery", &[Reader::Boot]),
    ("rancher.disable", &[Reader::Console]),
    ("rancher.modules", &[Reader::Boot]),
    ("rancher.network", &[Reader::Network]),
    ("rancher.network.http_proxy", PROXY),
    ("rancher.network.https_proxy", PROXY),
    ("rancher.network.no_proxy", PROXY),
    ("rancher.ssh", &[Reader::Console]),
    ("rancher.state", &[Reader::Boot]),
    ("rancher.sysctl", &[Reader::Settings]),
    ("rancher.shutdown_timeout", &[Reader::Boot]),
    ("rancher.defaults", &[Reader::Network]),
    ("rancher.defaults.system_docker_logs", &[Reader::Boot]),
];
const PROXY: &[Reader] = &[Reader::Docker, Reader::Console, Reader::Boot];

/// Who reads a key; nobody reads what has no effect in this release.
#[must_use]
pub fn readers(key: &str) -> &'static [Reader] {
    let is_at_or_below = |top: &str| {
        let rest = key.strip_prefix(top);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let fitting = READERS.iter().filter(|(top, _)| is_at_or_below(top));
    let longest = fitting.max_by_key(|(top, _)| top.len());
    longest.map_or(&[], |(_, readers)| readers)
}

/// A number for the value of each key, which stands for it where the value itself may be secret. The same within one release.
pub type Digests = BTreeMap<String, u64>;

/// The digests of the keys that `reader` reads, of a merged and checked tree.
#[must_use]
pub fn digests(tree: &Node, reader: Reader) -> Digests {
    let mut all = Digests::new();
    collect(tree, &ROOT, "", &mut |key, value| {
        if readers(key).contains(&reader) {
            let mut hasher = DefaultHasher::new();
            value.to_string().hash(&mut hasher);
            all.insert(key.to_owned(), hasher.finish());
        }
    });
    all
}

/// Keys down to what is set as one: a scalar, a list, a service.
fn collect(
    node: &Node,
    schema: &'static Schema,
    key: &str,
    give: &mut impl FnMut(&str, serde_json::Value),
) {
    let is_unit = matches!(schema, Schema::Any | Schema::AnyMap);
    match &node.data {
        Data::Map(map) if !is_unit => {
            for (name, entry) in map {
                let dot = if key.is_empty() { "" } else { "." };
                let inner = child(schema, name).unwrap_or(&Schema::Any);
                collect(&entry.node, inner, &format!("{key}{dot}{name}"), give);
            }
        }
        _ => give(key, schema::to_value(node, schema)),
    }
}

/// Keys whose value is not that of `before`.
#[must_use]
pub fn changed(before: &Digests, now: &Digests) -> BTreeSet<String> {
    let keys = before.keys().chain(now.keys());
    keys.filter(|key| before.get(*key) != now.get(*key))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Kind;

    fn tree(text: &str) -> Node {
        crate::yaml::parse(text.as_bytes(), "test").unwrap().root
    }

    fn difference(before: &str, now: &str, reader: Reader) -> Vec<String> {
        let digests = |text| digests(&tree(text), reader);
        Vec::from_iter(changed(&digests(before), &digests(now)))
    }

    /// Keys that hold values, with whether they are read at all.
    fn leaves(schema: &'static Schema, key: &str, found: &mut Vec<(String, bool)>) {
        let (Schema::Object(keys) | Schema::Switch(keys)) = schema else {
            return;
        };
        for one in *keys {
            let dot = if key.is_empty() { "" } else { "." };
            let path = format!("{key}{dot}{}", one.name);
            let is_read = !matches!(one.kind, Kind::Planned | Kind::Ignored(_));
            match &one.schema {
                Schema::Object(_) if is_read => leaves(&one.schema, &path, found),
                _ => found.push((path, is_read)),
            }
        }
    }

    #[test]
    fn every_key_that_is_read_has_a_reader() {
        let mut found = Vec::new();
        leaves(&ROOT, "", &mut found);
        for (key, is_read) in found {
            // The first is for files of 1.x, the second is printed and no more.
            let is_of_nobody = ["EXTRA_CMDLINE", "rancher.upgrade.image"].contains(&&*key);
            if is_read && !is_of_nobody {
                assert!(!readers(&key).is_empty(), "{key}");
            }
        }
        assert!(readers("rancher.console").is_empty());
        assert!(readers("hostnames").is_empty());
    }

    #[test]
    fn the_longest_key_says_who_reads() {
        assert_eq!(readers("rancher.network.dns.search"), [Reader::Network]);
        assert_eq!(readers("rancher.network.no_proxy"), PROXY);
        assert_eq!(
            readers("rancher.defaults.system_docker_logs"),
            [Reader::Boot]
        );
    }

    #[test]
    fn changes_are_told_by_key() {
        let before = "rancher: {docker: {debug: true, tls_args: [a]}, ssh: {port: 22}}";
        let now = "rancher: {docker: {debug: on, tls_args: [a, b]}, ssh: {port: 23}}";
        assert_eq!(
            difference(before, now, Reader::Console),
            ["rancher.ssh.port"]
        );
        assert_eq!(
            difference(before, "{}", Reader::Docker),
            ["rancher.docker.debug", "rancher.docker.tls_args"]
        );
        assert_eq!(difference(before, now, Reader::Network), [""; 0]);
    }

    #[test]
    fn a_service_is_one_key() {
        let before = "rancher: {services: {web: {image: a, labels: {x: y}}}}";
        let now = "rancher: {services: {web: {image: a, labels: {x: z}}, db: {image: b}}}";
        assert_eq!(
            difference(before, now, Reader::Services),
            ["rancher.services.db", "rancher.services.web"]
        );
    }

    #[test]
    fn what_is_written_otherwise_is_the_same() {
        let before = "rancher: {sysctl: {net.ipv4.ip_forward: 1}}";
        let now = "rancher:\n  sysctl:\n    net.ipv4.ip_forward: '1'";
        assert_eq!(difference(before, now, Reader::Settings), [""; 0]);
    }
}
