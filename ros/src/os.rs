//! `ros os`: the operating system.

use std::process::ExitCode;

use os_config::store::load_running;
use os_config::types::Config;

use crate::outcome::Outcome;

/// Arguments of `ros os`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  ros os version")]
pub struct OsArgs {
    #[command(subcommand)]
    command: OsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum OsCommand {
    /// Print the running version
    #[command(after_help = "Example:\n  ros os version")]
    Version,
}

/// Runs `ros os`.
pub fn run(args: OsArgs) -> Outcome {
    match args.command {
        OsCommand::Version => println!("{}", version(&load_running().config)),
    }
    Ok(ExitCode::SUCCESS)
}

/// `ros -v`: version and image.
pub fn print_version() -> Outcome {
    let config = load_running().config;
    let version = version(&config);
    let image = config.rancher.upgrade.image.as_deref();
    let image = image.unwrap_or("rancher/os");
    println!("version {version} from os image {image}:{version}");
    Ok(ExitCode::SUCCESS)
}

/// The release: `VERSION` of the shipped `rancher.environment`.
fn version(config: &Config) -> &str {
    config
        .rancher
        .environment
        .get("VERSION")
        .map_or(concat!("v", env!("CARGO_PKG_VERSION")), String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_says_the_version() {
        let mut config = Config::default();
        assert!(version(&config).starts_with('v'));
        config
            .rancher
            .environment
            .insert("VERSION".into(), "v9.9".into());
        assert_eq!(version(&config), "v9.9");
    }
}
