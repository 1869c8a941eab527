//! The SSH server: host keys under `/var/lib/rancher/conf/ssh` and `sshd_config` from its template.
//!
//! Private keys stay out of the general configuration. ed25519 and ecdsa keys are made at the first start; an rsa key is used when the
//! configuration or an older system brings one, and never made: it takes seconds and every client of the last ten years knows ed25519.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use os_config::types::Ssh;

use crate::files::{make_directory, write_atomically};

/// Host keys live here.
pub const KEY_FOLDER: &str = "/var/lib/rancher/conf/ssh";
const TEMPLATE: &str = "/usr/lib/ros/sshd_config";
const CONFIG: &str = "/etc/ssh/sshd_config";

/// Key types, and whether one is made when missing.
const KINDS: [(&str, Missing); 3] = [
    ("ed25519", Missing::Make),
    ("ecdsa", Missing::Make),
    ("rsa", Missing::Leave),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Leave,
}

/// Why sshd cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key cannot be stored.
    #[error("cannot store SSH host key {path}")]
    Store {
        /// The key file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// ssh-keygen does not start.
    #[error("cannot run ssh-keygen")]
    Generator(#[source] io::Error),
    /// ssh-keygen failed.
    #[error("ssh-keygen made no {kind} key: {output}")]
    Generate {
        /// Key type.
        kind: &'static str,
        /// What it said.
        output: String,
    },
    /// sshd_config cannot be made.
    #[error("cannot write {CONFIG}")]
    Config(#[source] io::Error),
}

/// Whether sshd asks for passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// Keys only.
    Keys,
    /// Keys, or the password of the kernel command line.
    KeysOrPassword,
}

/// Sees to it that the host keys exist: the file, else the configuration's key, else a new one.
///
/// # Errors
/// The first key that cannot be made; the ones before it exist.
pub fn ensure_host_keys(folder: &Path, ssh: &Ssh) -> Result<(), Error> {
    make_directory(folder, 0o700).map_err(|source| Error::Store {
        path: folder.to_path_buf(),
        source,
    })?;
    for (kind, missing) in KINDS {
        let path = folder.join(format!("ssh_host_{kind}_key"));
        if path.metadata().is_ok_and(|file| file.len() > 0) {
            continue;
        }
        if let Some(key) = ssh.keys.get(kind).filter(|key| !key.is_empty()) {
            let public = ssh.keys.get(&format!("{kind}-pub"));
            store(&path, key.reveal(), public.map(|key| key.reveal()))?;
        } else if missing == Missing::Make {
            generate(&path, kind)?;
        }
    }
    Ok(())
}

fn store(path: &Path, private: &str, public: Option<&str>) -> Result<(), Error> {
    let write = |path: &Path, text: &str, mode| {
        let text = format!("{}\n", text.trim_end());
        write_atomically(path, text.as_bytes(), mode).map_err(|source| Error::Store {
            path: path.to_path_buf(),
            source,
        })
    };
    write(path, private, 0o600)?;
    match public {
        Some(public) => write(&public_of(path), public, 0o644),
        None => Ok(()),
    }
}

fn public_of(private: &Path) -> PathBuf {
    let mut name = private.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

/// Made under another name first: a key cut short by a power failure must not be taken for one.
fn generate(path: &Path, kind: &'static str) -> Result<(), Error> {
    let failed = |source| Error::Store {
        path: path.to_path_buf(),
        source,
    };
    let temporary = path.with_extension("new");
    for old in [&temporary, &public_of(&temporary)] {
        // Left by a start that was cut short, or not there.
        std::fs::remove_file(old).ok();
    }
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", "", "-C", "rancheros", "-f"])
        .arg(&temporary)
        .stdin(Stdio::null())
        .output()
        .map_err(Error::Generator)?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Generate { kind, output });
    }
    std::fs::rename(public_of(&temporary), public_of(path)).map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)
}

/// Writes sshd_config from the template.
///
/// # Errors
/// When the template cannot be read or the file cannot be written.
pub fn write_config(ssh: &Ssh, login: Login) -> Result<(), Error> {
    let template = std::fs::read_to_string(TEMPLATE).map_err(Error::Config)?;
    let keys: Vec<&str> = KINDS
        .iter()
        .map(|(kind, _)| *kind)
        .filter(|kind| {
            Path::new(KEY_FOLDER)
                .join(format!("ssh_host_{kind}_key"))
                .exists()
        })
        .collect();
    let text = render(&template, ssh, login, &keys);
    make_directory(Path::new("/etc/ssh"), 0o755)
        .and_then(|()| write_atomically(Path::new(CONFIG), text.as_bytes(), 0o644))
        .map_err(Error::Config)
}

fn render(template: &str, ssh: &Ssh, login: Login, keys: &[&str]) -> String {
    let listen = match &ssh.listen_address {
        Some(address) => format!("ListenAddress {address}"),
        None => String::new(),
    };
    let password = match login {
        Login::Keys => "no",
        Login::KeysOrPassword => "yes",
    };
    let keys: Vec<String> = keys
        .iter()
        .map(|kind| format!("HostKey {KEY_FOLDER}/ssh_host_{kind}_key"))
        .collect();
    template
        .replace("%PORT%", &format!("Port {}", ssh.port))
        .replace("%LISTEN_ADDRESS%", &listen)
        .replace("%HOST_KEYS%", &keys.join("\n"))
        .replace("%PASSWORD%", password)
}

#[cfg(test)]
mod tests {
    use super::*;
    use os_config::types::Secret;
    use std::os::unix::fs::MetadataExt;

    const SHIPPED: &str = include_str!("../../console/root/usr/lib/ros/sshd_config");

    #[test]
    fn the_template_is_filled() {
        let ssh = Ssh {
            port: 2222,
            listen_address: Some("10.0.0.1".into()),
            ..Ssh::default()
        };
        let text = render(SHIPPED, &ssh, Login::Keys, &["ed25519"]);
        for line in [
            "Port 2222",
            "ListenAddress 10.0.0.1",
            "HostKey /var/lib/rancher/conf/ssh/ssh_host_ed25519_key",
            "PasswordAuthentication no",
            "PermitRootLogin no",
            "AllowGroups docker",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let filled: String = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(!filled.contains('%'), "{text}");
        assert!(
            render(SHIPPED, &ssh, Login::KeysOrPassword, &[])
                .contains("PasswordAuthentication yes")
        );
    }

    #[test]
    fn keys_come_from_the_configuration_or_are_made_and_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let mut ssh = Ssh::default();
        ssh.keys.insert("rsa".into(), Secret::new("PRIVATE"));
        ssh.keys.insert("rsa-pub".into(), Secret::new("PUBLIC"));
        ensure_host_keys(folder.path(), &ssh).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("ssh_host_rsa_key"), "PRIVATE\n");
        assert_eq!(read("ssh_host_rsa_key.pub"), "PUBLIC\n");
        let made = read("ssh_host_ed25519_key");
        assert!(made.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
        for kind in ["rsa", "ed25519", "ecdsa"] {
            let path = folder.path().join(format!("ssh_host_{kind}_key"));
            assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600, "{kind}");
        }
        ensure_host_keys(folder.path(), &ssh).unwrap();
        assert_eq!(read("ssh_host_ed25519_key"), made);
    }
}
