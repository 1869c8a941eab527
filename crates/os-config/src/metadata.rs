//! What a datasource says about the machine (`/var/lib/rancher/conf/metadata`), and how it fills gaps.
//! Owns the file's format and the fill rules; reading and writing the file is `store`'s.

use crate::merge;
use crate::node::{Data, Map, Node};
use crate::path;
use crate::problem::Position;
use crate::schema::is_host_name;
use crate::types::Ordered;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The metadata of the machine. Empty fields are not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Host name, used when the configuration has none.
    #[serde(rename = "Hostname", alias = "hostname")]
    pub hostname: String,
    /// Public keys by name, appended to `ssh_authorized_keys` in the order of the names.
    #[serde(rename = "SSHPublicKeys", alias = "sshpublickeys")]
    pub ssh_public_keys: Ordered<String>,
    /// A `rancher.network` map, or null.
    #[serde(rename = "NetworkConfig", alias = "networkconfig")]
    pub network_config: Value,
    /// Disk of the root file system, for `rancher.resize_device`.
    #[serde(rename = "RootDisk", alias = "rootdisk")]
    pub root_disk: String,
    /// `$public_ipv4`
    #[serde(rename = "PublicIPv4", alias = "publicipv4")]
    pub public_ipv4: String,
    /// `$public_ipv6`
    #[serde(rename = "PublicIPv6", alias = "publicipv6")]
    pub public_ipv6: String,
    /// `$private_ipv4`
    #[serde(rename = "PrivateIPv4", alias = "privateipv4")]
    pub private_ipv4: String,
    /// `$private_ipv6`
    #[serde(rename = "PrivateIPv6", alias = "privateipv6")]
    pub private_ipv6: String,
}

impl Metadata {
    /// Replaces `$public_ipv4`, `$private_ipv4`, `$public_ipv6` and `$private_ipv6` in every text below `node`;
    /// `\$public_ipv4` stays, without the backslash. Addresses that are not known are empty.
    pub fn substitute(&self, node: &mut Node) {
        match &mut node.data {
            Data::Scalar { text, .. } => {
                if text.contains("_ipv") {
                    *text = self.substituted(text);
                }
            }
            Data::List(items) => items.iter_mut().for_each(|item| self.substitute(item)),
            Data::Map(map) => map
                .values_mut()
                .for_each(|entry| self.substitute(&mut entry.node)),
        }
    }

    fn substituted(&self, text: &str) -> String {
        let names = [
            ("$public_ipv4", &self.public_ipv4),
            ("$private_ipv4", &self.private_ipv4),
            ("$public_ipv6", &self.public_ipv6),
            ("$private_ipv6", &self.private_ipv6),
        ];
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(index) = rest.find('$') {
            let (before, from) = rest.split_at(index);
            let escaped = before.ends_with('\\');
            let Some((name, address)) = names.iter().find(|(name, _)| from.starts_with(name))
            else {
                result.push_str(before);
                result.push('$');
                rest = from.get(1..).unwrap_or_default();
                continue;
            };
            result.push_str(if escaped {
                before.get(..index - 1).unwrap_or_default()
            } else {
                before
            });
            result.push_str(if escaped { name } else { address });
            rest = from.get(name.len()..).unwrap_or_default();
        }
        result.push_str(rest);
        result
    }

    /// Fills what the configuration left open: host name, resize device; appends the keys.
    pub fn fill(&self, tree: &mut Node) {
        let source = Position::whole("metadata");
        let text = |text: &str| Node {
            data: Data::Scalar {
                text: text.to_owned(),
                quoted: true,
            },
            position: source.clone(),
        };
        self.fill_text(tree, &["hostname"], self.host_name(), &text);
        self.fill_text(tree, &["rancher", "resize_device"], &self.root_disk, &text);
        let mut keys: Vec<(&String, &String)> = self.ssh_public_keys.iter().collect();
        keys.sort();
        let keys: Vec<Node> = keys
            .iter()
            .map(|(_, key)| text(key.trim()))
            .filter(|key| !blank(key))
            .collect();
        if keys.is_empty() {
            return;
        }
        match merge::take(tree, &["ssh_authorized_keys"]) {
            Some(Node {
                data: Data::List(mut items),
                position,
            }) => {
                items.extend(keys);
                merge::put(
                    tree,
                    &["ssh_authorized_keys".into()],
                    Node {
                        data: Data::List(items),
                        position,
                    },
                );
            }
            _ => {
                let node = Node {
                    data: Data::List(keys),
                    position: source,
                };
                merge::put(tree, &["ssh_authorized_keys".into()], node);
            }
        }
    }

    /// The host name that Linux takes: what the datasource said, else its first label, else nothing.
    fn host_name(&self) -> &str {
        let name = self.hostname.trim();
        let label = name.split('.').next().unwrap_or_default();
        let usable = [name, label].into_iter().find(|name| is_host_name(name));
        usable.unwrap_or_default()
    }

    fn fill_text(&self, tree: &mut Node, path: &[&str], text: &str, node: &dyn Fn(&str) -> Node) {
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        let unset = path::find(tree, &path).is_none_or(blank);
        if unset && !text.is_empty() {
            merge::put(tree, &path, node(text));
        }
    }

    /// The metadata in a parsed file; what does not fit is left out.
    #[must_use]
    pub fn from_node(node: &Node) -> Self {
        let mut metadata = Self::default();
        let Data::Map(map) = &node.data else {
            return metadata;
        };
        for (name, entry) in map {
            let text = || scalar(&entry.node).unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "hostname" => metadata.hostname = text(),
                "rootdisk" => metadata.root_disk = text(),
                "publicipv4" => metadata.public_ipv4 = text(),
                "publicipv6" => metadata.public_ipv6 = text(),
                "privateipv4" => metadata.private_ipv4 = text(),
                "privateipv6" => metadata.private_ipv6 = text(),
                "networkconfig" => metadata.network_config = entry.node.to_value(),
                "sshpublickeys" => {
                    metadata.ssh_public_keys = entry.node.as_map().map(texts).unwrap_or_default()
                }
                _ => {}
            }
        }
        metadata
    }
}

fn blank(node: &Node) -> bool {
    node.is_null() || scalar(node).is_some_and(|text| text.is_empty())
}

fn scalar(node: &Node) -> Option<String> {
    if let Data::Scalar { text, .. } = &node.data {
        Some(text.clone())
    } else {
        None
    }
}

fn texts(map: &Map) -> Ordered<String> {
    map.iter()
        .filter_map(|(name, entry)| Some((name.clone(), scalar(&entry.node)?)))
        .collect()
}
