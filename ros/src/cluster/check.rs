//! `ros cluster check`: which hosts reach which, over what, how quickly, with which packets and clocks, and what to do about what is
//! wrong. The hosts measure; this reads what they have found and judges it.

mod between;
mod judge;
mod own;
mod words;

use std::process::ExitCode;

use api::host::HostKind;
use api::network::NetworkKind;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::args::Common;
use super::remote::Remote;
use crate::outcome::Outcome;

/// Arguments of `ros cluster`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ros cluster check")]
pub struct ClusterArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Look for what is wrong between the hosts, and say what to do; fails when something is
    #[command(
        after_help = "The hosts look at each other every 30 seconds: what was just changed shows a moment later.\n\nExamples:\n  ros cluster check\n  ros cluster check --format json"
    )]
    Check {
        /// Show every host and every way between hosts, also in a large cluster
        #[arg(long)]
        all: bool,
    },
}

/// Runs `ros cluster`.
pub async fn run(args: ClusterArgs) -> Outcome {
    let Action::Check { all } = args.command;
    let remote = Remote::open(&args.common)?;
    let hosts = remote.all::<HostKind>().await?;
    let networks = remote.all::<NetworkKind>().await?;
    let now = Timestamp::now();
    let verdict = judge::judge(&hosts, networks.first(), now);
    let length = match all {
        true => words::Length::Whole,
        false => words::Length::Readable,
    };
    args.common
        .shown
        .print(&verdict, || words::text(&verdict, length, now))?;
    Ok(if verdict.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
