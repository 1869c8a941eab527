//! Saves what a datasource gave under `/var/lib/rancher/conf`; what an earlier one left is replaced as a whole.
//!
//! Modes are real ones: configuration 0600, the script 0755, the folder 0700.

use std::fs;
use std::io;

use os_config::store::{Error, Place, read_metadata, write_conf, write_metadata};
use os_config::userdata::{self, UserData, classify};

use super::{Found, network_config};
use crate::log::{Chain, Log};

const LOG: Log = Log::of("cloud-init");
const BOOT: &str = "cloud-config.d/boot.yml";
const NETWORK: &str = "cloud-config.d/network.yml";
const SCRIPT: &str = "cloud-config-script";

/// Writes the files of `found` under `place` and removes those that it does not have.
///
/// # Errors
/// When a file cannot be written or removed.
pub fn save(place: &Place, found: Found) -> Result<(), Error> {
    let (config, script) = sort_out(&found.user_data);
    put(place, BOOT, config.as_deref(), 0o600)?;
    put(place, SCRIPT, script.as_deref(), 0o755)?;
    let network = match found.network {
        serde_json::Value::Null => None,
        network => serde_yaml::to_string(&network_config::document(&network)).ok(),
    };
    put(
        place,
        NETWORK,
        network.as_ref().map(String::as_bytes),
        0o600,
    )?;
    if read_metadata(place) == found.metadata {
        return Ok(());
    }
    write_metadata(place, &found.metadata)
}

/// Cloud-config and script. A cloud-config that does not parse is saved too: what reads it later says on the console and in `ros config
/// validate` what is wrong and where, and goes on without it.
fn sort_out(user_data: &[u8]) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    match classify(user_data) {
        Ok(UserData::Empty) => (None, None),
        Ok(UserData::Script(script)) => (None, Some(script)),
        Ok(UserData::CloudConfig { text, problems }) => {
            for problem in problems {
                LOG.warn(problem);
            }
            (Some(text.into_bytes()), None)
        }
        Err(error) => {
            LOG.error(Chain(&error));
            let readable = matches!(error, userdata::Error::Yaml(_) | userdata::Error::Unknown)
                && std::str::from_utf8(user_data).is_ok();
            (readable.then(|| user_data.to_vec()), None)
        }
    }
}

fn put(place: &Place, name: &str, content: Option<&[u8]>, mode: u32) -> Result<(), Error> {
    let path = place.conf().join(name);
    match content {
        // A full disk is no trouble when nothing has changed.
        Some(content) if fs::read(&path).is_ok_and(|old| old == content) => Ok(()),
        Some(content) => write_conf(place, name, content, mode),
        None => match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::Write { path, source })
            }
            _ => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use os_config::Metadata;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn found(user_data: &str) -> Found {
        Found {
            user_data: user_data.as_bytes().to_vec(),
            ..Found::default()
        }
    }

    #[test]
    fn a_cloud_config_is_private_and_replaced_by_a_script() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::new(root.path());
        let mut first = found("#cloud-config\nhostname: web\n");
        first.metadata = Metadata {
            hostname: "meta".into(),
            ..Metadata::default()
        };
        first.network = serde_json::json!({ "interfaces": { "eth0": { "dhcp": true } } });
        save(&place, first).unwrap();
        let conf = place.conf();
        assert_eq!(mode(&conf), 0o700);
        assert_eq!(mode(&conf.join(BOOT)), 0o600);
        assert_eq!(mode(&conf.join("metadata")), 0o600, "metadata");
        let network = fs::read_to_string(conf.join(NETWORK)).unwrap();
        assert!(network.contains("eth0"), "{network}");
        assert_eq!(read_metadata(&place).hostname, "meta");

        save(&place, found("#!/bin/sh\necho hi\n")).unwrap();
        assert_eq!(mode(&conf.join(SCRIPT)), 0o755);
        assert!(!conf.join(BOOT).exists());
        assert!(!conf.join(NETWORK).exists());
        assert_eq!(read_metadata(&place).hostname, "");
    }

    #[test]
    fn a_broken_cloud_config_is_kept_for_its_findings() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::new(root.path());
        save(&place, found("#cloud-config\nhostname: [a\n")).unwrap();
        let loaded = os_config::load(&place, &os_config::Cmdline::default());
        let texts: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
        assert!(
            texts.iter().any(|text| text.contains("boot.yml:")),
            "{texts:?}"
        );
    }

    #[test]
    fn binary_rubbish_is_not_saved() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::new(root.path());
        let mut rubbish = found("");
        rubbish.user_data = vec![0x1f, 0x8b, 0xff, 0x00];
        save(&place, rubbish).unwrap();
        assert!(!place.conf().join(BOOT).exists());
    }
}
