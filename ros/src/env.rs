//! `ros env`: run a command with rancher.environment.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use os_config::store::load_running;

use crate::outcome::Outcome;

/// Arguments of `ros env`.
#[derive(Debug, clap::Args)]
pub struct EnvArgs {
    /// The command; without one, the variables are printed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// Becomes the command. A variable that is set already stays as it is.
pub fn run(args: EnvArgs) -> Outcome {
    let environment = load_running().config.rancher.environment;
    let missing: Vec<(String, String)> = environment
        .into_iter()
        .filter(|(name, _)| std::env::var_os(name).is_none())
        .collect();
    let Some((program, arguments)) = args.command.split_first() else {
        for (name, value) in missing {
            println!("{name}={value}");
        }
        return Ok(ExitCode::SUCCESS);
    };
    let error = Command::new(program).args(arguments).envs(missing).exec();
    Err(format!("cannot run {}: {error}", program.to_string_lossy()).into())
}
