//! Children and other processes: reaping, killing, joining a control group, priorities for the OOM killer.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use crate::cgroup::Group;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// Whether it exited with 0.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

/// Bytes of memory that the machine's programs share: sysinfo(2), `MemTotal` of `/proc/meminfo`.
pub fn memory_size() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

/// Takes one ended child, of whatever parentage, off the kernel's hands. Never blocks.
pub fn reap() -> Option<(u32, Exit)> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let pid = u32::try_from(pid.as_raw_nonzero().get()).unwrap_or_default();
                if let Some(code) = status.exit_status() {
                    return Some((pid, Exit::Code(code)));
                }
                if let Some(signal) = status.terminating_signal() {
                    return Some((pid, Exit::Signal(signal)));
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// SIGTERM: please end.
    Terminate,
    /// SIGKILL: end now.
    Kill,
    /// SIGHUP, which shells end on.
    HangUp,
}

impl Kill {
    fn signal(self) -> Signal {
        match self {
            Self::Terminate => Signal::TERM,
            Self::Kill => Signal::KILL,
            Self::HangUp => Signal::HUP,
        }
    }
}

/// Signals one process; false when there is none of that number.
pub fn kill(pid: u32, how: Kill) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| kill_process(pid, how.signal()).is_ok())
}

/// Whether there is a process of that number, ended ones that nobody has reaped included.
pub fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

/// Signals every process but this one and the kernel's own threads; false when there is none left.
pub fn kill_everything(how: Kill) -> bool {
    // SAFETY: kill(2) with -1 touches no memory of ours; as PID 1 the kernel leaves the caller out.
    unsafe { libc::kill(-1, how.signal().as_raw()) == 0 }
}

/// Numbers and names of the user-space processes other than this one.
pub fn others() -> Vec<(u32, String)> {
    let own = std::process::id();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|&pid| pid != own)
        .filter_map(|pid| Some((pid, user_process_name(pid)?)))
        .collect()
}

/// The name in `/proc/<pid>/comm`, unless it is a kernel thread (no executable) or has already ended.
fn user_process_name(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let mut fields = tail.split_whitespace();
    let state = fields.next()?;
    // Field 9 of proc_pid_stat(5), the sixth after the state, holds the flags; PF_KTHREAD marks kernel threads.
    let flags: u32 = fields.nth(5)?.parse().ok()?;
    const PF_KTHREAD: u32 = 0x0020_0000;
    (state != "Z" && flags & PF_KTHREAD == 0)
        .then(|| head.split_once('(').map(|(_, name)| name.to_owned()))?
}

/// Makes `command` join `group`, lead its own session and have no signal blocked before it runs.
pub fn isolate(command: &mut Command, group: Option<&Group>) -> io::Result<()> {
    let procs = group
        .map(|group| File::options().write(true).open(group.procs_file()))
        .transpose()?;
    crate::signals::unblock_in(command);
    // SAFETY: only write(2) and setsid(2) are called between fork and exec; both are async-signal-safe and allocate nothing.
    unsafe {
        command.pre_exec(move || {
            if let Some(procs) = &procs {
                rustix::io::write(procs, b"0")?;
            }
            rustix::process::setsid()?;
            Ok(())
        });
    }
    Ok(())
}

/// How likely the OOM killer picks a process: -1000 (never) to 1000 (first).
pub fn set_oom_score(pid: u32, score: i32) -> io::Result<()> {
    std::fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string())
}

/// Raises the limit on open files of this process and of all that it will start.
pub fn set_open_files_limit(limit: u64) -> io::Result<()> {
    let limit = rustix::process::Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).map_err(Into::into)
}

/// Makes `new_root` (a mount moved over `/`) the root of this process.
pub fn change_root(new_root: &str) -> io::Result<()> {
    rustix::process::chroot(new_root)?;
    rustix::process::chdir("/")?;
    Ok(())
}

/// Makes orphans of this process's descendants its children, as they are PID 1's anyway. For tests and other supervisors.
pub fn become_subreaper() -> io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true).map_err(Into::into)
}

/// Descriptor number of `file`, for `/proc/self/fd/N` paths.
pub fn fd_path(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_this_machine_without_kernel_threads_and_itself() {
        let all = others();
        assert!(all.iter().all(|(pid, _)| *pid != std::process::id()));
        assert!(!all.iter().any(|(_, name)| name == "kthreadd"));
    }

    #[test]
    fn an_exit_prints_its_cause() {
        assert_eq!(Exit::Code(3).to_string(), "exited with 3");
        assert_eq!(Exit::Signal(9).to_string(), "killed by signal 9");
        assert!(!Exit::Signal(0).is_success());
    }
}
