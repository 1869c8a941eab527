//! Google Compute Engine: one document of everything. Source: "About VM metadata" of Google Cloud, `?recursive=true`.

use jiff::Timestamp;
use os_config::Metadata;
use os_config::types::Ordered;
use serde_json::Value;

use super::ipv4;
use super::service::Service;
use crate::cloud_init::Found;
use crate::cloud_init::fetch::Error;

/// Asks it.
pub fn ask(service: &mut Service<'_>) -> Result<Option<Found>, Error> {
    service.header("Metadata-Flavor", "Google");
    let document = service.json("computeMetadata/v1/?recursive=true")?;
    Ok(document.and_then(|document| read(&document, Timestamp::now())))
}

fn read(document: &Value, now: Timestamp) -> Option<Found> {
    let (instance, project) = (&document["instance"], &document["project"]);
    instance.as_object()?;
    let own = &instance["attributes"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let user_data = [&own["user-data"], &own["startup-script"]];
    let user_data = user_data.into_iter().find(|value| value.is_string());
    let network = &instance["networkInterfaces"][0];
    let mut keys = Ordered::new();
    for list in [&own["ssh-keys"], &own["sshKeys"]] {
        add_keys(&mut keys, &text(list), now);
    }
    // The older key of a machine shuts the project's out, too.
    let is_blocked = !text(&own["sshKeys"]).is_empty()
        || text(&own["block-project-ssh-keys"]).eq_ignore_ascii_case("true");
    if !is_blocked {
        for list in [
            &project["attributes"]["ssh-keys"],
            &project["attributes"]["sshKeys"],
        ] {
            add_keys(&mut keys, &text(list), now);
        }
    }
    Some(Found {
        user_data: user_data.map(text).unwrap_or_default().into_bytes(),
        metadata: Metadata {
            hostname: text(&instance["hostname"]),
            ssh_public_keys: keys,
            private_ipv4: ipv4(&text(&network["ip"])),
            public_ipv4: ipv4(&text(&network["accessConfigs"][0]["externalIp"])),
            ..Metadata::default()
        },
        ..Found::default()
    })
}

/// Lines `USER:KEY`; a comment `google-ssh {"userName":…,"expireOn":…}` says until when.
fn add_keys(keys: &mut Ordered<String>, lines: &str, now: Timestamp) {
    for line in lines.lines() {
        let Some((user, key)) = line.trim().split_once(':') else {
            continue;
        };
        if key.trim().is_empty() || has_expired(key, now) {
            continue;
        }
        let number = keys.len();
        keys.insert(format!("{user}-{number}"), key.trim().to_owned());
    }
}

fn has_expired(key: &str, now: Timestamp) -> bool {
    let Some((_, comment)) = key.split_once(" google-ssh ") else {
        return false;
    };
    let comment: Value = serde_json::from_str(comment.trim()).unwrap_or_default();
    match &comment["expireOn"] {
        Value::Null => false,
        // A time that cannot be read is taken for one that is over.
        when => when
            .as_str()
            .and_then(|when| when.parse::<Timestamp>().ok())
            .is_none_or(|when| when <= now),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cloud;
    use super::super::testing::{Fake, Rule, keys};
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        json!({
            "instance": {
                "hostname": "vm-1.c.project.internal",
                "attributes": {
                    "user-data": "#cloud-config\n",
                    "startup-script": "#!/bin/sh\n",
                    "ssh-keys": concat!(
                        "ops:ssh-ed25519 AAAA ops\n",
                        "old:ssh-rsa B google-ssh {\"userName\":\"o@x\",\"expireOn\":\"2020-01-02T03:04:05+0000\"}\n",
                        "new:ssh-rsa C google-ssh {\"userName\":\"n@x\",\"expireOn\":\"2999-01-02T03:04:05+0000\"}"
                    )
                },
                "networkInterfaces": [{ "ip": "10.128.0.5", "accessConfigs": [{ "externalIp": "203.0.113.9" }] }]
            },
            "project": { "attributes": { "ssh-keys": "all:ssh-ed25519 DDDD all" } }
        })
    }

    #[test]
    fn google_says_everything_at_once() {
        let mut fake = Fake::new();
        fake.add(
            Rule::get(
                "/computeMetadata/v1/?recursive=true",
                &document().to_string(),
            )
            .wants("metadata-flavor", "Google"),
        );
        let found = fake.ask(Cloud::Gce).unwrap().unwrap();
        assert_eq!(found.user_data, b"#cloud-config\n");
        assert_eq!(found.metadata.hostname, "vm-1.c.project.internal");
        assert_eq!(found.metadata.private_ipv4, "10.128.0.5");
        assert_eq!(found.metadata.public_ipv4, "203.0.113.9");
        let names: Vec<_> = keys(&found).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["ops-0", "new-1", "all-2"]);
    }

    #[test]
    fn projects_keys_can_be_blocked_and_scripts_are_user_data() {
        let mut document = document();
        let own = &mut document["instance"]["attributes"];
        own["block-project-ssh-keys"] = "TRUE".into();
        own["user-data"] = Value::Null;
        let found = read(&document, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(found.user_data, b"#!/bin/sh\n");
        assert_eq!(keys(&found).len(), 3);
        assert_eq!(read(&json!({}), Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn the_older_key_of_a_machine_shuts_the_projects_out() {
        let mut document = document();
        document["instance"]["attributes"]["sshKeys"] = "ops:ssh-ed25519 EEEE ops".into();
        let found = read(&document, Timestamp::UNIX_EPOCH).unwrap();
        assert!(
            keys(&found)
                .iter()
                .all(|(name, _)| !name.starts_with("all"))
        );
    }

    #[test]
    fn keys_end() {
        let key = |when: &str| format!("ssh-rsa A google-ssh {{\"expireOn\":{when}}}");
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        for (when, expected) in [
            ("\"2026-11-22T10:20:30+0000\"", false),
            ("\"2026-11-22T10:20:30+01:00\"", true),
            ("\"2026-11-22T09:59:59Z\"", true),
            ("\"tomorrow\"", true),
            ("7", true),
            ("null", false),
        ] {
            assert_eq!(has_expired(&key(when), now), expected, "{when}");
        }
        assert!(!has_expired("ssh-rsa A me@x", now));
    }
}
