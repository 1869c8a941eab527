//! Room in an emergency: a file on the state disk that is given up when the disk is full, so that the daemons can start and its
//! owner can log in and delete something.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::log;

const NAME: &str = ".ros-reserve";
const SIZE: u64 = 32 << 20;
/// Below this, databases of containerd and Docker cannot be written.
const FULL: u64 = 16 << 20;
/// The reserve is made only where it takes little away.
const PLENTY: u64 = 256 << 20;

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Keep,
    Make,
    GiveUp,
    TellFull,
}

fn decide(available: u64, has_reserve: bool) -> Step {
    match (available, has_reserve) {
        (available, true) if available < FULL => Step::GiveUp,
        (available, false) if available < FULL => Step::TellFull,
        (available, false) if available > PLENTY => Step::Make,
        _ => Step::Keep,
    }
}

/// Looks at the file system of `state` and acts.
pub fn settle(state: &Path) {
    let Ok(available) = kernel::disk::available(state) else {
        return;
    };
    let file = state.join(NAME);
    let result = match decide(available, file.exists()) {
        Step::Keep => Ok(()),
        Step::Make => make(&file),
        Step::GiveUp => {
            log::error(&format!(
                "the state file system is full; giving up {} MiB kept for this. Delete something and reboot",
                SIZE >> 20
            ));
            std::fs::remove_file(&file)
        }
        Step::TellFull => {
            log::error(&format!(
                "the state file system is full ({} KiB left): services may fail. Delete something and reboot",
                available >> 10
            ));
            Ok(())
        }
    };
    if let Err(error) = result {
        log::debug(&format!("{}: {error}", file.display()));
    }
}

fn make(file: &Path) -> io::Result<()> {
    let file = File::create(file)?;
    kernel::disk::allocate(&file, SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_for_full_disks() {
        assert_eq!(decide(10 << 30, false), Step::Make);
        assert_eq!(decide(10 << 30, true), Step::Keep);
        assert_eq!(decide(100 << 20, false), Step::Keep);
        assert_eq!(decide(1 << 20, true), Step::GiveUp);
        assert_eq!(decide(0, false), Step::TellFull);
    }
}
