//! Phase `layout`: the directories of the state file system and where the rest of the system finds them. Layout of RancherOS 1.x.

use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use kernel::mount;

use crate::configuration;
use crate::machine::Machine;
use crate::outcome::Halted;
use crate::reserve;
use crate::state::{STATE, machine_disk};

/// Why the layout cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory could not be made.
    #[error("cannot make {path} on the state file system{}", if is_full(.cause) { " (it is full)" } else { "" })]
    Directory {
        /// The directory.
        path: String,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
    /// A directory could not be put in its place.
    #[error("the state file system cannot be used")]
    Bind(#[from] mount::Error),
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// `/state/<name>` is bound on `/<name>`.
const BOUND: [(&str, u32); 6] = [
    ("var", 0o755),
    ("home", 0o755),
    ("opt", 0o755),
    ("mnt", 0o755),
    ("media", 0o755),
    ("root", 0o700),
];

/// Below `/var`, with their modes; parents first.
const BELOW_VAR: [(&str, u32); 16] = [
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/lib/boot2docker", 0o755),
    ("var/lib/docker", 0o710),
    ("var/lib/rancher", 0o755),
    ("var/lib/rancher/cache", 0o755),
    ("var/lib/rancher/conf", 0o700),
    ("var/lib/rancher/conf/cloud-config.d", 0o700),
    ("var/lib/rancher/preload", 0o755),
    ("var/lib/system-docker", 0o710),
    ("var/lib/user-docker", 0o710),
    ("var/log", 0o755),
    ("var/log/boot", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
    ("var/local", 0o755),
];

/// Links inside `/var`.
const LINKS: [(&str, &str); 2] = [("/run", "var/run"), ("/run/lock", "var/lock")];

/// Makes what is missing and binds it.
pub fn run(machine: &mut Machine) -> Result<(), Halted> {
    let state = Path::new(STATE);
    if machine.record.state.is_some() {
        reserve::settle(state);
    }
    prepare(state)?;
    for (name, _) in BOUND {
        bind_apart(&state.join(name), &Path::new("/").join(name))?;
    }
    // The user's daemon finds its data root under Docker's own name; 1.4 of RancherOS moved it.
    bind_apart(
        Path::new("/var/lib/user-docker"),
        Path::new("/var/lib/docker"),
    )?;
    if let Some(state) = &machine.implied_state {
        machine_disk::remember(state);
    }
    // What the state file system says counts from here on.
    configuration::read(machine);
    Ok(())
}

/// A bind mount joins the peers of its source: every container's root would be mounted at both places. So it gets peers of its own.
fn bind_apart(source: &Path, target: &Path) -> Result<(), mount::Error> {
    mount::bind(source, target)?;
    mount::make_private_recursively(target)?;
    mount::share_recursively(target)
}

fn prepare(state: &Path) -> Result<(), Error> {
    for (name, mode) in BOUND.into_iter().chain(BELOW_VAR) {
        directory(&state.join(name), mode)?;
    }
    for (target, link) in LINKS {
        let path = state.join(link);
        ensure_link(target, &path).map_err(|cause| Error::Directory {
            path: link.to_owned(),
            cause,
        })?;
    }
    Ok(())
}

/// Modes are set only on what is new: the owner of the disk may have changed them.
fn directory(path: &Path, mode: u32) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    let make = || {
        std::fs::create_dir(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
    };
    make().map_err(|cause| Error::Directory {
        path: path.display().to_string(),
        cause,
    })
}

/// A directory of that name (RancherOS 1.x had one on some disks) is moved aside.
fn ensure_link(target: &str, link: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(link) {
        Ok(metadata) if metadata.is_symlink() => return Ok(()),
        Ok(_) => std::fs::rename(link, link.with_extension("old"))?,
        Err(_) => {}
    }
    symlink(target, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn making_it_twice_changes_nothing() {
        let state = tempfile::tempdir().unwrap();
        prepare(state.path()).unwrap();
        let mode = |name: &str| {
            std::fs::metadata(state.path().join(name))
                .unwrap()
                .permissions()
                .mode()
                & 0o7777
        };
        assert_eq!(
            (mode("root"), mode("var/tmp"), mode("var/lib/rancher/conf")),
            (0o700, 0o1777, 0o700)
        );
        std::fs::set_permissions(
            state.path().join("home"),
            std::fs::Permissions::from_mode(0o711),
        )
        .unwrap();
        prepare(state.path()).unwrap();
        assert_eq!(mode("home"), 0o711);
        assert_eq!(
            std::fs::read_link(state.path().join("var/run")).unwrap(),
            Path::new("/run")
        );
    }

    #[test]
    fn a_directory_in_the_place_of_a_link_is_kept_aside() {
        let state = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(state.path().join("var/run/x")).unwrap();
        prepare(state.path()).unwrap();
        assert!(state.path().join("var/run.old/x").is_dir());
        assert!(state.path().join("var/run").is_symlink());
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join("home"), "").unwrap();
        let error = prepare(state.path()).unwrap_err();
        assert!(
            error.to_string().contains("/home on the state file system"),
            "{error}"
        );
    }
}
