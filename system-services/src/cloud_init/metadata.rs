//! Metadata of OpenStack and NoCloud, put into ours. Pure; a field of an unexpected type is left out.

use os_config::Metadata;
use os_config::types::Ordered;
use serde_json::Value;

/// `meta_data.json` of a config drive.
#[must_use]
pub fn from_openstack(value: &Value) -> Metadata {
    Metadata {
        hostname: text(value, "hostname"),
        ssh_public_keys: keys(&value["public_keys"]),
        ..Metadata::default()
    }
}

/// Where a config drive keeps its network configuration, relative to `openstack/`.
#[must_use]
pub fn network_path(value: &Value) -> Option<&str> {
    let path = value["network_config"]["content_path"].as_str()?;
    let path = path.trim_start_matches('/');
    (!path.is_empty() && !path.split('/').any(|part| part == "..")).then_some(path)
}

/// `meta-data` of NoCloud.
#[must_use]
pub fn from_no_cloud(value: &Value) -> Metadata {
    let local = text(value, "local-hostname");
    Metadata {
        hostname: if local.is_empty() {
            text(value, "hostname")
        } else {
            local
        },
        ssh_public_keys: keys(&value["public-keys"]),
        ..Metadata::default()
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// A map of names to keys (a key, a list of keys, or EC2's `{openssh-key: …}`), a list of keys, or one key.
fn keys(value: &Value) -> Ordered<String> {
    let mut keys = Ordered::new();
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                add(&mut keys, name, value);
            }
        }
        other => add(&mut keys, "key", other),
    }
    keys
}

fn add(keys: &mut Ordered<String>, name: &str, value: &Value) {
    match value {
        Value::String(key) if !key.trim().is_empty() => {
            keys.insert(name.to_owned(), key.trim().to_owned());
        }
        Value::Array(list) => {
            for (number, value) in list.iter().enumerate() {
                add(keys, &format!("{name}-{number}"), value);
            }
        }
        Value::Object(map) => {
            if let Some(key) = map.get("openssh-key") {
                add(keys, name, key);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_come_in_several_shapes() {
        let found = |value| {
            from_no_cloud(&json!({ "public-keys": value }))
                .ssh_public_keys
                .into_iter()
                .collect::<Vec<_>>()
        };
        let key = |name: &str, key: &str| (name.to_owned(), key.to_owned());
        assert_eq!(found(json!("ssh-rsa A\n")), [key("key", "ssh-rsa A")]);
        assert_eq!(
            found(json!(["A", "B"])),
            [key("key-0", "A"), key("key-1", "B")]
        );
        assert_eq!(
            found(json!({ "x": ["A"], "y": { "openssh-key": "B" } })),
            [key("x-0", "A"), key("y", "B")]
        );
        assert_eq!(found(json!(7)), []);
    }

    #[test]
    fn the_local_name_wins() {
        let value = json!({ "local-hostname": "a", "hostname": "b" });
        assert_eq!(from_no_cloud(&value).hostname, "a");
        assert_eq!(from_openstack(&value).hostname, "b");
    }

    #[test]
    fn a_content_path_stays_on_the_drive() {
        let path = |path: &str| json!({ "network_config": { "content_path": path } });
        assert_eq!(network_path(&path("/content/0000")), Some("content/0000"));
        assert_eq!(network_path(&path("../../etc/shadow")), None);
    }
}
