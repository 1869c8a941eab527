//! Loading the drivers that a disk may need, by the aliases of the hardware that is there.
//!
//! Only storage: everything else is udev's.

use std::collections::HashSet;

use kernel::modules::{Index, present_hardware};

use crate::log;
use crate::outcome::chain;

/// What has been loaded for already.
#[derive(Debug, Default)]
pub struct Coldplug {
    index: Option<Index>,
    done: HashSet<String>,
    announced: bool,
}

impl Coldplug {
    /// Loads drivers for storage that has appeared since the last call; true when that loaded anything.
    pub fn load_new(&mut self) -> bool {
        let new: Vec<String> = present_hardware()
            .into_iter()
            .filter(|alias| may_lead_to_a_disk(alias))
            .filter(|alias| self.done.insert(alias.clone()))
            .collect();
        if new.is_empty() {
            return false;
        }
        if self.index.is_none() {
            match Index::of_running_kernel() {
                Ok(index) => self.index = Some(index),
                Err(error) => log::warn(&chain(&error)),
            }
        }
        let Some(index) = &self.index else {
            return false;
        };
        let names: Vec<&str> = new
            .iter()
            .flat_map(|alias| index.for_alias(alias))
            .collect();
        // A driver may refuse hardware that its alias covers.
        names
            .iter()
            .filter(|name| {
                index
                    .load(name, "")
                    .inspect_err(|error| log::debug(&chain(error)))
                    .is_ok()
            })
            .count()
            > 0
    }

    /// Calls `say` the first time.
    pub fn announce(&mut self, say: impl FnOnce()) {
        if !std::mem::replace(&mut self.announced, true) {
            say();
        }
    }
}

/// PCI by class (01 mass storage, 08 05 SD hosts, 0c serial buses), and the buses that carry disks.
fn may_lead_to_a_disk(alias: &str) -> bool {
    match alias.split_once(':') {
        Some(("pci", rest)) => {
            rest.contains("bc01") || rest.contains("bc08sc05") || rest.contains("bc0C")
        }
        Some((bus, _)) => matches!(
            bus,
            "virtio" | "vmbus" | "xen" | "scsi" | "mmc" | "usb" | "nvme"
        ),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_cards_are_left_to_udev() {
        assert!(may_lead_to_a_disk(
            "pci:v00001000d00000054sv000015ADsd00001976bc01sc07i00"
        ));
        assert!(may_lead_to_a_disk(
            "usb:v0781p5567d0100dc00dsc00dp00ic08isc06ip50in00"
        ));
        assert!(!may_lead_to_a_disk(
            "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00"
        ));
        assert!(!may_lead_to_a_disk("acpi:PNP0501:"));
    }
}
