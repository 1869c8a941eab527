//! The guest's serial console: everything it ever said, with the time of each line, and a way to type.
//! Owns the socket to QEMU's serial port and the log file; recognises deaths of the guest, decides nothing about them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{HarnessError, Result};
use crate::wait::{Look, Patience, until};

/// Console texts that only the emulator's own defects produce (see [`HarnessError::EmulatorCrash`]).
const EMULATOR_CRASHES: [&str; 4] = [
    "Oops: int3",
    "traps: double fault",
    "PANIC: double fault",
    "Oops: double fault",
];
/// Console texts after which the guest is dead by its own fault.
const PANICS: [&str; 2] = ["Kernel panic - not syncing", "end Kernel panic"];

/// One console line and when its first byte came, counted from the start of QEMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Since the start of the QEMU process.
    pub at: Duration,
    /// Without line ending and terminal control sequences.
    pub text: String,
}

/// A place in the console's output; waits look only behind it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark(usize);

#[derive(Default)]
struct Seen {
    lines: Vec<Line>,
    partial: Option<Line>,
    closed: bool,
}

/// The console of one virtual machine.
pub struct Console {
    seen: Arc<Mutex<Seen>>,
    writer: UnixStream,
}

impl Console {
    /// Reads from `stream` in the background until QEMU closes it, copying all to `log`.
    ///
    /// # Errors
    /// When the log cannot be made or the socket cannot be shared.
    pub fn attach(stream: UnixStream, started: Instant, log: &Path) -> Result<Self> {
        let file = File::create(log).map_err(HarnessError::file("create console log", log))?;
        let writer = stream
            .try_clone()
            .map_err(HarnessError::file("share console socket", log))?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || read_all(stream, file, started, &shared));
        Ok(Self { seen, writer })
    }

    /// Waits for a line behind `from` that contains `text`, also one that is not ended yet, such as a prompt.
    ///
    /// # Errors
    /// Timeout with the console's last lines; a panic or emulator crash as soon as it is seen.
    pub fn wait_for(&self, from: Mark, text: &str, patience: Patience) -> Result<Line> {
        until(
            &format!("console text {text:?}"),
            patience.every(Duration::from_millis(20)),
            || {
                if let Some(line) = self.find(from, text) {
                    return Ok(Look::Seen(line));
                }
                self.check_alive(from)?;
                Ok(Look::NotYet(format!(
                    "the console ends with\n{}",
                    self.tail(12)
                )))
            },
        )
    }

    /// The first line behind `from` that contains `text`.
    pub fn find(&self, from: Mark, text: &str) -> Option<Line> {
        let seen = self.lock();
        seen.lines
            .iter()
            .skip(from.0)
            .chain(seen.partial.as_ref())
            .find(|line| line.text.contains(text))
            .cloned()
    }

    /// All ended lines behind `from`.
    pub fn lines(&self, from: Mark) -> Vec<Line> {
        self.lock().lines.iter().skip(from.0).cloned().collect()
    }

    /// The present end of the output.
    pub fn mark(&self) -> Mark {
        Mark(self.lock().lines.len())
    }

    /// Types `text` as it is; add `\n` for the enter key.
    ///
    /// # Errors
    /// When QEMU has closed the port.
    pub fn type_text(&self, text: &str) -> Result<()> {
        (&self.writer)
            .write_all(text.as_bytes())
            .map_err(HarnessError::file("type on the console", "serial port"))
    }

    /// The last `count` lines with their times, for a report.
    pub fn tail(&self, count: usize) -> String {
        let seen = self.lock();
        let all: Vec<&Line> = seen.lines.iter().chain(seen.partial.as_ref()).collect();
        let skip = all.len().saturating_sub(count);
        let texts: Vec<String> = all
            .into_iter()
            .skip(skip)
            .map(|line| format!("{:>8.2} {}", line.at.as_secs_f64(), line.text))
            .collect();
        texts.join("\n")
    }

    /// True once QEMU has closed the port.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Says whether the guest died behind `from`.
    ///
    /// # Errors
    /// The emulator crash or the kernel panic seen there.
    pub fn check_alive(&self, from: Mark) -> Result<()> {
        let seen = self.lock();
        let mut panic = None;
        for line in seen.lines.iter().skip(from.0) {
            if EMULATOR_CRASHES.iter().any(|sign| line.text.contains(sign)) {
                return Err(HarnessError::EmulatorCrash {
                    line: line.text.clone(),
                });
            }
            if panic.is_none() && PANICS.iter().any(|sign| line.text.contains(sign)) {
                panic = Some(line.text.clone());
            }
        }
        panic.map_or(Ok(()), |line| Err(HarnessError::Panic { line }))
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_all(mut stream: UnixStream, mut log: File, started: Instant, seen: &Mutex<Seen>) {
    let mut buffer = [0_u8; 8192];
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        // The log is a convenience for people: a full disk must not end the test.
        drop(log.write_all(bytes));
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(bytes, started.elapsed());
    }
    seen.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
}

impl Seen {
    fn take(&mut self, bytes: &[u8], at: Duration) {
        for part in String::from_utf8_lossy(bytes).split_inclusive('\n') {
            let line = self.partial.get_or_insert_with(|| Line {
                at,
                text: String::new(),
            });
            line.text.push_str(part);
            if part.ends_with('\n')
                && let Some(mut line) = self.partial.take()
            {
                line.text = plain(&line.text);
                self.lines.push(line);
            }
        }
    }
}

/// Removes terminal control sequences (ECMA-48 CSI and two-byte escapes), carriage returns and line ends.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => {
                if chars.next() == Some('[') {
                    // Parameters and intermediates end with a byte from '@' to '~'.
                    chars.by_ref().find(|c| ('@'..='~').contains(c));
                }
            }
            '\r' | '\n' => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console_of(text: &str) -> (Console, UnixStream, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let console = Console::attach(ours, Instant::now(), &dir.path().join("log")).unwrap();
        theirs.write_all(text.as_bytes()).unwrap();
        (console, theirs, dir)
    }

    #[test]
    fn finds_ended_lines_and_prompts() {
        let (console, _peer, _dir) =
            console_of("\u{1b}[1;32mhello\u{1b}[0m world\r\nrancher login: ");
        let patience = Patience::seconds(2);
        assert_eq!(
            console
                .wait_for(Mark::default(), "hello", patience)
                .unwrap()
                .text,
            "hello world"
        );
        assert!(
            console
                .wait_for(Mark::default(), "login:", patience)
                .is_ok()
        );
    }

    #[test]
    fn an_emulator_crash_ends_the_wait_and_is_told_from_a_panic() {
        let (console, _peer, _dir) =
            console_of("Kernel panic - not syncing: x\nOops: int3: 0000 [#1]\n");
        let error = console
            .wait_for(Mark::default(), "never", Patience::seconds(5))
            .unwrap_err();
        assert!(error.is_emulator_fault(), "{error}");
        let (console, _peer, _dir) = console_of("Kernel panic - not syncing: x\n");
        let error = console
            .wait_for(Mark::default(), "never", Patience::seconds(5))
            .unwrap_err();
        assert!(matches!(error, HarnessError::Panic { .. }), "{error}");
    }

    #[test]
    fn a_mark_hides_what_came_before() {
        let (console, mut peer, _dir) = console_of("one\n");
        console
            .wait_for(Mark::default(), "one", Patience::seconds(2))
            .unwrap();
        let mark = console.mark();
        assert!(console.find(mark, "one").is_none());
        peer.write_all(b"two\n").unwrap();
        assert_eq!(
            console
                .wait_for(mark, "two", Patience::seconds(2))
                .unwrap()
                .text,
            "two"
        );
    }
}
