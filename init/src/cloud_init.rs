//! Phase `cloud-init`: `ros cloud-init-save --local` fetches the user-data of local datasources; then the configuration is read
//! again, complete, and applied.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use os_config::effects::Reader;
use os_config::store::applied::{FOLDER, record};

use crate::machine::Machine;
use crate::outcome::{Halted, chain};
use crate::plan;
use crate::{configuration, log, system_docker};

/// Local datasources are disks and the kernel line; a disk that answers slower than this is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs it. A failure costs the user-data, not the boot.
pub fn run(machine: &mut Machine) -> Result<(), Halted> {
    if machine
        .loaded
        .config
        .rancher
        .cloud_init
        .datasources
        .is_empty()
    {
        log::debug("no datasources");
    } else {
        let mut command = Command::new("ros");
        command
            .args(["cloud-init-save", "--local"])
            .env_clear()
            .env("PATH", plan::PATH)
            .stdin(Stdio::null());
        match machine.run(&mut command, PATIENCE) {
            Ok(exit) if exit.is_success() => {}
            Ok(exit) => log::error(&format!(
                "ros cloud-init-save {exit}; going on without user-data from a datasource"
            )),
            Err(error) => log::error(&chain(&error)),
        }
    }
    configuration::read(machine);
    configuration::report(machine)?;
    // OEM, state file system and user-data have each added to it since.
    if machine.loaded.config != machine.applied {
        configuration::apply_kernel_settings(machine)?;
    }
    system_docker::run(machine)?;
    // The clock's service, which sees nothing of /run, begins with what is known now.
    for reader in [Reader::Boot, Reader::Ntp] {
        if let Err(error) = record(Path::new(FOLDER), reader, &machine.loaded) {
            log::warn(&chain(&error));
        }
    }
    Ok(())
}
