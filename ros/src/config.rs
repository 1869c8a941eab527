//! `ros config`: show and change the configuration.

use crate::outcome::Outcome;

/// Arguments of `ros config`.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {}

/// Runs `ros config`.
pub fn run(_args: ConfigArgs) -> Outcome {
    Err("ros config: not in this build".into())
}
