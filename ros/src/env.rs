//! `ros env`: projects of a cluster under words of their own; everything else is a command that is run with rancher.environment, as
//! ever.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use os_config::store::load_running;

use crate::cluster::{self, Common, ProjectsCommand};
use crate::outcome::Outcome;

const EXAMPLES: &str = "Without one of these words: run a command with the variables of rancher.environment; without any, print them.

Examples:
  ros env list
  ros env use shop
  ros env members add anna member
  ros env printenv";

/// Arguments of `ros env`.
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true, after_help = EXAMPLES)]
pub struct EnvArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<EnvCommand>,
}

#[derive(Debug, clap::Subcommand)]
enum EnvCommand {
    #[command(flatten)]
    Projects(ProjectsCommand),
    /// The command
    #[command(external_subcommand)]
    Run(Vec<OsString>),
}

/// Asks the cluster, or becomes the command. A variable that is set already stays as it is.
pub fn run(args: EnvArgs) -> Outcome {
    let command = match args.command {
        Some(EnvCommand::Projects(command)) => return cluster::run_projects(command, &args.common),
        Some(EnvCommand::Run(command)) => command,
        None => Vec::new(),
    };
    let environment = load_running().config.rancher.environment;
    let missing: Vec<(String, String)> = environment
        .into_iter()
        .filter(|(name, _)| std::env::var_os(name).is_none())
        .collect();
    let Some((program, arguments)) = command.split_first() else {
        for (name, value) in missing {
            println!("{name}={value}");
        }
        return Ok(ExitCode::SUCCESS);
    };
    let error = Command::new(program).args(arguments).envs(missing).exec();
    Err(format!("cannot run {}: {error}", program.to_string_lossy()).into())
}
