//! `ros dev`: the device that a name means.

use crate::outcome::Outcome;

/// Arguments of `ros dev`.
#[derive(Debug, clap::Args)]
pub struct DevArgs {}

/// Runs `ros dev`.
pub fn run(_args: DevArgs) -> Outcome {
    Err("ros dev: not in this build".into())
}
