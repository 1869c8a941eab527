//! Terminals: which consoles exist, and making one the controlling terminal of a child.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The terminals that kernel messages go to, as in `console=`: `ttyS0`, `tty0`. The last is `/dev/console`.
pub fn active_consoles() -> Vec<String> {
    let text = std::fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// Opens `/dev/<name>` for reading and writing without making it our controlling terminal.
pub fn open(name: &str) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open(PathBuf::from("/dev").join(name))
}

/// Gives this process, and those that it starts, standard streams that take what is written: the kernel's log where the console does
/// not (`console=` names a line that the machine does not have). Gives whether that was so.
pub fn mend_streams() -> io::Result<bool> {
    // A terminal without hardware behind it refuses even nothing (drivers/tty/tty_io.c, `file_tty_write`).
    if rustix::io::write(rustix::stdio::stdout(), b"").is_ok() {
        return Ok(false);
    }
    let null = File::open("/dev/null")?;
    let log = OpenOptions::new().write(true).open("/dev/kmsg")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&log)?;
    rustix::stdio::dup2_stderr(&log)?;
    Ok(true)
}

/// Prepares `command` to run as leader of a new session with `terminal` as controlling terminal and standard streams.
pub fn run_on(command: &mut Command, terminal: &File) -> io::Result<()> {
    command.stdin(Stdio::from(terminal.try_clone()?));
    command.stdout(Stdio::from(terminal.try_clone()?));
    command.stderr(Stdio::from(terminal.try_clone()?));
    // SAFETY: only setsid(2) and ioctl(2) are called between fork and exec; both are async-signal-safe and allocate nothing.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            // 1: take the terminal even if another session still has it.
            if libc::ioctl(0, libc::TIOCSCTTY, 1) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    Ok(())
}
