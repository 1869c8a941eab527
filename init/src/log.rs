//! Lines for people: on every console, in the format of RancherOS (`[            ] init:info: …`), and in the kernel's log.
//!
//! Must never block for long: a serial line that nobody reads drops text instead.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const O_NONBLOCK: i32 = 0o4000;
const O_NOCTTY: i32 = 0o400;

struct Outputs {
    consoles: Vec<Console>,
    kmsg: Option<File>,
    debug: bool,
}

struct Console {
    path: String,
    file: File,
}

static OUTPUTS: Mutex<Outputs> = Mutex::new(Outputs {
    consoles: Vec::new(),
    kmsg: None,
    debug: false,
});

/// Finds the consoles; call it once `/dev` and `/sys` are mounted. Before, lines go to standard output.
pub fn open_consoles() {
    let names = kernel::tty::active_consoles();
    let consoles = names.iter().filter_map(|name| {
        let path = format!("/dev/{name}");
        let file = open(&path)?;
        Some(Console { path, file })
    });
    let consoles = consoles.collect();
    let kmsg = open("/dev/kmsg");
    let mut outputs = OUTPUTS.lock().unwrap_or_else(PoisonError::into_inner);
    outputs.consoles = consoles;
    outputs.kmsg = kmsg;
}

fn open(path: &str) -> Option<File> {
    let flags = O_NONBLOCK | O_NOCTTY;
    OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(path)
        .ok()
}

/// Turns `debug` lines on.
pub fn show_debug() {
    OUTPUTS.lock().unwrap_or_else(PoisonError::into_inner).debug = true;
}

/// Something a reader of the boot wants to see.
pub fn info(text: &str) {
    line("info", text);
}

/// Something that works less well than asked for.
pub fn warn(text: &str) {
    line("warning", text);
}

/// Something that does not work.
pub fn error(text: &str) {
    line("error", text);
}

/// Details, with `rancher.debug`.
pub fn debug(text: &str) {
    if OUTPUTS.lock().unwrap_or_else(PoisonError::into_inner).debug {
        line("debug", text);
    }
}

/// A line without the frame, for the screens of recovery and shutdown.
pub fn plain(text: &str) {
    write(text);
}

fn line(level: &str, text: &str) {
    write(&format!("[            ] init:{level}: {text}"));
}

fn write(text: &str) {
    let mut outputs = OUTPUTS.lock().unwrap_or_else(PoisonError::into_inner);
    let with_newline = format!("{text}\n");
    if outputs.consoles.is_empty() && outputs.kmsg.is_none() {
        // Nothing else to tell it to when even that fails.
        std::io::stdout().write_all(with_newline.as_bytes()).ok();
    }
    for console in &mut outputs.consoles {
        console.write(with_newline.as_bytes());
    }
    if let Some(kmsg) = &mut outputs.kmsg {
        // <7> keeps the kernel from printing it on the console a second time.
        let message = text.trim_start_matches(['[', ' ', ']']);
        kmsg.write_all(format!("<7>{message}\n").as_bytes()).ok();
    }
}

impl Console {
    /// The end of a login session hangs the terminal up: from then on an open descriptor only gives errors.
    fn write(&mut self, text: &[u8]) {
        if write_slowly(&mut self.file, text).is_ok() {
            return;
        }
        if let Some(file) = open(&self.path) {
            self.file = file;
            write_slowly(&mut self.file, text).ok();
        }
    }
}

/// Gives a full terminal buffer half a second to drain, then drops the rest.
fn write_slowly(console: &mut File, mut text: &[u8]) -> std::io::Result<()> {
    let mut patience = 50;
    while !text.is_empty() {
        match console.write(text) {
            Ok(written) => text = text.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && patience > 0 => {
                patience -= 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
