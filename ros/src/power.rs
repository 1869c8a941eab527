//! `halt`, `poweroff`, `reboot`, `shutdown`: arguments and entry.

use std::process::ExitCode;

use clap::Args;
use kernel::power::Stop;
use system_services::power::{Manner, stop};

use crate::outcome::Outcome;

/// The four programs.
#[derive(Debug, clap::Subcommand)]
pub enum PowerCommand {
    /// Halt the machine
    #[command(hide = true)]
    Halt(Flags),
    /// Power the machine off
    #[command(hide = true)]
    Poweroff(Flags),
    /// Reboot the machine
    #[command(hide = true)]
    Reboot(Flags),
    /// Power off, halt or reboot
    #[command(
        hide = true,
        disable_help_flag = true,
        after_help = "Example:\n  sudo shutdown -r now"
    )]
    Shutdown(ShutdownFlags),
}

/// Flags that each of the four takes.
#[derive(Debug, Clone, Default, Args)]
pub struct Flags {
    /// At once: containers are not stopped, file systems not unmounted
    #[arg(short, long)]
    force: bool,
    /// Halt
    #[arg(short = 'H', long, group = "action")]
    halt: bool,
    /// Power off
    #[arg(short = 'P', long, group = "action")]
    poweroff: bool,
    /// Reboot
    #[arg(short, long, group = "action")]
    reboot: bool,
}

/// Flags of shutdown: `-h` powers off.
#[derive(Debug, Clone, Default, Args)]
pub struct ShutdownFlags {
    #[command(flatten)]
    flags: Flags,
    /// Power off
    #[arg(short = 'h', group = "action")]
    off: bool,
    /// Show this help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// When: `now` or `+0`
    time: Option<String>,
}

/// Runs the program.
pub fn run(command: PowerCommand) -> Outcome {
    let (flags, default) = match command {
        PowerCommand::Halt(flags) => (flags, Stop::Halt),
        PowerCommand::Poweroff(flags) => (flags, Stop::PowerOff),
        PowerCommand::Reboot(flags) => (flags, Stop::Reboot),
        PowerCommand::Shutdown(arguments) => {
            check_time(arguments.time.as_deref())?;
            (arguments.flags, Stop::PowerOff)
        }
    };
    let manner = if flags.force {
        Manner::Forced
    } else {
        Manner::Orderly
    };
    stop(action(&flags, default), manner)?;
    Ok(ExitCode::SUCCESS)
}

fn action(flags: &Flags, default: Stop) -> Stop {
    match flags {
        Flags { halt: true, .. } => Stop::Halt,
        Flags { poweroff: true, .. } => Stop::PowerOff,
        Flags { reboot: true, .. } => Stop::Reboot,
        _ => default,
    }
}

fn check_time(time: Option<&str>) -> Result<(), String> {
    match time {
        None | Some("now" | "+0") => Ok(()),
        Some(other) => Err(format!(
            "Sorry, can't parse '{other}' as time value (only 'now' supported)"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_beats_the_programs_name() {
        let flags = Flags {
            reboot: true,
            ..Flags::default()
        };
        assert_eq!(action(&flags, Stop::PowerOff), Stop::Reboot);
        assert_eq!(action(&Flags::default(), Stop::Halt), Stop::Halt);
    }

    #[test]
    fn only_now_is_a_time() {
        assert_eq!(check_time(Some("now")), Ok(()));
        assert_eq!(
            check_time(Some("23:00")),
            Err("Sorry, can't parse '23:00' as time value (only 'now' supported)".into())
        );
    }
}
