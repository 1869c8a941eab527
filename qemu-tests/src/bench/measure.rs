//! One measured boot, the same for both sides. The start of the clock is the start of the QEMU process, its end what the prober
//! writes on the serial console: a static program that begins to look at Docker's socket as soon as its side can start programs
//! and then runs `docker version` as the user. Owns the machine while it runs.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::console::Mark;
use crate::error::{HarnessError, Result};
use crate::guest::LOGIN;
use crate::machine::Machine;
use crate::ssh::{Ssh, SshKey};
use crate::vm::Vm;
use crate::wait::Patience;

/// One boot of one side. Seconds since the start of QEMU, and KiB.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// Docker's API answered.
    pub api_s: f64,
    /// `docker version` succeeded for the user.
    pub version_s: f64,
    /// Processor seconds that QEMU had used by then: less disturbed by what else the host does.
    pub cpu_s: f64,
    /// The first ssh login (tried only after the above, so an upper bound).
    pub login_s: f64,
    /// MemTotal - MemAvailable after the idle time; only where it was asked for.
    pub memory_kib: Option<f64>,
    /// When each milestone of [`Side::milestones`] was seen on the console; those that were not are left out.
    pub milestones: Vec<(String, f64)>,
    /// What the side itself tells about where the time went.
    pub phases: String,
}

/// What a moment of the boot is called, and the console text that tells of it.
pub type Milestone = (&'static str, &'static str);

/// What one side needs to be measured.
pub struct Side<'a> {
    /// `ours` or `debian`.
    pub name: &'a str,
    /// The machine, disks included.
    pub machine: Machine,
    /// For user `rancher`.
    pub key: &'a SshKey,
    /// Host port of the guest's ssh.
    pub port: u16,
    /// Moments to take the time of, in their order.
    pub milestones: &'a [Milestone],
    /// Command that prints where the time went.
    pub phases: &'a str,
}

/// Whether a boot also waits for the idle memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Wait this long after Docker is up, then read it.
    After(Duration),
    /// Do not.
    Skip,
}

/// Boots `side` once. An emulator crash is reported and tried again, once.
///
/// # Errors
/// When the side does not come up.
pub fn boot(side: &Side<'_>, memory: Memory, logs: &Path) -> Result<Sample> {
    match boot_once(side, memory, logs) {
        Err(error) if error.is_emulator_fault() => {
            eprintln!("bench: {}: {}; once more", side.name, error.chain());
            boot_once(side, memory, logs)
        }
        other => other,
    }
}

fn boot_once(side: &Side<'_>, memory: Memory, logs: &Path) -> Result<Sample> {
    let mut vm = Vm::start(&side.machine, logs)?;
    let patience = Patience::seconds(300);
    let api = vm.wait_for_text("PROBE api", patience)?;
    let version = vm.wait_for_text("PROBE docker-version", patience)?;
    let cpu_s = vm.processor_seconds()?;
    let ssh = Ssh::new(side.key, "rancher", side.port, vm.scratch());
    ssh.wait_for_login(LOGIN, || vm.check_alive("an ssh login"))?;
    let login_s = vm.age().as_secs_f64();
    let memory_kib = match memory {
        Memory::Skip => None,
        Memory::After(idle) => {
            // Not a guess at readiness: the figure is defined as the use after this much idling.
            std::thread::sleep((version.at + idle).saturating_sub(vm.age()));
            Some(memory_in_use(&ssh.ok("cat /proc/meminfo")?)?)
        }
    };
    let phases = ssh.run(side.phases)?.text();
    let milestones = side.milestones.iter().filter_map(|(name, text)| {
        let line = vm.console.find(Mark::default(), text)?;
        Some(((*name).to_owned(), line.at.as_secs_f64()))
    });
    let milestones = milestones.collect();
    Ok(Sample {
        api_s: api.at.as_secs_f64(),
        version_s: version.at.as_secs_f64(),
        cpu_s,
        login_s,
        memory_kib,
        milestones,
        phases,
    })
}

/// Boots `side` with its writes kept and powers it off cleanly, so that first-boot work is done before anything is measured.
/// Returns when `docker version` answered in that very first boot.
///
/// # Errors
/// When it does not come up or go down.
pub fn warm_up(side: &Side<'_>, logs: &Path) -> Result<Sample> {
    let mut vm = Vm::start(&side.machine, logs)?;
    let patience = Patience::seconds(400);
    let api = vm.wait_for_text("PROBE api", patience)?;
    let version = vm.wait_for_text("PROBE docker-version", patience)?;
    let cpu_s = vm.processor_seconds()?;
    let ssh = Ssh::new(side.key, "rancher", side.port, vm.scratch());
    ssh.wait_for_login(LOGIN, || vm.check_alive("an ssh login"))?;
    let login_s = vm.age().as_secs_f64();
    vm.power_off_by_button(Patience::seconds(300))?;
    Ok(Sample {
        api_s: api.at.as_secs_f64(),
        version_s: version.at.as_secs_f64(),
        cpu_s,
        login_s,
        ..Sample::default()
    })
}

/// MemTotal - MemAvailable in KiB from `/proc/meminfo`.
///
/// # Errors
/// When one of the two is not there.
pub fn memory_in_use(meminfo: &str) -> Result<f64> {
    let value = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.split_whitespace().next())
            .and_then(|text| text.parse::<f64>().ok())
    };
    match (value("MemTotal:"), value("MemAvailable:")) {
        (Some(total), Some(available)) => Ok(total - available),
        _ => Err(HarnessError::Form {
            what: "/proc/meminfo",
            detail: meminfo.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_in_use_is_the_difference() {
        let text = "MemTotal:        2000 kB\nMemFree: 5 kB\nMemAvailable:    1500 kB\n";
        assert!((memory_in_use(text).unwrap() - 500.0).abs() < f64::EPSILON);
        assert!(matches!(
            memory_in_use("MemTotal: 1 kB"),
            Err(HarnessError::Form { .. })
        ));
    }
}
