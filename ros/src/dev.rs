//! `ros dev`: the device that a name means.

use std::process::ExitCode;

use kernel::block::{Spec, resolve};

use crate::outcome::Outcome;

/// Arguments of `ros dev`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  sudo ros dev LABEL=RANCHER_STATE")]
pub struct DevArgs {
    /// LABEL=…, UUID=…, PARTLABEL=…, PARTUUID=… or a path
    spec: String,
}

/// Prints the device, or an empty line and fails when there is none.
pub fn run(args: DevArgs) -> Outcome {
    match resolve(&Spec::parse(&args.spec)) {
        Some(found) => {
            println!("{}", found.path.display());
            Ok(ExitCode::SUCCESS)
        }
        None => {
            println!();
            Ok(ExitCode::FAILURE)
        }
    }
}
