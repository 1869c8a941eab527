//! Programs that run inside the service containers and in early boot: arguments and entry of each. The work is in `system_services`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use system_services::{cloud_init, console, entrypoint, network, ntp, respawn, udev};

use crate::outcome::Outcome;

/// Each program is also the name of a link to `ros`.
#[derive(Debug, clap::Subcommand)]
pub enum Program {
    /// Configure the network interfaces (main process of `network`)
    #[command(hide = true)]
    Netconf {},
    /// Fetch and store the user data and metadata
    #[command(hide = true)]
    CloudInitSave {
        /// Only the datasources that need no network
        #[arg(long, conflicts_with = "network")]
        local: bool,
        /// Only the datasources that need the network
        #[arg(long)]
        network: bool,
    },
    /// Apply the stored cloud-config again
    #[command(hide = true)]
    CloudInitExecute {},
    /// Set up the console (main process of `console`)
    #[command(hide = true)]
    ConsoleInit {},
    /// Write the time servers and become chronyd (main process of `ntp`)
    #[command(hide = true)]
    NtpInit {},
    /// Run udevd and let it set up every device (main process of `udev`)
    #[command(hide = true)]
    UdevInit {},
    /// Wait until every device is set up
    #[command(hide = true)]
    UdevSettle {},
    /// Write a container's files and become its command
    #[command(hide = true, disable_help_flag = true)]
    Entrypoint {
        /// The command
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Keep the programs of a list running
    #[command(hide = true)]
    Respawn {
        /// The list: one command a line
        #[arg(short, long, default_value = "/etc/respawn.conf")]
        file: PathBuf,
    },
    /// Log a user in on a terminal
    #[command(hide = true)]
    Autologin {
        /// USER:TTY
        who: String,
    },
}

/// What a plain user may call.
pub fn needs_root(program: &Program) -> bool {
    !matches!(program, Program::Entrypoint { .. })
}

/// Runs the program.
pub fn run(program: Program) -> Outcome {
    match program {
        Program::Netconf {} => network::run()?,
        Program::CloudInitSave { network, .. } => cloud_init::save(if network {
            cloud_init::Reach::Network
        } else {
            cloud_init::Reach::Local
        })?,
        Program::CloudInitExecute {} => console::execute(),
        Program::ConsoleInit {} => console::run()?,
        Program::NtpInit {} => ntp::run()?,
        Program::UdevInit {} => udev::run()?,
        Program::UdevSettle {} => udev::settle()?,
        Program::Entrypoint { command } => return enter(&command),
        Program::Respawn { file } => respawn::run(&file)?,
        Program::Autologin { who } => console::autologin(&who)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// `ros entrypoint`: a command that is `ros` itself goes on in this process, which saves a start of this large program.
fn enter(command: &[OsString]) -> Outcome {
    entrypoint::write_own_files();
    if command.first().is_some_and(|program| program == "ros") {
        return match crate::cli::parse(command) {
            Ok(command) => crate::cli::run(command),
            Err(error) => Ok(crate::cli::usage_error(&error)),
        };
    }
    entrypoint::become_command(command)?;
    Ok(ExitCode::SUCCESS)
}
