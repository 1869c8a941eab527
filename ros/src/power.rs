//! `halt`, `poweroff`, `reboot`, `shutdown`: arguments and entry.

use crate::outcome::Outcome;

/// The four programs.
#[derive(Debug, clap::Subcommand)]
pub enum PowerCommand {
    /// Halt the machine
    #[command(hide = true)]
    Halt {},
    /// Power the machine off
    #[command(hide = true)]
    Poweroff {},
    /// Reboot the machine
    #[command(hide = true)]
    Reboot {},
    /// Power off, halt or reboot
    #[command(hide = true)]
    Shutdown {},
}

/// Runs the program.
pub fn run(_command: PowerCommand) -> Outcome {
    Err("power: not in this build".into())
}
