//! Our side of the bench: a state disk as an installed machine has it, with the user's key and the prober on it, and a config drive
//! for boots from the ISO, whose kernel line names no state disk. Owns both in the folder it is given.

use std::path::Path;

use crate::bench::measure::Milestone;
use crate::config_drive::{ConfigDrive, Content, Form};
use crate::disk::{Disk, STATE_LABEL};
use crate::error::{HarnessError, Result};
use crate::ssh::SshKey;

/// From the kernel's last line to the user's Docker.
pub const MILESTONES: &[Milestone] = &[
    ("the kernel starts PID 1", "Run /init as init process"),
    (
        "root image mounted, containerd started",
        "phase 4/13 containerd",
    ),
    (
        "state mounted, system Docker started",
        "phase 10/13 system-docker",
    ),
    (
        "cloud-config read, service manager started",
        "phase 13/13 services",
    ),
    ("system Docker answers", "Project [os]: Starting project"),
    ("the container docker is started", "[docker]: Starting"),
    ("the container docker runs", "[docker]: Started"),
    ("the user's Docker answers", "PROBE api"),
    ("`docker version` has answered", "PROBE docker-version"),
];
/// Prints the boot report.
pub const PHASES: &str = "cat /run/ros/boot.json";

/// Makes the state disk: a cloud-config in `cloud-config.d` and the prober in `/opt/bench`.
///
/// # Errors
/// When it cannot be written.
pub fn state_disk(folder: &Path, key: &SshKey, prober: &Path) -> Result<Disk> {
    let tree = tempfile::tempdir_in(folder).map_err(HarnessError::file("make folder", folder))?;
    let config = format!(
        "#cloud-config\nhostname: bench\nssh_authorized_keys:\n  - {}\n\
         bootcmd:\n  - /opt/bench/guest probe rancher </dev/null >/dev/null 2>&1 &\n",
        key.public()
    );
    let config_file = tree
        .path()
        .join("var/lib/rancher/conf/cloud-config.d/bench.yml");
    let program = tree.path().join("opt/bench/guest");
    for file in [&config_file, &program] {
        let dir = file.parent().unwrap_or(folder);
        std::fs::create_dir_all(dir).map_err(HarnessError::file("make folder", dir))?;
    }
    std::fs::write(&config_file, config)
        .map_err(HarnessError::file("write bench config", &config_file))?;
    std::fs::copy(prober, &program).map_err(HarnessError::file("copy prober", &program))?;
    Disk::ext4_with(&folder.join("state.img"), 8 << 10, STATE_LABEL, tree.path())
}

/// Makes a config drive whose `bootcmd` mounts the disk made by [`state_disk`] and starts the prober from it.
///
/// # Errors
/// When it cannot be written.
pub fn iso_config_drive(folder: &Path, key: &SshKey) -> Result<ConfigDrive> {
    let user_data = format!(
        "#cloud-config\nhostname: bench\nssh_authorized_keys:\n  - {}\nbootcmd:\n\
         \x20 - mkdir -p /mnt/bench && mount -t ext4 /dev/vda /mnt/bench\n\
         \x20 - /mnt/bench/opt/bench/guest probe rancher </dev/null >/dev/null 2>&1 &\n",
        key.public()
    );
    ConfigDrive::create(
        folder,
        Form::Iso,
        &Content {
            user_data,
            ..Content::default()
        },
    )
}
