//! Phase `bootcmd`, and `rancher.state.script`: commands of the user that run on the host, before any service.
//!
//! In RancherOS 1.x they were skipped whenever the state file system mounted at once; here they always run.

use std::process::{Command, Stdio};
use std::time::Duration;

use os_config::types::Command as Configured;

use crate::log;
use crate::machine::Machine;
use crate::outcome::{Halted, chain};
use crate::plan::PATH;

/// One that never ends must not keep the machine from coming up.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
const SCRIPT: &str = "/run/ros/state-script";

/// Runs each of `bootcmd`; one that fails does not stop the others.
pub fn run(machine: &mut Machine) -> Result<(), Halted> {
    for command in machine.loaded.config.bootcmd.clone() {
        run_one(machine, "bootcmd", &words(&command));
    }
    Ok(())
}

/// Runs the text of `rancher.state.script`, if there is one, before the state device is looked for.
pub fn state_script(machine: &mut Machine) {
    let Some(text) = machine.loaded.config.rancher.state.script.clone() else {
        return;
    };
    if let Err(error) = kernel::disk::write_private(SCRIPT.as_ref(), text.as_bytes(), 0o700) {
        return log::error(&format!("rancher.state.script: {error}"));
    }
    let words = if text.starts_with("#!") {
        vec![SCRIPT.to_owned()]
    } else {
        vec!["/bin/sh".to_owned(), SCRIPT.to_owned()]
    };
    run_one(machine, "rancher.state.script", &words);
}

fn words(command: &Configured) -> Vec<String> {
    match command {
        Configured::Shell(line) => vec!["/bin/sh".into(), "-c".into(), line.clone()],
        Configured::Exec(words) => words.clone(),
    }
}

fn run_one(machine: &mut Machine, key: &str, words: &[String]) {
    let Some((program, arguments)) = words.split_first() else {
        return;
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/root")
        .current_dir("/")
        .stdin(Stdio::null());
    match machine.run(&mut command, PATIENCE) {
        Ok(exit) if exit.is_success() => {}
        // The arguments may hold secrets; the program's name says enough.
        Ok(exit) => log::error(&format!("{key}: {program} {exit}")),
        Err(error) => log::error(&format!("{key}: {}", chain(&error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_needs_a_shell_and_a_list_does_not() {
        assert_eq!(
            words(&Configured::Shell("echo a b".into())),
            ["/bin/sh", "-c", "echo a b"]
        );
        assert_eq!(
            words(&Configured::Exec(vec!["echo".into(), "a b".into()])),
            ["echo", "a b"]
        );
    }
}
