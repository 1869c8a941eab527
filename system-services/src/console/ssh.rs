//! The SSH server: host keys under `/var/lib/rancher/conf/ssh` and `sshd_config` from its template.
//!
//! Private keys stay out of the general configuration. ed25519 and ecdsa keys are made at the first start; an rsa key is used when the
//! configuration or an older system brings one, and never made: it takes seconds and every client of the last ten years knows ed25519. They
//! are made here, without ssh-keygen: two processes less on the way to the first login.

use std::io;
use std::path::{Path, PathBuf};

use os_config::types::Ssh;
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, EcdsaCurve, LineEnding, PrivateKey};

use crate::files::{make_directory, write_atomically};

/// Host keys live here.
pub const KEY_FOLDER: &str = "/var/lib/rancher/conf/ssh";
const TEMPLATE: &str = "/usr/lib/ros/sshd_config";
const CONFIG: &str = "/etc/ssh/sshd_config";

/// Key types, and what is made when one is missing.
const KINDS: [(&str, Option<Algorithm>); 3] = [
    ("ed25519", Some(Algorithm::Ed25519)),
    (
        "ecdsa",
        Some(Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP256,
        }),
    ),
    ("rsa", None),
];

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
    /// A key cannot be made.
    #[error("cannot make SSH host key {path}")]
    Make {
        /// The key file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ssh_key::Error,
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
    /// Keys, or a password: the kernel command line has one for rancher.
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
        } else if let Some(algorithm) = missing {
            make(&path, algorithm)?;
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
    if let Some(public) = public {
        write(&public_of(path), public, 0o644)?;
    }
    write(path, private, 0o600)
}

fn public_of(private: &Path) -> PathBuf {
    let mut name = private.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

/// The private key last: a start that is cut short leaves none, and the next one makes the pair anew.
fn make(path: &Path, algorithm: Algorithm) -> Result<(), Error> {
    let failed = |source| Error::Make {
        path: path.to_path_buf(),
        source,
    };
    let mut key = PrivateKey::random(&mut OsRng, algorithm).map_err(failed)?;
    key.set_comment("rancheros");
    let private = key.to_openssh(LineEnding::LF).map_err(failed)?;
    let public = key.public_key().to_openssh().map_err(failed)?;
    store(path, &private, Some(&public))
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
    let passwords = match login {
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
        .replace("%PASSWORD%", passwords)
        .replace("%PENALTIES%", passwords)
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
            "AllowGroups docker ssh-users",
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
        // OpenSSH itself reads both halves and finds that they belong together.
        for kind in ["ed25519", "ecdsa"] {
            let path = folder.path().join(format!("ssh_host_{kind}_key"));
            let output = std::process::Command::new("ssh-keygen")
                .args(["-y", "-f"])
                .arg(&path)
                .output()
                .expect("ssh-keygen is needed");
            let derived = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(derived, read(&format!("ssh_host_{kind}_key.pub")));
        }
    }
}
