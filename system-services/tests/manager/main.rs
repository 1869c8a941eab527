//! The service manager against a real Docker: order, readiness, repair, and what must survive a kill.
//!
//! Needs root, `unshare` and Debian's docker.io (dockerd, containerd, docker). Without them it says so and passes, or fails when `CI` is
//! set. The program starts itself anew in namespaces of its own, and there as the manager.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test; clippy knows only functions marked #[test]"
)]

mod cases;
mod cron;
mod machine;
mod preload;
mod requests;

use std::process::{Command, ExitCode};

const TOOLS: [&str; 5] = ["unshare", "pivot_root", "dockerd", "containerd", "docker"];

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("inside") => {
            cases::run_all();
            ExitCode::SUCCESS
        }
        Some("ros-sysinit") => match system_services::manager::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => panic!("{error}"),
        },
        // What cargo and editors ask of every test program.
        Some("--list") => ExitCode::SUCCESS,
        _ => outside(),
    }
}

fn outside() -> ExitCode {
    if let Some(missing) = missing() {
        let ci = std::env::var_os("CI").is_some();
        eprintln!(
            "{}: the service manager against a real Docker: {missing}",
            if ci { "FAILED" } else { "SKIPPED" }
        );
        return if ci {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        };
    }
    let folder = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manager/node.sh");
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--net",
        "--ipc",
        "--uts",
        "--propagation",
        "private",
        "sh",
        script,
    ]);
    let status = command
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .status()
        .unwrap();
    if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What keeps the test from running.
fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let found = |tool: &&str| {
        path.split(':')
            .any(|folder| std::path::Path::new(folder).join(tool).exists())
    };
    let missing: Vec<&str> = TOOLS.into_iter().filter(|tool| !found(tool)).collect();
    (!missing.is_empty()).then(|| {
        format!(
            "needs {} (Debian: docker.io, util-linux)",
            missing.join(", ")
        )
    })
}
