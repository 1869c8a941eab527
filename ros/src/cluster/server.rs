//! `ros server`: arguments of a server of a cluster. A program that was built without the server says so.

mod from_os;

#[cfg(feature = "server")]
mod first;
#[cfg(feature = "server")]
mod install;
#[cfg(feature = "server")]
mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::Shown;
use crate::outcome::Outcome;
#[cfg(feature = "server")]
pub use from_os::SWITCH;

const EXAMPLES: &str = "Examples:
  sudo ros server
  sudo ros server install --name cluster.example.com --name 10.0.0.5
  ros server --listen 127.0.0.1:6440 --data ~/cluster
  sudo ros server --etcd https://10.0.0.7:2379,https://10.0.0.8:2379 --etcd-ca ca.pem --etcd-cert c.pem --etcd-key k.pem";

/// Arguments of `ros server`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct ServerArgs {
    #[command(subcommand)]
    command: Option<ServerCommand>,
    #[command(flatten)]
    settings: Settings,
    /// Run as `rancher.cluster.server` of this RancherOS says
    #[arg(long, exclusive = true)]
    config_from_os: bool,
}

#[derive(Debug, Subcommand)]
enum ServerCommand {
    /// Make systemd start the server now and at each boot; the first time the cluster is made, and its keys are printed
    #[command(
        after_help = "Examples:\n  sudo ros server install --name cluster.example.com\n  sudo ros server install --format json"
    )]
    Install {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        shown: Shown,
    },
    /// Make another key of an administrator, when all are lost; stop a server with its state in a file before
    #[command(
        after_help = "Example:\n  sudo systemctl stop ros-server\n  sudo ros server new-key\n  sudo systemctl start ros-server"
    )]
    NewKey {
        #[command(flatten)]
        state: State,
        #[command(flatten)]
        shown: Shown,
    },
}

/// How a server is to run.
#[derive(Debug, Clone, Args)]
#[cfg_attr(not(feature = "server"), allow(dead_code))]
struct Settings {
    /// Where to listen [default: [::]:6440, all addresses]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = listen)]
    listen: Option<SocketAddr>,
    /// Name or address under which it is reached, any number; the first is the one that is handed on
    #[arg(long = "name", value_name = "ADDRESS-OR-NAME")]
    names: Vec<String>,
    #[command(flatten)]
    state: State,
    /// Write what a new cluster's first start says, which is secret, to this file instead
    #[arg(long, value_name = "FILE", hide = true)]
    greeting: Option<PathBuf>,
}

/// Where the state lies.
#[derive(Debug, Clone, Args)]
#[cfg_attr(not(feature = "server"), allow(dead_code))]
struct State {
    /// Folder of its state, unless that lies in etcd
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/rancher/server")]
    data: PathBuf,
    /// Keep the state in etcd: https://HOST:2379, any number
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        conflicts_with = "data"
    )]
    etcd: Vec<String>,
    /// Certificate of the CA that has signed etcd's, PEM
    #[arg(long, value_name = "FILE", requires_all = ["etcd", "etcd_cert", "etcd_key"])]
    etcd_ca: Option<PathBuf>,
    /// Certificate to show to etcd, PEM
    #[arg(long, value_name = "FILE", requires_all = ["etcd", "etcd_ca", "etcd_key"])]
    etcd_cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires_all = ["etcd", "etcd_ca", "etcd_cert"])]
    etcd_key: Option<PathBuf>,
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    let parsed = text.parse();
    parsed.map_err(|_| {
        "write an address of this machine and a port, such as 10.0.0.5:6440, 0.0.0.0:6440 or [::]:6440".into()
    })
}

/// `install` writes a unit of systemd.
pub fn needs_root(args: &ServerArgs) -> bool {
    matches!(args.command, Some(ServerCommand::Install { .. }))
}

/// Runs `ros server`.
#[cfg(feature = "server")]
pub fn run(args: ServerArgs) -> Outcome {
    if args.config_from_os {
        return from_os::run();
    }
    let runtime = tokio::runtime::Runtime::new()?;
    match args.command {
        None => runtime.block_on(serve::serve(args.settings)),
        Some(ServerCommand::Install { settings, shown }) => {
            runtime.block_on(install::install(settings, shown))
        }
        Some(ServerCommand::NewKey { state, shown }) => {
            runtime.block_on(serve::new_key(&state, shown))
        }
    }
}

/// Runs `ros server`.
#[cfg(not(feature = "server"))]
pub fn run(args: ServerArgs) -> Outcome {
    if args.config_from_os {
        return from_os::run();
    }
    Err(from_os::no_server().into())
}
