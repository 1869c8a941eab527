//! A running virtual machine: its QEMU process, console, monitor and scratch folder.
//! Owns all four and ends them when dropped; what is judged with them is the tests' business.

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::console::{Console, Line, Mark};
use crate::error::{HarnessError, Result};
use crate::machine::{Machine, Ports};
use crate::monitor::Monitor;
use crate::tool;
use crate::wait::{Look, Patience, until};

/// The emulator's program name.
pub const QEMU: &str = "qemu-system-x86_64";

/// One running machine.
pub struct Vm {
    /// Its name, for reports.
    pub name: String,
    /// Its serial console.
    pub console: Console,
    /// Its monitor.
    pub monitor: Monitor,
    child: Child,
    started: Instant,
    scratch: tempfile::TempDir,
    log: PathBuf,
}

impl Vm {
    /// Starts QEMU and connects to it. The console log stays in `logs` after the machine is gone.
    ///
    /// # Errors
    /// When QEMU cannot be started or ends at once.
    pub fn start(machine: &Machine, logs: &Path) -> Result<Self> {
        let scratch = tempfile::tempdir().map_err(HarnessError::file(
            "make scratch folder",
            std::env::temp_dir(),
        ))?;
        std::fs::create_dir_all(logs).map_err(HarnessError::file("make log folder", logs))?;
        let (serial, monitor) = (
            scratch.path().join("serial"),
            scratch.path().join("monitor"),
        );
        let (serial_door, monitor_door) = (listen(&serial)?, listen(&monitor)?);
        let log = logs.join(format!("{}.log", machine.name));
        let errors_file = logs.join(format!("{}.qemu", machine.name));
        let errors = std::fs::File::create(&errors_file)
            .map_err(HarnessError::file("create QEMU log", &errors_file))?;
        let started = Instant::now();
        // A test that is killed must not leave its machine behind: setpriv becomes QEMU, which then dies with this thread.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(tool::find(QEMU).unwrap_or_else(|| QEMU.into()))
            .args(machine.arguments(&Ports::Sockets { serial, monitor }))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .map_err(|source| HarnessError::Start {
                program: QEMU.into(),
                source,
            })?;
        let streams = accept(&serial_door, &mut child, &errors_file)
            .and_then(|serial| Ok((serial, accept(&monitor_door, &mut child, &errors_file)?)));
        let connected = streams.and_then(|(serial, monitor)| {
            Ok((
                Console::attach(serial, started, &log)?,
                Monitor::attach(monitor)?,
            ))
        });
        match connected {
            Ok((console, monitor)) => Ok(Self {
                name: machine.name.clone(),
                console,
                monitor,
                child,
                started,
                scratch,
                log,
            }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// Since the start of the QEMU process.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Processor seconds that QEMU has used so far: what a boot costs, however busy the host is.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn processor_seconds(&self) -> Result<f64> {
        let file = PathBuf::from(format!("/proc/{}/stat", self.child.id()));
        let text = std::fs::read_to_string(&file)
            .map_err(HarnessError::file("read QEMU's times", &file))?;
        // proc(5): utime and stime are fields 14 and 15; the name in field 2 may hold blanks but ends with the last bracket.
        let fields = text
            .rsplit_once(')')
            .map(|(_, rest)| rest)
            .unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: f64 = ticks.filter_map(|field| field.parse::<f64>().ok()).sum();
        // USER_HZ is 100 on every Linux that QEMU's x86 binaries run on.
        Ok(ticks / 100.0)
    }

    /// A folder that lives as long as the machine.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Where the whole console output is kept.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits for a console text from the start of the boot on.
    ///
    /// # Errors
    /// Timeout, the guest's death, or QEMU's end.
    pub fn wait_for_text(&mut self, text: &str, patience: Patience) -> Result<Line> {
        let found = self.console.wait_for(Mark::default(), text, patience);
        found.map_err(|error| self.explain(text, error))
    }

    /// Waits for QEMU to end by the guest's own power-off.
    ///
    /// # Errors
    /// Timeout with the console's end, or another exit status than 0.
    pub fn wait_for_power_off(&mut self, patience: Patience) -> Result<Duration> {
        let begin = Instant::now();
        let status: ExitStatus = until("the machine to power off", patience, || {
            match self.child.try_wait() {
                Ok(Some(status)) => Ok(Look::Seen(status)),
                _ => Ok(Look::NotYet(format!(
                    "the console ends with\n{}",
                    self.console.tail(12)
                ))),
            }
        })?;
        if status.success() {
            return Ok(begin.elapsed());
        }
        Err(HarnessError::Ended {
            what: "power off".into(),
            status: status.to_string(),
        })
    }

    /// Presses the power button until QEMU ends: a press before anything in the guest listens is lost. Returns how long it took.
    ///
    /// # Errors
    /// Timeout with the console's end, or another exit status than 0.
    pub fn power_off_by_button(&mut self, patience: Patience) -> Result<Duration> {
        let begin = Instant::now();
        loop {
            self.monitor.press_power_button()?;
            let off = self.wait_for_power_off(Patience::seconds(30));
            if off.is_ok() || begin.elapsed() >= patience.limit {
                return off.map(|_| begin.elapsed());
            }
        }
    }

    /// Says whether the guest died or QEMU ended.
    ///
    /// # Errors
    /// Emulator crash, kernel panic, or QEMU's end, with `what` was being waited for.
    pub fn check_alive(&mut self, what: &str) -> Result<()> {
        self.console.check_alive(Mark::default())?;
        match self.child.try_wait() {
            Ok(Some(status)) => Err(HarnessError::Ended {
                what: what.to_owned(),
                status: status.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// True while QEMU runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Pulls the plug.
    pub fn kill(&mut self) {
        end(&mut self.child);
    }

    /// Turns "nothing came" into the guest's death when that is the reason.
    pub fn explain(&mut self, what: &str, error: HarnessError) -> HarnessError {
        self.check_alive(what).err().unwrap_or(error)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // Both fail only when the process has ended already.
    drop(child.kill());
    drop(child.wait());
}

fn listen(path: &Path) -> Result<UnixListener> {
    let listener = UnixListener::bind(path).map_err(HarnessError::file("listen for QEMU", path))?;
    listener
        .set_nonblocking(true)
        .map_err(HarnessError::file("set socket mode", path))?;
    Ok(listener)
}

fn accept(door: &UnixListener, child: &mut Child, errors: &Path) -> Result<UnixStream> {
    let patience = Patience::seconds(30).every(Duration::from_millis(5));
    let stream = until("QEMU to connect", patience, || {
        if let Ok((stream, _)) = door.accept() {
            return Ok(Look::Seen(stream));
        }
        if let Ok(Some(status)) = child.try_wait() {
            let words = std::fs::read_to_string(errors).unwrap_or_default();
            return Err(HarnessError::Ended {
                what: "QEMU to connect".into(),
                status: format!("{status}; {}", words.trim()),
            });
        }
        Ok(Look::NotYet("no connection".into()))
    })?;
    stream
        .set_nonblocking(false)
        .map_err(HarnessError::file("set socket mode", errors))?;
    Ok(stream)
}
