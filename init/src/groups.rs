//! The control groups of the host: `/ros/<daemon>` for what PID 1 starts; Docker puts containers elsewhere.
//!
//! dockerd must not run in the root group: it judges by its own group's files what the kernel can limit.

use std::io;
use std::path::Path;

use kernel::cgroup::{self, Group};
use kernel::mount::{self, Flags};

use crate::log;

/// Docker's group of the system's containers.
const SYSTEM_CONTAINERS: &str = "system";
/// Its weight beside `/ros` and the user's containers, which have 100: logins and the user's Docker answer on a busy machine, and at
/// boot the user's Docker is not held up by what starts the other services.
const SYSTEM_CONTAINERS_WEIGHT: u16 = 300;

/// Why the control groups are not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// cgroup v2 could not be mounted.
    #[error("no control groups")]
    Mount(#[from] mount::Error),
    /// A group could not be made.
    #[error("cannot make the control group {0}")]
    Make(&'static str, #[source] io::Error),
}

/// The groups that PID 1 made.
#[derive(Debug)]
pub struct Groups {
    host: Group,
}

impl Groups {
    /// Mounts cgroup v2, hands all controllers down and makes `/ros`.
    pub fn set_up() -> Result<Self, Error> {
        let flags = Flags::NOSUID | Flags::NODEV | Flags::NOEXEC;
        mount::mount(
            "cgroup2",
            Path::new(cgroup::ROOT),
            "cgroup2",
            flags,
            "nsdelegate,memory_recursiveprot",
        )?;
        let root = Group::root();
        hand_down(&root);
        let host = root
            .child("ros")
            .map_err(|cause| Error::Make("/ros", cause))?;
        hand_down(&host);
        let weighted = root
            .child(SYSTEM_CONTAINERS)
            .and_then(|group| group.set_processor_weight(SYSTEM_CONTAINERS_WEIGHT));
        if let Err(error) = weighted {
            log::warn(&format!("control group /{SYSTEM_CONTAINERS}: {error}"));
        }
        Ok(Self { host })
    }

    /// The group of one daemon.
    pub fn of(&self, name: &'static str) -> Result<Group, Error> {
        self.host
            .child(name)
            .map_err(|cause| Error::Make(name, cause))
    }
}

fn hand_down(group: &Group) {
    match group.enable_all_controllers() {
        Ok(refused) if refused.is_empty() => {}
        Ok(refused) => log::warn(&format!(
            "control group {}: no {}",
            group.path().display(),
            refused.join(", ")
        )),
        Err(error) => log::warn(&format!(
            "control group {}: {error}",
            group.path().display()
        )),
    }
}
