//! `ros env`: run a command with rancher.environment.

use crate::outcome::Outcome;

/// Arguments of `ros env`.
#[derive(Debug, clap::Args)]
pub struct EnvArgs {}

/// Runs `ros env`.
pub fn run(_args: EnvArgs) -> Outcome {
    Err("ros env: not in this build".into())
}
