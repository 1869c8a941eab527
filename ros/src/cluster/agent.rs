//! `ros agent`: this machine as a host of a cluster: joining, running, leaving, and how it is.

mod from_os;
mod join;
mod leave;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use agent::run::{Ended, Options};
use clap::{Args, Subcommand};
use tokio_util::sync::CancellationToken;

use super::args::Shown;
use super::systemd;
use crate::outcome::{NOT_JOINED, Outcome, report};

/// Name of the agent's unit.
const UNIT: &str = "ros-agent";

/// Arguments of `ros agent`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sudo ros agent join https://10.0.0.5:6440 rosjoin.…\n  ros agent status\n  sudo ros agent leave"
)]
pub struct AgentArgs {
    #[command(subcommand)]
    command: AgentCommand,
}

#[derive(Debug, Subcommand)]
enum AgentCommand {
    /// Take this machine into a cluster
    #[command(
        after_help = "Examples:\n  sudo ros agent join https://10.0.0.5:6440 rosjoin.…\n  sudo ros agent join https://10.0.0.5:6440 - --label zone=a < token"
    )]
    Join(join::JoinArgs),
    /// Run the agent here, until it is stopped; `join` makes systemd do so
    #[command(
        after_help = "Examples:\n  sudo ros agent run\n  sudo ros agent run --data /srv/agent"
    )]
    Run(RunArgs),
    /// Take this machine out of its cluster; its containers stay
    #[command(after_help = "Example:\n  sudo ros agent leave")]
    Leave(leave::LeaveArgs),
    /// How this host stands in its cluster; fails when the agent does not run or something hinders it
    #[command(after_help = "Examples:\n  ros agent status\n  ros agent status --format json")]
    Status {
        #[command(flatten)]
        shown: Shown,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the agent's files lie.
#[derive(Debug, Clone, Args)]
struct Place {
    /// Folder of the agent's identity and of what it knows
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/rancher/agent")]
    data: PathBuf,
    /// File in which the agent says how it is
    #[arg(long, value_name = "FILE", default_value = agent::status::FILE, hide = true)]
    status: PathBuf,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    place: Place,
    /// Docker's socket
    #[arg(long, value_name = "FILE", default_value = "/var/run/docker.sock")]
    docker: PathBuf,
    /// Join by itself, as `rancher.cluster` of this RancherOS says
    #[arg(long)]
    config_from_os: bool,
}

/// What starts the agent on this machine, and what shows what it says.
fn commands() -> (&'static str, &'static str) {
    if crate::service::is_managed() {
        ("sudo ros service up agent", "sudo ros service logs agent")
    } else {
        ("systemctl start ros-agent", "journalctl -u ros-agent")
    }
}

/// All but looking.
pub fn needs_root(args: &AgentArgs) -> bool {
    match &args.command {
        AgentCommand::Join(args) => args.needs_root(),
        AgentCommand::Run(_) | AgentCommand::Leave(_) => true,
        AgentCommand::Status { .. } => false,
    }
}

/// Runs `ros agent`.
pub fn run(args: AgentArgs) -> Outcome {
    match args.command {
        AgentCommand::Join(args) => super::wait(join::run(args)),
        AgentCommand::Run(args) => tokio::runtime::Runtime::new()?.block_on(run_agent(args)),
        AgentCommand::Leave(args) => super::wait(leave::run(args)),
        AgentCommand::Status { shown, place } => status::run(&place, shown),
    }
}

async fn run_agent(args: RunArgs) -> Outcome {
    let stop = CancellationToken::new();
    systemd::stop_on_signal(&stop)?;
    let options = Options {
        folder: args.place.data,
        docker: args.docker,
        status: args.place.status,
    };
    if args.config_from_os {
        return from_os::run(options, stop).await;
    }
    match agent::run::run(options, stop).await {
        Ok(Ended::Stopped) => Ok(ExitCode::SUCCESS),
        Ok(Ended::Removed) => {
            if systemd::is_here() {
                systemd::disable(UNIT)?;
            }
            Ok(ExitCode::from(NOT_JOINED))
        }
        Err(error @ agent::run::Error::NotJoined) => {
            report(Err(error.into()));
            Ok(ExitCode::from(NOT_JOINED))
        }
        Err(error) => Err(error.into()),
    }
}
