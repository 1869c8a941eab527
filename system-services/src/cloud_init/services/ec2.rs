//! Services that give each value at a path of its own: EC2's (versions 2 and 1 of IMDS), Alibaba Cloud's, CloudStack's and Exoscale's.
//! Sources: "Access instance metadata for an EC2 instance" of AWS, "Instance metadata" of Alibaba Cloud, "Using user-data" of Apache CloudStack.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use os_config::Metadata;
use os_config::types::Ordered;

use super::service::Service;
use super::{ipv4, ipv6};
use crate::cloud_init::Found;
use crate::cloud_init::fetch::Error;

/// For as long as anybody could want it here, in seconds.
const TOKEN_LIFE: &str = "300";
/// More keys are not looked for.
const MOST_KEYS: usize = 64;

/// Amazon EC2.
pub fn ask(service: &mut Service<'_>) -> Result<Option<Found>, Error> {
    let life = ("X-aws-ec2-metadata-token-ttl-seconds", TOKEN_LIFE);
    // Who has no tokens speaks version 1.
    if let Some(token) = service.token("latest/api/token", life)? {
        service.header("X-aws-ec2-metadata-token", token);
    }
    if !is_there(service, "latest/meta-data/instance-id")? {
        return Ok(None);
    }
    let mut tree = Tree(service, "latest/meta-data");
    let metadata = Metadata {
        hostname: tree.word("hostname"),
        ssh_public_keys: tree.listed_keys(),
        private_ipv4: ipv4(&tree.word("local-ipv4")),
        public_ipv4: ipv4(&tree.word("public-ipv4")),
        public_ipv6: ipv6(&tree.word("ipv6")),
        ..Metadata::default()
    };
    found(service, "latest/user-data", metadata)
}

/// Alibaba Cloud.
pub fn aliyun(service: &mut Service<'_>) -> Result<Option<Found>, Error> {
    let life = ("X-aliyun-ecs-metadata-token-ttl-seconds", TOKEN_LIFE);
    if let Some(token) = service.token("latest/api/token", life)? {
        service.header("X-aliyun-ecs-metadata-token", token);
    }
    if !is_there(service, "2016-01-01/meta-data/instance-id")? {
        return Ok(None);
    }
    let mut tree = Tree(service, "2016-01-01/meta-data");
    let metadata = Metadata {
        hostname: tree.word("hostname"),
        ssh_public_keys: tree.listed_keys(),
        private_ipv4: ipv4(&tree.word("private-ipv4")),
        public_ipv4: ipv4(&tree.word("eipv4")),
        ..Metadata::default()
    };
    found(service, "2016-01-01/user-data", metadata)
}

/// Apache CloudStack, and Exoscale under another version.
pub fn cloudstack(service: &mut Service<'_>, version: &str) -> Result<Option<Found>, Error> {
    let below = format!("{version}/meta-data");
    if !is_there(service, &format!("{below}/instance-id"))? {
        return Ok(None);
    }
    let mut tree = Tree(service, &below);
    let metadata = Metadata {
        hostname: tree.word("local-hostname"),
        ssh_public_keys: plain_keys(&tree.text("public-keys")),
        private_ipv4: ipv4(&tree.word("local-ipv4")),
        public_ipv4: ipv4(&tree.word("public-ipv4")),
        ..Metadata::default()
    };
    found(service, &format!("{version}/user-data"), metadata)
}

/// Whom the leases are from: with CloudStack the virtual router, which knows the metadata, too.
#[must_use]
pub fn dhcp_servers(leases: &Path) -> Vec<Ipv4Addr> {
    let files = fs::read_dir(leases).into_iter().flatten().flatten();
    let mut servers: Vec<Ipv4Addr> = files
        .filter_map(|file| fs::read_to_string(file.path()).ok())
        .filter_map(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("dhcp_server_identifier="));
            line?.trim().parse().ok()
        })
        .collect();
    servers.sort_unstable();
    servers.dedup();
    servers
}

/// Something that calls itself an instance is there.
fn is_there(service: &mut Service<'_>, path: &str) -> Result<bool, Error> {
    let id = service.text(path)?;
    // One line: whoever answers everything with a page is not asked.
    Ok(id.is_some_and(|id| !id.trim().is_empty() && id.trim().lines().count() == 1))
}

fn found(
    service: &mut Service<'_>,
    user_data: &str,
    metadata: Metadata,
) -> Result<Option<Found>, Error> {
    Ok(Some(Found {
        user_data: service.bytes(user_data)?.unwrap_or_default(),
        metadata,
        ..Found::default()
    }))
}

/// Values below a path.
struct Tree<'s, 'c, 'p>(&'s mut Service<'c>, &'p str);

impl Tree<'_, '_, '_> {
    fn text(&mut self, path: &str) -> String {
        let found = self.0.optional(&format!("{}/{path}", self.1));
        String::from_utf8_lossy(&found.unwrap_or_default()).into_owned()
    }

    /// The first word: EC2 lists several host names when it is told of several.
    fn word(&mut self, path: &str) -> String {
        let text = self.text(path);
        let word = text.split_whitespace().next();
        word.unwrap_or_default().to_owned()
    }

    /// `public-keys/` lists `NUMBER=NAME` (EC2) or `NAME/` (Alibaba Cloud); each has its key in a form of its own.
    fn listed_keys(&mut self) -> Ordered<String> {
        let mut keys = Ordered::new();
        for line in self.text("public-keys/").lines().take(MOST_KEYS) {
            // Services that only look like EC2 list the keys themselves.
            if line.trim().contains(' ') {
                let name = format!("key-{}", keys.len());
                keys.insert(name, line.trim().to_owned());
                continue;
            }
            let (place, name) = line.trim().split_once('=').unwrap_or((line.trim(), ""));
            let place = place.trim_end_matches('/');
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if place.is_empty() || !place.chars().all(is_plain) || place.starts_with('.') {
                continue;
            }
            let key = self.text(&format!("public-keys/{place}/openssh-key"));
            let name = if name.is_empty() { place } else { name };
            if !key.trim().is_empty() {
                keys.insert(name.to_owned(), key.trim().to_owned());
            }
        }
        keys
    }
}

/// A key a line.
fn plain_keys(text: &str) -> Ordered<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let named = lines.enumerate();
    named
        .map(|(number, key)| (format!("key-{number}"), key.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Cloud;
    use super::super::testing::{Fake, Rule, keys};
    use super::*;

    const AMAZON: [(&str, &str); 8] = [
        ("/latest/meta-data/instance-id", "i-0abc"),
        (
            "/latest/meta-data/hostname",
            "ip-10-0-0-5.ec2.internal other.example\n",
        ),
        ("/latest/meta-data/local-ipv4", "10.0.0.5"),
        ("/latest/meta-data/public-ipv4", "203.0.113.5"),
        ("/latest/meta-data/public-keys/", "0=ops\n1=dev"),
        (
            "/latest/meta-data/public-keys/0/openssh-key",
            "ssh-ed25519 AAAA ops\n",
        ),
        (
            "/latest/meta-data/public-keys/1/openssh-key",
            "ssh-ed25519 BBBB dev\n",
        ),
        ("/latest/user-data", "#cloud-config\nhostname: web\n"),
    ];

    fn judge(found: &Found) {
        assert_eq!(found.user_data, b"#cloud-config\nhostname: web\n");
        assert_eq!(found.metadata.hostname, "ip-10-0-0-5.ec2.internal");
        assert_eq!(found.metadata.private_ipv4, "10.0.0.5");
        assert_eq!(found.metadata.public_ipv4, "203.0.113.5");
        assert_eq!(found.metadata.public_ipv6, "");
        assert_eq!(
            keys(found),
            [
                ("ops", "ssh-ed25519 AAAA ops"),
                ("dev", "ssh-ed25519 BBBB dev")
            ]
        );
    }

    #[test]
    fn amazon_by_tokens() {
        let mut fake = Fake::new();
        fake.add(
            Rule::put("/latest/api/token", "TOKEN==")
                .wants("x-aws-ec2-metadata-token-ttl-seconds", "300"),
        );
        for (path, body) in AMAZON {
            fake.add(Rule::get(path, body).wants("x-aws-ec2-metadata-token", "TOKEN=="));
        }
        judge(&fake.ask(Cloud::Ec2).unwrap().unwrap());
    }

    #[test]
    fn amazon_without_tokens() {
        let mut fake = Fake::new();
        for (path, body) in AMAZON {
            fake.add(Rule::get(path, body));
        }
        judge(&fake.ask(Cloud::Ec2).unwrap().unwrap());
    }

    #[test]
    fn who_answers_everything_is_not_amazon() {
        let mut fake = Fake::new();
        fake.add(Rule::any("<html>\n<body>Log in\n"));
        assert_eq!(fake.ask(Cloud::Ec2).unwrap(), None);
        assert_eq!(Fake::new().ask(Cloud::Ec2).unwrap(), None);
    }

    #[test]
    fn alibaba_lists_keys_as_folders() {
        let mut fake = Fake::new();
        fake.add(Rule::put("/latest/api/token", "T"));
        for (path, body) in [
            ("instance-id", "i-1"),
            ("hostname", "iZ1"),
            ("private-ipv4", "172.16.0.5"),
            ("eipv4", "not an address"),
            ("public-keys/", "skp-1/\n../evil/"),
            ("public-keys/skp-1/openssh-key", "ssh-rsa A"),
        ] {
            let path = format!("/2016-01-01/meta-data/{path}");
            fake.add(Rule::get(&path, body).wants("x-aliyun-ecs-metadata-token", "T"));
        }
        let found = fake.ask(Cloud::Aliyun).unwrap().unwrap();
        assert_eq!(keys(&found), [("skp-1", "ssh-rsa A")]);
        assert_eq!(found.metadata.private_ipv4, "172.16.0.5");
        assert_eq!(found.metadata.public_ipv4, "");
        assert_eq!(found.user_data, b"");
    }

    #[test]
    fn cloudstack_and_exoscale_list_keys_in_lines() {
        for (cloud, version) in [(Cloud::CloudStack, "latest"), (Cloud::Exoscale, "1.0")] {
            let mut fake = Fake::new();
            for (path, body) in [
                ("meta-data/instance-id", "5a"),
                ("meta-data/local-hostname", "vm-1"),
                ("meta-data/local-ipv4", "10.1.1.7"),
                ("meta-data/public-keys", "ssh-rsa A\n\nssh-rsa B\n"),
                ("user-data", "#!/bin/sh\n"),
            ] {
                fake.add(Rule::get(&format!("/{version}/{path}"), body));
            }
            let found = fake.ask(cloud).unwrap().unwrap();
            assert_eq!(found.metadata.hostname, "vm-1");
            assert_eq!(found.user_data, b"#!/bin/sh\n");
            assert_eq!(
                keys(&found),
                [("key-0", "ssh-rsa A"), ("key-1", "ssh-rsa B")]
            );
        }
    }

    #[test]
    fn servers_of_leases() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(
            "eth0",
            "ip_address=10.0.0.9\ndhcp_server_identifier=10.0.0.1\n",
        );
        write("eth1", "dhcp_server_identifier=10.0.0.1\n");
        write("eth2", "dhcp_server_identifier=\n");
        assert_eq!(dhcp_servers(folder.path()), [Ipv4Addr::new(10, 0, 0, 1)]);
        assert!(dhcp_servers(&folder.path().join("none")).is_empty());
    }
}
