//! Making a state file system on a disk that nobody has written to (`rancher.state.autoformat`).
//!
//! The only place that destroys data: it looks at the disk itself, whoever asks.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kernel::block::{self, Content};

use super::{Error, machine_disk};
use crate::log;
use crate::machine::Machine;
use crate::plan::PATH;

/// Discarding a large disk takes its time.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
const LOOKED_AT: usize = 1 << 20;
/// What docker-machine writes to a fresh disk, followed by a tar archive.
const MAGIC: &[u8] = b"boot2docker, please format-me";

/// In which way a disk is free to be formatted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blank {
    /// Its first MiB is all zero.
    Zeroes,
    /// boot2docker's text asks for it.
    Boot2docker,
}

/// Whether `device` may be formatted.
pub fn blank(device: &Path) -> Option<Blank> {
    if !device.exists() {
        return None;
    }
    let mut start = [0u8; MAGIC.len()];
    File::open(device).ok()?.read_exact(&mut start).ok()?;
    if start == *MAGIC {
        return Some(Blank::Boot2docker);
    }
    let zeroes = block::starts_with_zeroes(device, LOOKED_AT).unwrap_or(false);
    // btrfs keeps its first MiB empty but for its superblock, md 0.90 and 1.0 write at the end only.
    (zeroes && block::probe(device).is_none()).then_some(Blank::Zeroes)
}

/// The archive that docker-machine wrote to the start of `device`, before formatting destroys it.
pub fn archive(device: &Path) -> Option<Vec<u8>> {
    let mut archive = vec![0; machine_disk::ARCHIVE];
    File::open(device).ok()?.read_exact(&mut archive).ok()?;
    Some(archive)
}

/// Makes an ext4 file system over the whole device; gives what lies on it then.
pub fn make(
    machine: &mut Machine,
    device: &Path,
    label: &str,
    blank: Blank,
) -> Result<Option<Content>, Error> {
    let fail = |reason: String| Error::Format {
        device: device.display().to_string(),
        reason,
    };
    if self::blank(device) != Some(blank) {
        return Err(fail("it is not blank any more".into()));
    }
    log::info(&format!("formatting {} as {label}", device.display()));
    let output = "/run/ros/mkfs.log";
    let file = File::create(output).map_err(|error| fail(error.to_string()))?;
    let errors = file.try_clone().map_err(|error| fail(error.to_string()))?;
    let mut command = Command::new("mkfs.ext4");
    command
        .args(["-q", "-F", "-L", label])
        .arg(device)
        .env_clear()
        .env("PATH", PATH);
    command.stdin(Stdio::null()).stdout(file).stderr(errors);
    let exit = machine
        .run(&mut command, PATIENCE)
        .map_err(|error| fail(crate::outcome::chain(&error)))?;
    if !exit.is_success() {
        let said = std::fs::read_to_string(output).unwrap_or_default();
        return Err(fail(format!("mkfs.ext4 {exit}: {}", said.trim())));
    }
    Ok(block::probe(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(start: &[u8], at: usize) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = vec![0u8; 4 << 20];
        bytes[at..at + start.len()].copy_from_slice(start);
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    #[test]
    fn only_untouched_disks_are_blank() {
        assert_eq!(blank(disk(b"", 0).path()), Some(Blank::Zeroes));
        assert_eq!(
            blank(disk(b"boot2docker, please format-me\0rest", 0).path()),
            Some(Blank::Boot2docker)
        );
        // A partition table, something late in the first MiB.
        assert_eq!(blank(disk(&[0x55, 0xaa], 510).path()), None);
        assert_eq!(blank(disk(b"x", (1 << 20) - 1).path()), None);
        assert_eq!(blank(Path::new("/dev/no-such-disk")), None);
    }

    #[test]
    fn a_raid_member_with_its_mark_at_the_end_is_not_blank() {
        let mut mark = 0xa92b_4efc_u32.to_le_bytes().to_vec();
        mark.push(1);
        let at = (((4 << 20) / 512 - 16) & !7) * 512;
        assert_eq!(blank(disk(&mark, at).path()), None);
    }
}
