//! How a command ends: exit code and error, and how the error is shown (once, at the edge).

use std::error::Error;
use std::process::ExitCode;

pub use api::problem::chain;

/// What every command returns: the exit code, or the error that `main` prints before it exits with 1.
pub type Outcome = Result<ExitCode, Box<dyn Error + Send + Sync>>;

/// Exit code of an unknown subcommand (that of the ancestor).
pub const UNKNOWN_COMMAND: u8 = 3;
/// Exit code of wrong flags or arguments.
pub const WRONG_USAGE: u8 = 2;

/// Exit code of an agent on a host that is in no cluster, or not any more: to start it again would not help.
pub const NOT_JOINED: u8 = 4;

/// Prints the error, if any, as `FATA[0000] message: cause: …` on standard error, and gives the exit code.
pub fn report(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(error) => {
            show(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

/// Prints an error as `report` does; for commands that end with another code.
pub fn show(error: &(dyn Error + 'static)) {
    eprintln!("FATA[0000] {}", chain(error));
}
