//! `ros entrypoint CMD…`: what runs first in a system container: writes the files of `write_files` that name this container, then becomes
//! the command.
//!
//! The service manager says which container it is in `ROS_SERVICE`. Must not stop the command: a file that cannot be written is logged.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use os_config::store::load_running;

use crate::console::write_files;
use crate::log::Log;

const LOG: Log = Log::of("entrypoint");
/// Variable that holds the name of the service.
pub const SERVICE: &str = "ROS_SERVICE";

/// Why the command does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing to run.
    #[error("entrypoint: no command; set `command` of the service")]
    NoCommand,
    /// exec failed.
    #[error("entrypoint: cannot run {0}; is it in the image?")]
    Exec(String, #[source] io::Error),
}

/// Writes this container's files and becomes `command`.
///
/// # Errors
/// When there is no command or it cannot be run. Does not return otherwise.
pub fn run(command: &[OsString]) -> Result<(), Error> {
    let (program, arguments) = command.split_first().ok_or(Error::NoCommand)?;
    if let Some(service) = std::env::var(SERVICE)
        .ok()
        .filter(|name| writes_own_files(name))
    {
        let loaded = load_running();
        for error in write_files::apply(Path::new("/"), &loaded.config.write_files, &service) {
            LOG.failure(&error);
        }
    }
    let error = Command::new(program).args(arguments).exec();
    Err(Error::Exec(program.to_string_lossy().into_owned(), error))
}

/// The console writes its own, in the order of its hooks.
fn writes_own_files(service: &str) -> bool {
    service != write_files::DEFAULT_CONTAINER
}
