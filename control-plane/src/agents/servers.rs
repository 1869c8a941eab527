//! Where the servers are reached, as agents are told. Pure.

use std::collections::BTreeMap;

use api::agent::Frame;
use bytes::Bytes;

use super::pack::pack_frame;
use crate::presence::SERVERS;
use crate::store::Change;

/// What each server says of itself.
#[derive(Debug, Default)]
pub struct Servers(BTreeMap<String, Vec<String>>);

impl Servers {
    /// Takes a change of the store. True: agents must hear of it.
    pub fn take(&mut self, change: &Change) -> bool {
        let Some(server) = change.key().strip_prefix(SERVERS) else {
            return false;
        };
        match change {
            Change::Put(entry) => {
                let urls: Vec<String> = serde_json::from_slice(&entry.value).unwrap_or_default();
                self.0.insert(server.to_owned(), urls.clone()) != Some(urls)
            }
            Change::Delete { .. } => {
                // One that has gone may come back, and agents pass over it meanwhile: they are told only when another comes.
                self.0.remove(server);
                false
            }
        }
    }

    /// The frame that tells all of them.
    pub fn frame(&self) -> Bytes {
        let mut urls: Vec<String> = self.0.values().flatten().cloned().collect();
        urls.sort();
        urls.dedup();
        pack_frame(&Frame::Servers { urls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::pack::tests::unpack;
    use crate::store::Entry;

    #[test]
    fn agents_hear_of_servers_that_come() {
        let mut servers = Servers::default();
        let key = |name: &str| format!("{SERVERS}{name}");
        let put = |name: &str, urls: &str| {
            Change::Put(Entry {
                key: key(name),
                value: urls.into(),
                revision: 1,
            })
        };
        assert!(servers.take(&put("b", r#"["https://b:1"]"#)));
        assert!(servers.take(&put("a", r#"["https://a:1","https://b:1"]"#)));
        assert!(!servers.take(&put("b", r#"["https://b:1"]"#)));
        let urls = vec!["https://a:1".into(), "https://b:1".into()];
        assert_eq!(unpack(&[servers.frame()]), [Frame::Servers { urls }]);
        let gone = Change::Delete {
            key: key("a"),
            revision: 2,
        };
        assert!(!servers.take(&gone));
        assert!(!servers.take(&put("c", "no list")) || servers.0["c"].is_empty());
    }
}
