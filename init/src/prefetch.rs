//! Reads programs that the boot needs later into the page cache, on a processor that has nothing better to do: they would otherwise wait
//! for the decompression of their own pages, block by block. Not the daemons: they start at once and are faster than a reader beside them.
//!
//! The only thread of PID 1 beside the main one. It owns no state, and nobody waits for it.

use std::fs::File;
use std::path::Path;

use crate::log;

/// In the order of their use.
const PROGRAMS: [&str; 3] = [
    "/usr/bin/containerd-shim-runc-v2",
    "/usr/bin/crun",
    "/usr/bin/docker",
];
/// With less memory than this they would push out each other.
const ENOUGH_MEMORY: u64 = 1 << 30;

/// Begins, and returns at once.
pub fn begin() {
    if kernel::process::memory_size() < ENOUGH_MEMORY {
        return;
    }
    let thread = std::thread::Builder::new().name("prefetch".into());
    let work = || {
        kernel::process::yield_to_all();
        PROGRAMS.map(|program| read(Path::new(program)));
    };
    if let Err(error) = thread.spawn(work) {
        log::debug(&format!("no prefetch: {error}"));
    }
}

/// Returns when the file's pages are in memory, or were found to be out of reach: who needs them will find out.
fn read(program: &Path) {
    if let Ok(file) = File::open(program) {
        kernel::disk::read_ahead(&file).ok();
    }
}
