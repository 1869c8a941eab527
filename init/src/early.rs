//! Phase `early-mounts`: what everything else needs to see the machine. Runs on the initramfs.

use std::path::Path;

use kernel::mount::{self, Flags};

use crate::facts::Facts;
use crate::log;
use crate::machine::Machine;
use crate::outcome::Halted;

/// Mounts `/proc`, `/sys` and `/dev`, opens the consoles, reads the facts.
pub fn run(machine: &mut Machine) -> Result<(), Halted> {
    let hardened = Flags::NOSUID | Flags::NODEV | Flags::NOEXEC;
    for (fstype, target, flags, options) in [
        ("proc", "/proc", hardened, ""),
        ("sysfs", "/sys", hardened, ""),
        ("devtmpfs", "/dev", Flags::NOSUID, "mode=0755"),
    ] {
        mount::on_new_directory(Path::new(target), |target| {
            mount::mount(fstype, target, fstype, flags, options)
        })?;
    }
    log::open_consoles();
    match kernel::tty::mend_streams() {
        Ok(false) => {}
        Ok(true) => {
            log::warn("no console takes what is written: look at the kernel's log, `dmesg`")
        }
        Err(error) => log::warn(&format!("cannot mend the standard streams: {error}")),
    }
    machine.facts = Facts::read();
    machine.record.image_id = machine.facts.image_id.clone();
    // Without it Ctrl-Alt-Del resets the machine under the file systems; a kernel that refuses still boots.
    if let Err(error) = kernel::power::ctrl_alt_del_to_init() {
        log::warn(&format!("Ctrl-Alt-Del resets the machine at once: {error}"));
    }
    // Our lines in the kernel's log must not be thinned out at boot.
    kernel::sysctl::set("kernel.printk_devkmsg", "on").ok();
    Ok(())
}
