//! When sshd and the gettys start: when the hooks are through, or have had their time; and which ones.
//!
//! Owns `/etc/respawn.conf`, the list of what is kept running, written for whoever looks.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use os_config::store::Loaded;

use super::terminals::{self, Autologin, Choice, Programs};
use super::{LOG, attempt, write_done};
use crate::respawn::{self, Respawn};

/// How long sshd and the gettys wait for the hooks: a login then sees what the hooks did.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// After this the user's Docker starts although a hook still runs.
pub const HOOK_LIMIT: Duration = Duration::from_secs(300);
/// Longest wait of tty2 to tty6 for Docker.
const LATER: Duration = Duration::from_secs(20);
/// Then the first command of whoever waited for Docker has the processor.
const AFTER_YOU: Duration = Duration::from_secs(3);

const DOCKER_DONE: &str = "/run/docker-done";
const RESPAWN_LIST: &str = "/etc/respawn.conf";
const RESPAWN_FOLDER: &str = "/etc/respawn.conf.d";

/// What the hooks' thread tells.
pub enum Milestone {
    /// Docker may start.
    Released,
    /// rc.local too has ended.
    Finished,
}

/// Starts the logins when the hooks are through or [`PATIENCE`] is over, and releases Docker at the latest after [`HOOK_LIMIT`].
pub fn offer(respawn: &Respawn, programs: Programs, told: &Receiver<Milestone>) {
    let mut released = false;
    let deadline = Instant::now() + PATIENCE;
    let finished = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match told.recv_timeout(left) {
            Ok(Milestone::Released) => released = true,
            Ok(Milestone::Finished) | Err(RecvTimeoutError::Disconnected) => break true,
            Err(RecvTimeoutError::Timeout) => break false,
        }
    };
    if !finished {
        LOG.info("hooks still run; logins are open");
    }
    for program in programs.first {
        respawn.keep(program);
    }
    let later = respawn.clone();
    let spawned = std::thread::Builder::new()
        .name("later-logins".into())
        .spawn(move || {
            wait_for_docker();
            for program in programs.later {
                later.keep(program);
            }
        });
    if let Err(error) = spawned {
        LOG.error(format_args!("no logins on further terminals: {error}"));
    }
    if !released && !finished && told.recv_timeout(HOOK_LIMIT).is_err() {
        LOG.warn(format_args!(
            "hooks still run after {} s; Docker starts without waiting for them",
            HOOK_LIMIT.as_secs()
        ));
        write_done();
    }
}

/// The user's Docker is what people wait for; what nobody waits for leaves it the processor for a while.
fn wait_for_docker() {
    let deadline = Instant::now() + LATER;
    while !Path::new(DOCKER_DONE).exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(250));
    }
    std::thread::sleep(AFTER_YOU);
}

/// The list of programs to keep: ours, and those of `/etc/respawn.conf.d`. It is written down for whoever looks.
pub fn programs(loaded: &Loaded) -> Programs {
    let autologin = if loaded.config.disabled("autologin") {
        Autologin::Disabled
    } else {
        Autologin::Asked
    };
    let choice = Choice {
        cmdline: &loaded.cmdline,
        ssh: &loaded.config.rancher.ssh,
        autologin,
    };
    let mut programs = terminals::programs(choice, terminals::exists);
    let mut files: Vec<_> = fs::read_dir(RESPAWN_FOLDER)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    for file in files {
        let more = fs::read_to_string(file).unwrap_or_default();
        programs.first.extend(respawn::parse(&more));
    }
    attempt(
        RESPAWN_LIST,
        fs::write(RESPAWN_LIST, programs.all().join("\n") + "\n"),
    );
    programs
}
