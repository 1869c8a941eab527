//! Ends what users who are gone have running in this console: a connection that is open would outlive its account.
//!
//! Owns no process: finds them by user id and control group. In a container of Docker the same id is somebody else, and the console shares the
//! process ids of the machine.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Looks again this often: what is ended may just have started something.
const ROUNDS: usize = 20;
const PAUSE: Duration = Duration::from_millis(20);

/// Ends every process that has one of `ids` and runs in our control group. Returns how many were told to.
pub fn end(ids: &BTreeSet<u32>) -> usize {
    let mut all = BTreeSet::new();
    if ids.is_empty() {
        return 0;
    }
    let Ok(group) = fs::read_to_string("/proc/self/cgroup") else {
        return 0;
    };
    for _ in 0..ROUNDS {
        let ended: BTreeSet<i32> = processes()
            .filter(|pid| end_one(*pid, ids, &group).is_some())
            .map(|pid| pid.as_raw_nonzero().get())
            .collect();
        if ended.is_empty() {
            break;
        }
        all.extend(ended);
        thread::sleep(PAUSE);
    }
    all.len()
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

/// Takes hold of the process before it looks at it: its number may be another's a moment later.
fn end_one(pid: Pid, ids: &BTreeSet<u32>, group: &str) -> Option<()> {
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let of = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
    let is_one = has_id(&of("status")?, ids) && of("cgroup")? == group;
    if !is_one {
        return None;
    }
    pidfd_send_signal(&process, Signal::KILL).ok()
}

/// By the text of `status` (proc(5)): real, effective, saved and file system id. What has ended and is not reaped counts no more.
fn has_id(status: &str, ids: &BTreeSet<u32>) -> bool {
    let field = |name: &str| {
        let mut lines = status.lines();
        lines.find_map(|line| line.strip_prefix(name))
    };
    let is_over = field("State:").is_none_or(|state| state.trim_start().starts_with(['Z', 'X']));
    let mut own = field("Uid:").unwrap_or_default().split_whitespace();
    !is_over && own.any(|id| id.parse().is_ok_and(|id| ids.contains(&id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::Command;

    #[test]
    fn a_process_is_known_by_any_of_its_ids() {
        let status = "Name:\tUid: 1\nState:\tS (sleeping)\nUid:\t0\t2000\t0\t0\n";
        assert!(has_id(status, &[2000].into()));
        assert!(!has_id(status, &[1].into()));
        assert!(!has_id(&status.replace("S (", "Z ("), &[2000].into()));
    }

    #[test]
    fn who_is_gone_runs_nothing_any_more_and_others_do() {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "this test needs root");
            eprintln!("skipped: needs root");
            return;
        }
        let sleeper = |uid| Command::new("sleep").arg("60").uid(uid).spawn().unwrap();
        // Ids that nobody has by chance.
        let mut gone = sleeper(1_987_654_321);
        let mut other = sleeper(1_987_654_322);
        // In a container of Docker: another control group.
        let pid = Pid::from_child(&gone);
        let elsewhere = end_one(pid, &[1_987_654_321].into(), "0::/elsewhere\n");
        assert!(elsewhere.is_none() && gone.try_wait().unwrap().is_none());
        assert_eq!(end(&[1_987_654_321].into()), 1);
        assert_eq!(gone.wait().unwrap().signal(), Some(9));
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
