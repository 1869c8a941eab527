//! Which configuration each of our programs acts by, for `ros config apply`. Owns the records below `/run/ros/applied`.

use std::path::Path;

use os_config::effects::Reader;
use os_config::store::Loaded;
use os_config::store::applied::{FOLDER, record};

use crate::log::{Chain, Log};

/// Notes that `reader` acts by this configuration from now on. Without the note its changes are told once more: no reason to stop.
pub fn note(log: Log, reader: Reader, loaded: &Loaded) {
    if let Err(error) = record(Path::new(FOLDER), reader, loaded) {
        log.warn(Chain(&error));
    }
}
