//! Before the user's daemon is stopped for good: live-restore is switched off, so that it stops its containers itself. Those with a
//! restart policy then come back at the next boot, which they would not after `docker stop`.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value};

use super::{CONFIG_FILE, LOG, PID_FILE};
use crate::files::write_atomically;
use crate::manager::{USER_SOCKET, live_restore};

const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(50);

/// Makes the user's daemon stop its containers when it is stopped itself. Does nothing when it does not run.
pub async fn prepare_stop() {
    let Some(daemon) = running_daemon() else {
        return;
    };
    if let Err(error) = switch_off(Path::new(CONFIG_FILE)) {
        LOG.warn(format_args!(
            "cannot change {CONFIG_FILE}: {error}; containers are left to init"
        ));
        return;
    }
    if kill(daemon, Signal::SIGHUP).is_err() {
        return;
    }
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if live_restore(USER_SOCKET).await == Some(false) {
            LOG.info("Stopping the containers of docker");
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    LOG.warn("docker did not read its configuration again; containers are left to init");
}

/// The process, if the number is still that of a dockerd.
fn running_daemon() -> Option<Pid> {
    let pid: i32 = std::fs::read_to_string(PID_FILE)
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name.trim() == "dockerd").then(|| Pid::from_raw(pid))
}

fn switch_off(path: &Path) -> std::io::Result<()> {
    let mut config: Map<String, Value> = serde_json::from_slice(&std::fs::read(path)?)?;
    config.insert("live-restore".to_owned(), Value::Bool(false));
    write_atomically(path, Value::Object(config).to_string().as_bytes(), 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_live_restore_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.json");
        std::fs::write(&path, r#"{"debug":true,"live-restore":true}"#).unwrap();
        switch_off(&path).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            r#"{"debug":true,"live-restore":false}"#
        );
    }
}
