//! Disks of docker-machine (boot2docker): one begins with a text that asks to be formatted, followed by a tar archive with the
//! user's keys; once made, it is labelled `B2D_STATE`.

use std::fs;
use std::io::Read;
use std::path::Path;

use kernel::block::{Spec, resolve};
use os_config::types::State;
use os_config::{Place, store};

use super::format::{self, Blank};
use crate::log;
use crate::outcome::chain;

/// Label of such a state file system.
pub const LABEL: &str = "B2D_STATE";
/// docker-machine's drivers attach the disk as one of these.
const DISKS: [&str; 2] = ["/dev/sda", "/dev/vda"];
/// The archive ends before this.
pub const ARCHIVE: usize = 8192;
const KEYS: [&str; 2] = [".ssh/authorized_keys", ".ssh/authorized_keys2"];

/// The state settings that such a disk stands for; `None` without one.
pub fn detect() -> Option<State> {
    let dev = Some(format!("LABEL={LABEL}"));
    if resolve(&Spec::Label(LABEL.to_owned())).is_some() {
        return Some(State {
            dev,
            ..State::default()
        });
    }
    let disk = DISKS
        .into_iter()
        .find(|disk| format::blank(Path::new(disk)) == Some(Blank::Boot2docker))?;
    Some(State {
        dev,
        autoformat: vec![disk.to_owned()],
        ..State::default()
    })
}

/// Keeps what [`detect`] found where `ros config get` shows it.
pub fn remember(found: &State) {
    let place = Place::new(Path::new("/"));
    let dev = found.dev.as_deref().unwrap_or_default();
    if let Err(error) = store::set(&place, "rancher.state.dev", dev) {
        log::warn(&format!(
            "rancher.state.dev is not saved: {}",
            chain(&error)
        ));
    }
}

/// Unpacks the archive into the new file system and makes its keys known to the cloud-config.
pub fn fill(root: &Path, archive: &[u8]) -> std::io::Result<()> {
    let mut keys = Vec::new();
    for entry in tar::Archive::new(archive).entries()? {
        // It is cut off at 8 KiB: the end of the archive may be missing.
        let Ok(mut entry) = entry else { break };
        let path = entry
            .path()?
            .to_string_lossy()
            .trim_start_matches("./")
            .to_owned();
        if KEYS.contains(&path.as_str()) {
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            keys.extend(
                text.lines()
                    .map(str::trim)
                    .filter(|line| !line.is_empty() && !line.starts_with('#'))
                    .map(str::to_owned),
            );
        } else {
            entry.unpack_in(root)?;
        }
    }
    let conf = root.join("var/lib/rancher/conf/cloud-config.d");
    fs::create_dir_all(&conf)?;
    kernel::disk::write_private(
        &conf.join("machine.yml"),
        machine_yml(&keys)?.as_bytes(),
        0o600,
    )
}

/// JSON is YAML, and quoting it is somebody else's work.
fn machine_yml(keys: &[String]) -> std::io::Result<String> {
    let dhcp = serde_json::json!({"dhcp": true});
    let config = serde_json::json!({
        "rancher": {"network": {"interfaces": {"eth0": dhcp, "eth1": dhcp}}},
        "ssh_authorized_keys": keys,
    });
    Ok(format!(
        "#cloud-config\n{}\n",
        serde_json::to_string_pretty(&config)?
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, text) in [
            (
                "boot2docker, please format-me",
                "boot2docker, please format-me",
            ),
            (
                ".ssh/authorized_keys",
                "ssh-rsa AAA a\n\n# no\nssh-rsa BBB b",
            ),
            ("file", "x"),
        ] {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o600);
            builder
                .append_data(&mut header, name, text.as_bytes())
                .unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn keys_of_the_archive_reach_the_configuration() {
        let root = tempfile::tempdir().unwrap();
        let mut bytes = archive();
        bytes.resize(ARCHIVE, 0);
        fill(root.path(), &bytes).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("file")).unwrap(), "x");
        let conf = root
            .path()
            .join("var/lib/rancher/conf/cloud-config.d/machine.yml");
        let text = fs::read_to_string(conf).unwrap();
        assert!(
            text.contains("\"ssh-rsa AAA a\",\n    \"ssh-rsa BBB b\""),
            "{text}"
        );
        let place = Place::new(root.path());
        let loaded = store::load(&place, &os_config::Cmdline::default());
        assert_eq!(loaded.config.ssh_authorized_keys.len(), 2);
        assert_eq!(
            loaded.config.rancher.network.interfaces["eth1"].dhcp,
            Some(true)
        );
    }

    #[test]
    fn a_cut_archive_gives_what_is_whole() {
        let root = tempfile::tempdir().unwrap();
        let bytes = archive();
        fill(root.path(), &bytes[..2048 + 200]).unwrap();
        assert!(
            root.path()
                .join("var/lib/rancher/conf/cloud-config.d/machine.yml")
                .exists()
        );
    }
}
