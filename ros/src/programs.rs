//! Programs that run inside the service containers and in early boot: arguments and entry of each. The work is in `system_services`.

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
        #[arg(long)]
        local: bool,
    },
    /// Apply the stored cloud-config again
    #[command(hide = true)]
    CloudInitExecute {},
    /// Set up the console (main process of `console`)
    #[command(hide = true)]
    ConsoleInit {},
    /// Keep the programs of a list running
    #[command(hide = true)]
    Respawn {},
    /// Log a user in on a terminal
    #[command(hide = true)]
    Autologin {},
}

/// What a plain user may call.
pub fn needs_root(_program: &Program) -> bool {
    true
}

/// Runs the program.
pub fn run(_program: Program) -> Outcome {
    Err("not in this build".into())
}
