//! Looking for the state device until it is there, may be made, or patience ends. The decision is a pure function.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kernel::block::{Kind, Resolve, Spec, resolve};
use kernel::uevent::Uevents;

use super::Error;
use super::format::{self, Blank};
use super::hardware::Coldplug;
use crate::machine::Machine;
use crate::plan::Disk;
use crate::{disks_seen, log};

/// With `rancher.state.wait`.
const PATIENCE: Duration = Duration::from_secs(60);
/// Without, and before a disk is formatted: disks that are just being found still count, until the kernel has been quiet for a while.
const SETTLE: Duration = Duration::from_secs(8);
const QUIET: Duration = Duration::from_secs(2);

/// A device to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its node.
    pub path: PathBuf,
    /// What lies on it.
    pub content: Option<kernel::block::Content>,
    /// Whether this boot made the file system.
    pub formatted: bool,
    /// What docker-machine had left on the disk.
    pub archive: Option<Vec<u8>>,
}

/// What one look at the devices showed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    target: Option<Resolve>,
    blank: Option<(PathBuf, Blank)>,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Mount(Resolve),
    Format(PathBuf, Blank),
    Wait,
    GiveUp,
}

/// A file system that is there always comes before making one, also one that is found a moment later: a disk is formatted when it is
/// the device itself, or when no more disks turn up.
fn decide(seen: Seen, settled: bool, time_is_up: bool) -> Step {
    let target = match seen.target {
        Some(target) if target.content.is_some() => return Step::Mount(target),
        // A path names a disk that has no file system yet.
        target => target,
    };
    match (seen.blank, target) {
        (Some((path, blank)), target) if target.is_some() || settled => Step::Format(path, blank),
        (None, Some(target)) => Step::Mount(target),
        _ if time_is_up => Step::GiveUp,
        _ => Step::Wait,
    }
}

/// Finds the device, waiting as the plan says, and formats one when it may.
pub fn find(machine: &mut Machine, disk: &Disk) -> Result<Found, Error> {
    let spec = Spec::parse(&disk.spec);
    let began = Instant::now();
    let events = Uevents::subscribe().ok();
    let mut coldplug = Coldplug::default();
    let mut last_event = Instant::now();
    loop {
        let settled = is_settled(began.elapsed(), last_event.elapsed());
        let time_is_up =
            is_time_up(disk.wait, began.elapsed(), last_event.elapsed()) || machine.stop.is_some();
        match decide(look(&spec, &disk.autoformat), settled, time_is_up) {
            Step::Mount(target) => return usable(target),
            Step::Format(path, blank) => {
                let archive = (blank == Blank::Boot2docker)
                    .then(|| format::archive(&path))
                    .flatten();
                let content = format::make(machine, &path, &disk.label, blank)?;
                return Ok(Found {
                    path,
                    content,
                    formatted: true,
                    archive,
                });
            }
            Step::GiveUp => {
                return Err(Error::NotFound {
                    spec: disk.spec.clone(),
                    waited: began.elapsed().as_secs(),
                    seen: disks_seen::describe(),
                });
            }
            Step::Wait => {}
        }
        if coldplug.load_new() {
            last_event = Instant::now();
            continue;
        }
        coldplug.announce(|| log::info(&format!("waiting for state device {}", disk.spec)));
        let fds: Vec<_> = events.iter().map(AsFd::as_fd).collect();
        machine.wait(&fds, Some(Instant::now() + Duration::from_secs(1)));
        if events.as_ref().is_some_and(Uevents::drain) {
            last_event = Instant::now();
        }
    }
}

fn is_time_up(wait: bool, elapsed: Duration, quiet: Duration) -> bool {
    if wait {
        elapsed >= PATIENCE
    } else {
        is_settled(elapsed, quiet)
    }
}

fn is_settled(elapsed: Duration, quiet: Duration) -> bool {
    elapsed >= SETTLE || quiet >= QUIET
}

fn look(spec: &Spec, autoformat: &[PathBuf]) -> Seen {
    let target = resolve(spec);
    // Reading the first MiB of every listed disk is only worth it when there is nothing to mount.
    let mounts = target
        .as_ref()
        .is_some_and(|target| target.content.is_some());
    let blank = if mounts {
        None
    } else {
        autoformat
            .iter()
            .find_map(|path| Some((path.clone(), format::blank(path)?)))
    };
    Seen { target, blank }
}

fn usable(target: Resolve) -> Result<Found, Error> {
    let device = target.path.display().to_string();
    let refuse = |what: &str, advice| {
        Err(Error::Unusable {
            device: device.clone(),
            what: what.to_owned(),
            advice,
        })
    };
    match target.content.as_ref().map(|content| content.kind) {
        None => refuse(
            "no file system that is known here",
            "format it, or list it in rancher.state.autoformat if it is empty",
        ),
        Some(Kind::Swap) => refuse("swap space", "give another device"),
        Some(Kind::Encrypted) => refuse(
            "an encrypted volume",
            "rancher.state.cryptsetup is not supported yet",
        ),
        Some(Kind::Lvm) => refuse(
            "an LVM volume",
            "rancher.state.lvm_scan is not supported yet",
        ),
        Some(Kind::Raid) => refuse(
            "a member of a RAID",
            "rancher.state.mdadm_scan is not supported yet",
        ),
        Some(Kind::FileSystem) => Ok(Found {
            path: target.path,
            content: target.content,
            formatted: false,
            archive: None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::block::Content;
    use std::path::Path;

    fn content(kind: Kind) -> Content {
        Content {
            kind,
            fstype: "ext4",
            label: None,
            uuid: None,
            has_errors: false,
        }
    }

    fn target(content: Option<Content>) -> Resolve {
        Resolve {
            path: "/dev/vda".into(),
            content,
        }
    }

    #[test]
    fn what_is_there_is_never_formatted() {
        let seen = Seen {
            target: Some(target(Some(content(Kind::FileSystem)))),
            blank: Some(("/dev/vdb".into(), Blank::Zeroes)),
        };
        assert!(
            matches!(decide(seen, false, false), Step::Mount(found) if found.path == Path::new("/dev/vda"))
        );
    }

    #[test]
    fn a_blank_disk_is_formatted_when_no_more_disks_turn_up() {
        let look = |target| Seen {
            target,
            blank: Some(("/dev/vda".into(), Blank::Zeroes)),
        };
        let format = Step::Format("/dev/vda".into(), Blank::Zeroes);
        assert_eq!(decide(look(None), false, false), Step::Wait);
        // With `wait`, too: it is for disks that are slow to come, and there is one already.
        assert_eq!(decide(look(None), true, false), format);
        // dev=/dev/vda autoformat=[/dev/vda]
        assert_eq!(decide(look(Some(target(None))), false, false), format);
    }

    #[test]
    fn nothing_there_waits_and_then_gives_up() {
        assert_eq!(decide(Seen::default(), false, false), Step::Wait);
        assert_eq!(decide(Seen::default(), true, true), Step::GiveUp);
    }

    #[test]
    fn patience() {
        let s = Duration::from_secs;
        assert!(!is_time_up(true, s(59), s(50)) && is_time_up(true, s(60), s(0)));
        assert!(
            !is_time_up(false, s(3), s(1))
                && is_time_up(false, s(3), s(2))
                && is_time_up(false, s(8), s(0))
        );
        assert!(!is_settled(s(3), s(1)) && is_settled(s(3), s(2)) && is_settled(s(8), s(0)));
    }

    #[test]
    fn what_cannot_be_mounted_is_named() {
        let error = usable(target(Some(content(Kind::Encrypted)))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "state device /dev/vda holds an encrypted volume; rancher.state.cryptsetup is not supported yet"
        );
        assert!(usable(target(Some(content(Kind::FileSystem)))).is_ok());
    }
}
