//! Phases `configuration` and `kernel-settings`: reads the cloud-config, tells what is wrong with it, sets what the kernel holds.
//!
//! Nothing here stops a boot: what cannot be set is said and passed over.

use std::path::Path;

use os_config::{Config, Place, Severity, store};

use crate::machine::Machine;
use crate::outcome::{Halted, chain};
use crate::record::RUN;
use crate::{log, plan};

/// Reads the configuration as far as it is visible without the state file system.
pub fn run(machine: &mut Machine) -> Result<(), Halted> {
    read(machine);
    if machine.loaded.config.rancher.recovery {
        return Err(Halted::RecoveryAsked);
    }
    Ok(())
}

/// Reads all that is visible now.
pub fn read(machine: &mut Machine) {
    machine.loaded = store::load(&Place::new(Path::new("/")), &machine.facts.cmdline);
    if machine.loaded.config.rancher.debug {
        log::show_debug();
    }
}

/// Host name, `/etc/hosts`, sysctl and modules.
pub fn apply_kernel_settings(machine: &mut Machine) -> Result<(), Halted> {
    machine.applied = machine.loaded.config.clone();
    let config = &machine.applied;
    set_host_name(config)?;
    set_free_reserve();
    for (name, value) in &config.rancher.sysctl {
        if let Err(error) = kernel::sysctl::set(name, value) {
            log::warn(&format!("rancher.sysctl: {}", chain(&error)));
        }
    }
    load_modules(config);
    Ok(())
}

/// Before the user's own settings. A kernel that holds less back already, or refuses, is left alone.
fn set_free_reserve() {
    const NAME: &str = "vm.min_free_kbytes";
    let kernels = std::fs::read_to_string("/proc/sys/vm/min_free_kbytes")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    let ours = plan::free_reserve_kib(kernel::process::memory_size() >> 10);
    if kernels.is_some_and(|kernels| ours < kernels)
        && let Err(error) = kernel::sysctl::set(NAME, &ours.to_string())
    {
        log::debug(&format!("{NAME}: {}", chain(&error)));
    }
}

fn set_host_name(config: &Config) -> Result<(), Halted> {
    let name = config.host_name();
    kernel::sysctl::set_host_name(name)?;
    std::fs::write("/etc/hostname", format!("{name}\n"))?;
    std::fs::write("/etc/hosts", plan::hosts_file(name))?;
    // Containers have it bound: it must be a file, whoever fills it.
    if !Path::new("/etc/resolv.conf").exists() {
        std::fs::write("/etc/resolv.conf", "")?;
    }
    Ok(())
}

fn load_modules(config: &Config) {
    let modules = plan::modules(config);
    if modules.is_empty() {
        return;
    }
    let index = match kernel::modules::Index::of_running_kernel() {
        Ok(index) => index,
        Err(error) => return log::error(&format!("rancher.modules: {}", chain(&error))),
    };
    for module in modules {
        if let Err(error) = index.load(&module.name, &module.parameters) {
            log::error(&format!("rancher.modules: {}", chain(&error)));
        }
    }
}

/// Says on the console what is wrong with the configuration and keeps it for the banner and `ros config validate`.
pub fn report(machine: &Machine) -> Result<(), Halted> {
    let problems = &machine.loaded.problems;
    for problem in problems {
        match problem.severity {
            Severity::Error => log::error(&problem.to_string()),
            Severity::Warning => log::warn(&problem.to_string()),
            Severity::Notice => log::info(&problem.to_string()),
        }
    }
    let text = serde_json::to_string_pretty(problems)?;
    crate::record::write_whole(&Path::new(RUN).join("problems.json"), &format!("{text}\n"))?;
    Ok(())
}
