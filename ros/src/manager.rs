//! Programs about the service manager and Docker, by their own names: arguments and entry. The work is in `system_services`.

use std::ffi::OsString;
use std::process::ExitCode;

use system_services::{docker, manager};

use crate::outcome::Outcome;

/// The service manager and the Docker programs.
#[derive(Debug, clap::Subcommand)]
pub enum ManagerCommand {
    /// The service manager, started by PID 1
    #[command(hide = true)]
    RosSysinit {},
    /// Control of the service manager, for PID 1
    #[command(hide = true)]
    ServiceManager {
        #[command(subcommand)]
        verb: ServiceManagerVerb,
    },
    /// Run the user's Docker daemon (main process of `docker`)
    #[command(hide = true)]
    DockerInit {},
    /// The docker command line, for the system's Docker
    #[command(hide = true, disable_help_flag = true)]
    SystemDocker {
        /// Passed to `docker`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Wait until the user's Docker answers
    #[command(hide = true)]
    WaitForDocker {},
}

/// What PID 1 asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Subcommand)]
pub enum ServiceManagerVerb {
    /// Stop the user's containers, then every service, the console last
    StopAll,
}

/// What a plain user may call.
pub fn needs_root(command: &ManagerCommand) -> bool {
    !matches!(command, ManagerCommand::WaitForDocker {})
}

/// Runs the program.
pub fn run(command: ManagerCommand) -> Outcome {
    match command {
        ManagerCommand::RosSysinit {} => manager::run()?,
        ManagerCommand::ServiceManager {
            verb: ServiceManagerVerb::StopAll,
        } => manager::stop_all()?,
        ManagerCommand::DockerInit {} => docker::run()?,
        ManagerCommand::WaitForDocker {} => docker::wait()?,
        ManagerCommand::SystemDocker { args } => return Err(docker::system_docker(&args).into()),
    }
    Ok(ExitCode::SUCCESS)
}
