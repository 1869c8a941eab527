//! `~/.ssh/authorized_keys` of the shipped users and those of the configuration.
//!
//! Owns a marked block of the file, rewritten at each start, so that a key taken out of the configuration no longer opens the door. Lines
//! outside the block are the user's.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

use super::accounts::User;
use crate::files::{Attributes, make_directory, write_with};

const BEGIN: &str = "# begin: keys of the cloud-config, rewritten at each start";
const END: &str = "# end: keys of the cloud-config";
/// A larger file is not made of keys.
const LARGEST: u64 = 1 << 20;

/// The file with `keys` in the marked block.
#[must_use]
pub fn with_block(old: &str, keys: &[String]) -> String {
    let mut text = String::new();
    let mut inside = false;
    for line in old.lines() {
        match line {
            BEGIN => inside = true,
            END => inside = false,
            _ if !inside => {
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    if keys.is_empty() {
        return text;
    }
    text.push_str(BEGIN);
    text.push('\n');
    for key in keys
        .iter()
        .map(|key| key.trim())
        .filter(|key| !key.is_empty())
    {
        // A key is one line: a second one could carry another key unseen.
        text.push_str(key.lines().next().unwrap_or_default());
        text.push('\n');
    }
    text.push_str(END);
    text.push('\n');
    text
}

/// Writes the keys for `user`, whose home directory exists under `root`.
///
/// # Errors
/// When the file or its directory cannot be written.
pub fn apply(root: &Path, user: &User, keys: &[String]) -> io::Result<()> {
    let home = root.join(user.home.trim_start_matches('/'));
    let folder = home.join(".ssh");
    let file = folder.join("authorized_keys");
    // What is there and cannot be read is not replaced: keys of the user's own may be in it.
    let old = match present(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        old => old?,
    };
    let new = with_block(&old, keys);
    if new == old {
        return Ok(());
    }
    if !folder.exists() {
        make_directory(&folder, 0o700)?;
        std::fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
        chown(&folder, Some(user.uid), Some(user.gid))?;
    }
    let attributes = Attributes {
        mode: 0o600,
        uid: Some(user.uid),
        gid: Some(user.gid),
    };
    write_with(&file, new.as_bytes(), attributes)
}

/// The file's text. A pipe that somebody put in its place must not hold the console up.
fn present(file: &Path) -> io::Result<String> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(file)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() > LARGEST {
        return Err(io::Error::other("it is no file of keys"));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    // Keys are ASCII; a comment in another encoding is all that can suffer.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(list: &[&str]) -> Vec<String> {
        list.iter().map(|key| (*key).to_owned()).collect()
    }

    #[test]
    fn a_removed_key_goes_and_the_users_own_stays() {
        let first = with_block("ssh-rsa MINE\n", &keys(&["ssh-ed25519 A", "ssh-ed25519 B"]));
        let second = with_block(&first, &keys(&["ssh-ed25519 B\n"]));
        assert!(second.contains("ssh-rsa MINE\n"));
        assert!(!second.contains("ssh-ed25519 A"));
        assert!(second.contains("ssh-ed25519 B\n"));
        assert_eq!(with_block(&second, &[]), "ssh-rsa MINE\n");
    }

    #[test]
    fn what_cannot_be_read_is_not_replaced() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("home/me/.ssh/authorized_keys");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let me = User {
            name: "me".into(),
            uid: 0,
            gid: 0,
            home: "/home/me".into(),
        };
        // A comment in Latin-1 costs nothing but itself.
        std::fs::write(&file, b"ssh-rsa MINE me@B\xfcro\n").unwrap();
        apply(root.path(), &me, &keys(&["ssh-ed25519 A"])).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            text.contains("ssh-rsa MINE") && text.contains("ssh-ed25519 A"),
            "{text}"
        );
        let large = vec![b'a'; usize::try_from(LARGEST).unwrap() + 1];
        std::fs::write(&file, &large).unwrap();
        apply(root.path(), &me, &keys(&["ssh-ed25519 A"])).unwrap_err();
        assert_eq!(std::fs::read(&file).unwrap(), large);
    }

    #[test]
    fn writing_twice_changes_nothing() {
        let once = with_block("", &keys(&["ssh-ed25519 A"]));
        assert_eq!(with_block(&once, &keys(&["ssh-ed25519 A"])), once);
    }

    #[test]
    fn the_file_is_private_and_the_users() {
        use std::os::unix::fs::MetadataExt;
        let root = tempfile::tempdir().unwrap();
        let (uid, gid) = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        let user = User {
            name: "rancher".into(),
            uid,
            gid,
            home: "/home/rancher".into(),
        };
        std::fs::create_dir_all(root.path().join("home/rancher")).unwrap();
        apply(root.path(), &user, &keys(&["ssh-ed25519 A"])).unwrap();
        let folder = root.path().join("home/rancher/.ssh");
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("authorized_keys")), 0o600);
    }
}
