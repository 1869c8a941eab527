//! `ros os`: the operating system.

use crate::outcome::Outcome;

/// Arguments of `ros os`.
#[derive(Debug, clap::Args)]
pub struct OsArgs {}

/// Runs `ros os`.
pub fn run(_args: OsArgs) -> Outcome {
    Err("ros os: not in this build".into())
}
