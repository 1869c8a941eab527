//! Keys that have an effect, and another one than in RancherOS 1.x. Owns what has changed about them; the tree stays as it is.

use super::remark::{Kind, Need, Remark};
use super::{Work, services, tree};
use crate::node::Data;
use crate::problem::Position;

/// What is to be said of a key that is read.
struct Note {
    /// Its path; `*` stands for any one key.
    path: &'static str,
    kind: Kind,
    need: Need,
    what: &'static str,
    advice: &'static str,
}

const fn differs(path: &'static str, need: Need, what: &'static str, advice: &'static str) -> Note {
    Note {
        path,
        kind: Kind::Different,
        need,
        what,
        advice,
    }
}

const fn without_effect(
    path: &'static str,
    need: Need,
    what: &'static str,
    advice: &'static str,
) -> Note {
    Note {
        path,
        kind: Kind::NoEffect,
        need,
        what,
        advice,
    }
}

const SYSTEM_BRIDGE: &str =
    "No effect here: the system's Docker has no bridge, its services use the host's network";
const SYSTEM_OURS: &str = "No effect here: the machine sets this of the system's Docker itself";

static NOTES: [Note; 14] = [
    differs(
        "bootcmd",
        Need::Hands,
        "Means something else here: it runs on the host at every boot; RancherOS 1.x ran it in a container, and only if the state was not there at once",
        "see that it may run at every boot, and that its programs are busybox's or Debian's",
    ),
    differs(
        "rancher.state",
        Need::Hands,
        "Counts on the kernel line and in the OEM partition's oem-config.yml; in user-data and on the state disk it comes too late",
        "write it there",
    ),
    differs(
        "rancher.network.interfaces.lo",
        Need::Hands,
        "Means something else here: it counts; since 1.4 RancherOS passed `lo` over",
        "take it out if it is not meant any more",
    ),
    differs(
        "rancher.network.dhcp_timeout",
        Need::Nothing,
        "Means something else here: how long the boot waits for the first lease; the DHCP client itself does not give up",
        "",
    ),
    differs(
        "rancher.network.interfaces.*.dhcp_args",
        Need::Hands,
        "Means something else here: Debian's dhcpcd gets these arguments, and one process for this link alone",
        "see that they are what it knows",
    ),
    differs(
        "rancher.docker.ca_key",
        Need::Nothing,
        "Means something else here: `ros tls generate` signs with it if it is in PKCS #8",
        "`openssl pkcs8 -topk8 -nocrypt` turns the `RSA PRIVATE KEY` of old into that",
    ),
    without_effect(
        "rancher.docker.selinux_enabled",
        Need::Hands,
        "No effect here: the kernel has no SELinux",
        "take the line out",
    ),
    without_effect(
        "rancher.system_docker.bridge",
        Need::Nothing,
        SYSTEM_BRIDGE,
        "",
    ),
    without_effect(
        "rancher.system_docker.bip",
        Need::Nothing,
        SYSTEM_BRIDGE,
        "",
    ),
    without_effect(
        "rancher.system_docker.config_file",
        Need::Nothing,
        SYSTEM_OURS,
        "",
    ),
    without_effect(
        "rancher.system_docker.containerd",
        Need::Nothing,
        SYSTEM_OURS,
        "",
    ),
    without_effect(
        "rancher.system_docker.storage_driver",
        Need::Nothing,
        SYSTEM_OURS,
        "",
    ),
    without_effect(
        "rancher.ssh.keys.*",
        Need::Nothing,
        "No effect here: OpenSSH has no host keys of this type any more",
        "clients see one of the other keys",
    ),
    without_effect(
        "rancher.upgrade.image",
        Need::Nothing,
        "No effect here yet: `ros -v` prints it",
        "",
    ),
];

/// Host keys that are used; of others, `NOTES` has the remark.
const HOST_KEYS: [&str; 6] = [
    "ed25519",
    "ed25519-pub",
    "ecdsa",
    "ecdsa-pub",
    "rsa",
    "rsa-pub",
];

/// File systems that mount(8) cannot mount without a helper that the image has not.
const NEED_HELPERS: [&str; 5] = ["nfs", "nfs4", "cifs", "smbfs", "smb3"];

/// Keys that RancherOS 1.x passed over. Only a release that has them gets as far as to speak of them.
const NEW: [&str; 2] = ["users", "ntp"];

/// Files that programs of 1.x read, and what takes their place.
const OLD_FILES: [(&str, &str); 3] = [
    (
        "/etc/ntp.conf",
        "the clock is set by chrony: write `/etc/chrony/chrony.conf` in its words, with `container: ntp`",
    ),
    (
        "/etc/ssl/certs/ca-certificates.crt.rancher",
        "nobody reads it: for a registry write the CA to `/etc/docker/certs.d/HOST/ca.crt`",
    ),
    (
        "/etc/resolv.conf",
        "it is written anew by service network: use `rancher.network.dns`",
    ),
];

pub(super) fn apply(work: &mut Work<'_>) {
    let Work { tree, remarks, .. } = work;
    tree::walk(tree, &mut Vec::new(), &mut |path, at, _| {
        remarks.extend(note(path, at));
    });
    mounts(work);
    login_keys(work);
    files(work);
}

fn note(path: &[String], at: &Position) -> Option<Remark> {
    if let [key] = path
        && NEW.contains(&key.as_str())
    {
        let what = "Means something else here: it counts; RancherOS 1.x passed it over";
        let remark = Remark::new(Kind::Different, at, key, what);
        return Some(remark.advise("take it out if it is not meant any more"));
    }
    let note = NOTES.iter().find(|note| tree::fits(note.path, path))?;
    let is_host_key = path
        .iter()
        .rev()
        .nth(1)
        .is_some_and(|parent| parent == "keys");
    if is_host_key
        && path
            .last()
            .is_some_and(|key| HOST_KEYS.contains(&key.as_str()))
    {
        return None;
    }
    let remark = Remark::new(note.kind, at, &path.join("."), note.what);
    Some(remark.advise(note.advice).needing(note.need))
}

fn mounts(work: &mut Work<'_>) {
    let Some(items) = tree::list(&mut work.tree, &["mounts"]) else {
        return;
    };
    for (index, item) in items.iter().enumerate() {
        let Data::List(fields) = &item.data else {
            continue;
        };
        let kind = fields.get(2).map_or("", tree::text);
        if NEED_HELPERS.contains(&kind) {
            let what =
                format!("No effect here yet: the helper of mount for {kind} is not in the image");
            let remark = Remark::new(
                Kind::NoEffect,
                &item.position,
                &format!("mounts.{index}"),
                what,
            );
            work.remarks
                .push(remark.advise(
                    "use a volume of Docker's driver `local`, which needs none, or a container that has it",
                ));
        }
    }
}

fn login_keys(work: &mut Work<'_>) {
    let Some(items) = tree::list(&mut work.tree, &["ssh_authorized_keys"]) else {
        return;
    };
    for (index, item) in items.iter().enumerate() {
        let is_dsa = tree::text(item)
            .split_whitespace()
            .any(|word| word == "ssh-dss");
        if is_dsa {
            let key = format!("ssh_authorized_keys.{index}");
            let what = "No effect here: OpenSSH takes no DSA keys any more";
            let remark = Remark::new(Kind::NoEffect, &item.position, &key, what);
            work.remarks
                .push(remark.advise("add a key of type ssh-ed25519, or you will not get in"));
        }
    }
}

fn files(work: &mut Work<'_>) {
    let Some(items) = tree::list(&mut work.tree, &["write_files"]) else {
        return;
    };
    for (index, item) in items.iter().enumerate() {
        let Some(file) = item.as_map() else { continue };
        let field = |name: &str| file.get(name).map_or("", |entry| tree::text(&entry.node));
        let path = field("path");
        let key = format!("write_files.{index}");
        let mut say = |what: String, advice: &str| {
            let remark = Remark::new(Kind::NoEffect, &item.position, &key, what);
            work.remarks.push(remark.advise(advice));
        };
        if let Some((_, advice)) = OLD_FILES.iter().find(|(old, _)| *old == path) {
            say(
                format!("No effect here: {path} is written and not read"),
                advice,
            );
        }
        if let Some(advice) = services::gone(field("container")) {
            let what = format!("No effect here: there is no service {}", field("container"));
            say(what, advice);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{self, ROOT, Schema};

    /// The schema's word on a key without effect would be said twice.
    #[test]
    fn notes_are_of_keys_that_are_read() {
        for note in &NOTES {
            let mut schema: &'static Schema = &ROOT;
            for part in note.path.split('.') {
                if let Schema::Object(keys) = schema {
                    let key = keys.iter().find(|key| key.name == part).unwrap();
                    let is_read =
                        !matches!(key.kind, schema::Kind::Planned | schema::Kind::Ignored(_));
                    assert!(is_read, "{}", note.path);
                }
                schema = schema::child(schema, part).unwrap();
            }
        }
    }
}
