//! The commands of a cluster: its servers and agents, and what a person asks of it. This file is their list; what a command does lies in
//! its own module, and how the cluster decides in `control-plane` and `agent`.

mod agent;
mod args;
mod check;
mod complete;
mod context;
mod error;
mod events;
mod hosts;
mod inspect;
mod keys;
mod networks;
mod projects;
mod ps;
mod remote;
mod server;
mod systemd;
mod tokens;
mod users;

use std::future::Future;

use clap::Subcommand;

pub use args::{Common, print};
pub use projects::ProjectsCommand;

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
    /// The cluster as a whole: `check` looks for what is wrong
    Cluster(check::ClusterArgs),
    /// The hosts of the cluster
    Hosts(hosts::HostsArgs),
    /// The containers of the cluster
    Ps(ps::PsArgs),
    /// Tokens that hosts join with
    Tokens(tokens::TokensArgs),
    /// The network between the hosts
    Networks(networks::NetworksArgs),
    /// Who may speak to the cluster
    Users(users::UsersArgs),
    /// The API keys of users
    Keys(keys::KeysArgs),
    /// Show any object, by name or id
    Inspect(inspect::InspectArgs),
    /// What has happened, and what happens
    Events(events::EventsArgs),
}

/// Runs a command.
pub fn run(command: ClusterCommand) -> Outcome {
    match command {
        ClusterCommand::Server(args) => server::run(*args),
        ClusterCommand::Agent(args) => agent::run(*args),
        ClusterCommand::Context(args) => wait(context::commands::run(args)),
        ClusterCommand::Cluster(args) => wait(check::run(args)),
        ClusterCommand::Hosts(args) => wait(hosts::run(args)),
        ClusterCommand::Ps(args) => wait(ps::run(args)),
        ClusterCommand::Tokens(args) => wait(tokens::run(args)),
        ClusterCommand::Networks(args) => wait(networks::run(args)),
        ClusterCommand::Users(args) => wait(users::run(args)),
        ClusterCommand::Keys(args) => wait(keys::run(args)),
        ClusterCommand::Inspect(args) => wait(inspect::run(args)),
        ClusterCommand::Events(args) => wait(events::run(args)),
    }
}

/// Runs `ros env` with one of the words of projects.
pub fn run_projects(command: ProjectsCommand, common: &Common) -> Outcome {
    wait(projects::run(command, common))
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
