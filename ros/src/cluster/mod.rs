//! The commands of a cluster: its servers and agents, and what a person asks of it. This file is their list; what a command does lies in
//! its own module, and how the cluster decides in `control-plane` and `agent`.

mod agent;
mod args;
mod complete;
mod context;
mod error;
mod hosts;
mod remote;
mod server;
mod systemd;
mod tokens;

use std::future::Future;

use clap::Subcommand;

use crate::outcome::Outcome;

/// Commands of a cluster.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Run a server of a cluster; the first start makes the cluster
    Server(Box<server::ServerArgs>),
    /// Make this machine a host of a cluster
    Agent(Box<agent::AgentArgs>),
    /// The clusters that this user knows
    Context(context::commands::ContextArgs),
    /// The hosts of the cluster
    Hosts(hosts::HostsArgs),
    /// Tokens that hosts join with
    Tokens(tokens::TokensArgs),
}

/// Runs a command.
pub fn run(command: ClusterCommand) -> Outcome {
    match command {
        ClusterCommand::Server(args) => server::run(*args),
        ClusterCommand::Agent(args) => agent::run(*args),
        ClusterCommand::Context(args) => wait(context::commands::run(args)),
        ClusterCommand::Hosts(args) => wait(hosts::run(args)),
        ClusterCommand::Tokens(args) => wait(tokens::run(args)),
    }
}

/// What a plain user may call: everything that only asks the cluster, and a server with files of its own.
pub fn needs_root(command: &ClusterCommand) -> bool {
    match command {
        ClusterCommand::Server(args) => server::needs_root(args),
        ClusterCommand::Agent(args) => agent::needs_root(args),
        _ => false,
    }
}

/// Runs on this thread: a command waits more than it computes.
fn wait(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work)
}
