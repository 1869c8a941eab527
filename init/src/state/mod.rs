//! Phase `state-disk`: finds, if asked to makes, and mounts the state file system on `/state`; a tmpfs when there is none.
//!
//! A disk that is missing, full or broken gives a message and a boot in RAM, or recovery with `rancher.state.required`; never a hang.

mod disk;
mod format;
mod hardware;
pub mod machine_disk;
mod search;

use kernel::mount::{self, Flags};

use crate::machine::Machine;
use crate::outcome::{Halted, chain};
use crate::plan::{self, Disk, StatePlan};
use crate::{commands, record};
use crate::{disks_seen, log};

/// Where it is mounted.
pub const STATE: &str = "/state";
/// Where it is mounted first when only a directory of it is wanted.
const WHOLE: &str = "/run/ros/state";

/// Why there is no state disk.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device never appeared.
    #[error("state device {spec} was not found{} ({}); check rancher.state.dev", after(*.waited), disks_seen::text(.seen))]
    NotFound {
        /// As configured.
        spec: String,
        /// Seconds waited.
        waited: u64,
        /// What there is instead.
        seen: Vec<String>,
    },
    /// Something is there that cannot be mounted as it is.
    #[error("state device {device} holds {what}; {advice}")]
    Unusable {
        /// The device.
        device: String,
        /// What lies on it.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// It could not be mounted.
    #[error("state device {device} cannot be used")]
    Mount {
        /// The device.
        device: String,
        /// Why.
        #[source]
        cause: mount::Error,
    },
    /// The directory of it could not be used.
    #[error("rancher.state.directory cannot be used")]
    Directory(#[source] mount::Error),
    /// It could not be formatted.
    #[error("cannot format {device}: {reason}")]
    Format {
        /// The device.
        device: String,
        /// Why.
        reason: String,
    },
}

fn after(seconds: u64) -> String {
    if seconds == 0 {
        String::new()
    } else {
        format!(" after {seconds} s")
    }
}

/// Does what the plan says.
pub fn run(machine: &mut Machine) -> Result<(), Halted> {
    mount_oem(machine);
    commands::state_script(machine);
    let settings = &machine.loaded.config.rancher.state;
    let implied = match plan::state(settings) {
        StatePlan::Ram => machine_disk::detect(),
        StatePlan::Disk(_) => None,
    };
    let plan = plan::state(implied.as_ref().unwrap_or(settings));
    machine.implied_state = implied;
    match plan {
        StatePlan::Ram => ram()?,
        StatePlan::Disk(disk) => match mount_disk(machine, &disk) {
            Ok(state) => machine.record.state = Some(state),
            Err(error) if disk.required => return Err(error.into()),
            Err(error) => {
                log::error(&format!(
                    "{}; the system runs in RAM and forgets everything at the next boot",
                    chain(&error)
                ));
                ram()?;
            }
        },
    }
    Ok(())
}

/// No disk: half of the memory, as a limit, not as a reservation.
fn ram() -> Result<(), mount::Error> {
    mount::tmpfs(STATE, Flags::empty(), "mode=755,size=50%")
}

fn mount_disk(machine: &mut Machine, disk: &Disk) -> Result<record::State, Error> {
    let found = search::find(machine, disk)?;
    let target = if disk.directory.is_some() {
        WHOLE
    } else {
        STATE
    };
    // What we have just made is ext4, whatever was expected on a disk with something on it.
    let expected = disk.fstype.as_deref().filter(|_| !found.formatted);
    let fstype = disk::mount_checked(machine, &found, expected, target)?;
    if let Some(directory) = &disk.directory {
        let source = std::path::Path::new(WHOLE).join(directory);
        let bound = mount::on_new_directory(&source, |source| mount::bind(source, STATE));
        bound.map_err(Error::Directory)?;
    }
    if let Some(archive) = &found.archive
        && let Err(error) = machine_disk::fill(STATE.as_ref(), archive)
    {
        log::error(&format!(
            "the archive of docker-machine cannot be used: {error}"
        ));
    }
    let device = found.path.display().to_string();
    log::info(&format!(
        "state file system: {device} ({fstype}{})",
        if found.formatted { ", new" } else { "" }
    ));
    Ok(record::State {
        device,
        fstype,
        formatted: found.formatted,
    })
}

/// The OEM partition is a layer of the configuration; without one nothing is said.
fn mount_oem(machine: &mut Machine) {
    let state = &machine.loaded.config.rancher.state;
    let (spec, fstype) = (
        kernel::block::Spec::parse(&state.oem_dev),
        state.oem_fstype.clone(),
    );
    if state.oem_dev.trim().is_empty() {
        return;
    }
    let Some(found) = kernel::block::resolve(&spec) else {
        return;
    };
    let wanted = Some(fstype.as_str()).filter(|fstype| !fstype.is_empty() && *fstype != "auto");
    let Some(fstype) = wanted.or(found.content.as_ref().map(|content| content.fstype)) else {
        return;
    };
    let source = found.path.display().to_string();
    match mount::mount(&source, "/usr/share/ros/oem", fstype, Flags::RDONLY, "") {
        Ok(()) => crate::configuration::read(machine),
        Err(error) => log::warn(&format!("OEM partition: {}", chain(&error))),
    }
}
