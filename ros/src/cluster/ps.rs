//! `ros ps`: the containers of the project, on all of its hosts.

use std::collections::BTreeMap;

use api::container::{ContainerKind, ContainerState, Port};
use api::host::HostKind;
use api::{Container, Id};
use clap::Args;
use jiff::Timestamp;

use super::args::Common;
use super::complete;
use super::remote::Remote;
use crate::outcome::Outcome;
use crate::table::{ago, or_dash, table};

/// Arguments of `ros ps`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ros ps\n  ros ps -a --host web-1\n  ros ps --format json")]
pub struct PsArgs {
    #[command(flatten)]
    common: Common,
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,
    /// Only those of this host, by its name or id
    #[arg(long, value_name = "NAME", add = complete::names::<HostKind>())]
    host: Option<String>,
}

/// Runs `ros ps`.
pub async fn run(args: PsArgs) -> Outcome {
    let remote = Remote::open(&args.common)?;
    let only = match &args.host {
        Some(name) => Some(remote.get::<HostKind>(name).await?.meta.id),
        None => None,
    };
    let mut containers = remote.all::<ContainerKind>().await?;
    containers.retain(|container| {
        let state = container.status.state;
        let is_up = !matches!(state, ContainerState::Created | ContainerState::Stopped);
        let is_here = only.is_none() || container.status.host == only;
        is_here && (is_up || args.all)
    });
    let hosts = remote.all::<HostKind>().await?;
    let names: BTreeMap<Id, String> = hosts
        .into_iter()
        .map(|host| (host.meta.id, host.meta.name))
        .collect();
    let now = Timestamp::now();
    args.common
        .shown
        .print(&containers, || rows(&containers, &names, now))
}

fn rows(containers: &[Container], hosts: &BTreeMap<Id, String>, now: Timestamp) -> String {
    let rows: Vec<[String; 6]> = containers
        .iter()
        .map(|container| {
            let status = &container.status;
            let host = status.host.as_ref();
            let ports: Vec<String> = status.ports.iter().map(port).collect();
            [
                container.meta.name.clone(),
                status.image.clone(),
                state(container, now),
                or_dash(host.map(|id| hosts.get(id).map_or(id.as_str(), String::as_str))),
                or_dash(status.address),
                ports.join(", "),
            ]
        })
        .collect();
    table(
        ["Name", "Image", "State", "Host", "Address", "Ports"],
        &rows,
    )
}

/// The state, how long it runs, and a mark when something hinders its part in the cluster.
fn state(container: &Container, now: Timestamp) -> String {
    let status = &container.status;
    let name = match status.state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Paused => "paused",
        ContainerState::Restarting => "restarting",
        ContainerState::Stopped => "stopped",
    };
    let since = match (status.state, status.started) {
        (ContainerState::Running, Some(started)) => format!(", started {}", ago(now, started)),
        _ => String::new(),
    };
    let problem = match status.problems.first() {
        Some(problem) => format!(" ({problem})"),
        None => String::new(),
    };
    format!("{name}{since}{problem}")
}

/// As `docker ps` writes it.
fn port(port: &Port) -> String {
    let Port {
        host_ip,
        public,
        private,
        protocol,
    } = port;
    let host = match host_ip.as_str() {
        "" => "0.0.0.0".into(),
        ip if ip.contains(':') => format!("[{ip}]"),
        ip => ip.to_owned(),
    };
    format!("{host}:{public}->{private}/{protocol}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_as_docker_does() {
        let told = |host_ip: &str| {
            port(&Port {
                host_ip: host_ip.into(),
                public: 8080,
                private: 80,
                protocol: "tcp".into(),
            })
        };
        assert_eq!(told(""), "0.0.0.0:8080->80/tcp");
        assert_eq!(told("::"), "[::]:8080->80/tcp");
    }
}
