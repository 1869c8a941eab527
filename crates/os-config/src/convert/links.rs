//! Cards that the file does not name: RancherOS 1.x left them alone as soon as one was named, here the shipped `eth*: {dhcp: true}` stays in
//! force for them. Owns this one difference.

use super::remark::{Kind, Remark};
use super::{Work, tree};
use crate::node::{Data, Entry, Map, Node};

const GLOB: &str = "eth*";
const KEY: [&str; 3] = ["rancher", "network", "interfaces"];

pub(super) fn apply(work: &mut Work<'_>) {
    let Some(map) = tree::map(&mut work.tree, &KEY) else {
        return;
    };
    let Some(first) = map.values().next().map(|entry| entry.key.clone()) else {
        return;
    };
    let (what, advice) = if let Some(entry) = map.get_mut(GLOB) {
        if has_dhcp(&entry.node) {
            return;
        }
        set_no_dhcp(&mut entry.node);
        (
            "`dhcp: false` is added: the shipped entry of this name says true and would count with it",
            "take it out if the cards are to have addresses by DHCP as well",
        )
    } else if let Some(like) = widest(map) {
        let mut entry = like;
        if !has_dhcp(&entry.node) {
            set_no_dhcp(&mut entry.node);
        }
        map.insert(GLOB.to_owned(), entry);
        (
            "Repeated for `eth*`: a longer pattern beats a shorter one, and the shipped configuration has `eth*: {dhcp: true}`",
            "",
        )
    } else if map.len() == 1 && map.contains_key("lo") {
        return;
    } else {
        let mut entry = Entry {
            key: first.clone(),
            node: Node::default(),
        };
        set_no_dhcp(&mut entry.node);
        map.insert(GLOB.to_owned(), entry);
        (
            "`eth*: {dhcp: false}` is added: cards that are not named got nothing in RancherOS 1.x, here they would ask for an address",
            "take it out if that is welcome",
        )
    };
    let remark = Remark::new(Kind::Changed, &first, &KEY.join("."), what);
    work.remarks.push(remark.advise(advice));
}

fn has_dhcp(node: &Node) -> bool {
    node.as_map().is_some_and(|map| map.contains_key("dhcp"))
}

fn set_no_dhcp(node: &mut Node) {
    let position = node.position.clone();
    if let Data::Map(map) = &mut node.data {
        let no = Node {
            data: Data::Scalar {
                text: "false".into(),
                quoted: false,
            },
            position: position.clone(),
        };
        let entry = Entry {
            key: position,
            node: no,
        };
        map.insert("dhcp".into(), entry);
    }
}

/// The first entry that meets every `ethN` by a pattern that is shorter than the shipped one.
fn widest(map: &Map) -> Option<Entry> {
    let meets = |name: &str| matches!(name, "*" | "e*" | "et*" | "e*h*" | "?th*");
    map.iter()
        .find(|(name, entry)| {
            let own = entry.node.as_map().and_then(|map| map.get("match"));
            meets(own.map_or(name.as_str(), |own| tree::text(&own.node)))
        })
        .map(|(_, entry)| {
            let mut entry = entry.clone();
            tree::remove(&mut entry.node, &["match"]);
            entry
        })
}

#[cfg(test)]
mod tests {
    use crate::yaml;
    use std::path::Path;

    /// What this module is about.
    #[test]
    fn the_shipped_configuration_asks_for_dhcp_on_every_card() {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../system-services/os-config.yml");
        let tree = yaml::parse(&std::fs::read(file).unwrap(), "shipped")
            .unwrap()
            .root;
        let shipped = &tree.to_value()["rancher"]["network"]["interfaces"];
        assert_eq!(*shipped, serde_json::json!({"eth*": {"dhcp": true}}));
    }
}
