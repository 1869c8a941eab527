//! `ros entrypoint CMD…`: what runs first in a system container: writes the files of `write_files` that name this container, then becomes
//! the command.
//!
//! The service manager says which container it is in `ROS_SERVICE`. Must not stop the command: a file that cannot be written is logged.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use os_config::store::load_running;

use crate::console::write_files;
use crate::log::Log;

const LOG: Log = Log::of("entrypoint");
const CONF: &str = "/var/lib/rancher/conf";
/// The key of a `write_files` entry that names a container.
const WORD: &str = "container";
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

/// Writes the files of `write_files` that name this container.
pub fn write_own_files() {
    let service = std::env::var(SERVICE).unwrap_or_default();
    if service.is_empty() || service == write_files::DEFAULT_CONTAINER {
        // The console writes its own, in the order of its hooks.
        return;
    }
    if !somebody_names_a_container(Path::new(CONF)) {
        return;
    }
    let loaded = load_running();
    for error in write_files::apply(Path::new("/"), &loaded.config.write_files, &service) {
        LOG.failure(&error);
    }
}

/// Most configurations write no files into containers: a look at the text saves every container the whole reading.
fn somebody_names_a_container(conf: &Path) -> bool {
    let files = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    files(conf)
        .chain(files(&conf.join("cloud-config.d")))
        .filter_map(|entry| fs::read(entry.path()).ok())
        .any(|text| {
            text.windows(WORD.len())
                .any(|window| window == WORD.as_bytes())
        })
}

/// Becomes `command`.
///
/// # Errors
/// When there is no command or it cannot be run. Does not return otherwise.
pub fn become_command(command: &[OsString]) -> Result<(), Error> {
    let (program, arguments) = command.split_first().ok_or(Error::NoCommand)?;
    let error = Command::new(program).args(arguments).exec();
    Err(Error::Exec(program.to_string_lossy().into_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_key_anywhere_is_seen() {
        let conf = tempfile::tempdir().unwrap();
        let folder = conf.path().join("cloud-config.d");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.yml"), "write_files: []\n").unwrap();
        assert!(!somebody_names_a_container(conf.path()));
        fs::write(
            folder.join("b.yml"),
            "write_files: [{path: /x, container: ntp}]\n",
        )
        .unwrap();
        assert!(somebody_names_a_container(conf.path()));
    }
}
