//! `ros hosts`: the hosts of the project.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::Host;
use api::container::ContainerKind;
use api::host::{HostKind, HostState};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::args::{Common, label};
use super::complete;
use super::error::{Error, Result};
use super::remote::Remote;
use crate::outcome::Outcome;
use crate::table::{ago, or_dash, table};

/// Arguments of `ros hosts`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ros hosts\n  ros hosts show web-1\n  ros hosts set web-1 --label zone=a\n  ros hosts remove web-1"
)]
pub struct HostsArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<HostsCommand>,
}

#[derive(Debug, Subcommand)]
enum HostsCommand {
    /// List the hosts (the default)
    #[command(after_help = "Examples:\n  ros hosts list\n  ros hosts list --format json")]
    List,
    /// Show all that is known of a host
    #[command(after_help = "Example:\n  ros hosts show web-1")]
    Show {
        #[command(flatten)]
        host: Named,
    },
    /// Change where a host is reached, or its labels
    #[command(
        after_help = "Examples:\n  ros hosts set web-1 --address 10.0.0.7\n  ros hosts set web-1 --label zone=a --no-label old"
    )]
    Set(Changes),
    /// Remove a host; its agent takes down what it has set up there, its containers stay
    #[command(after_help = "Example:\n  ros hosts remove web-1")]
    Remove {
        #[command(flatten)]
        host: Named,
    },
}

#[derive(Debug, Args)]
struct Named {
    /// Name or id of the host
    #[arg(add = complete::names::<HostKind>())]
    name: String,
}

#[derive(Debug, Args)]
struct Changes {
    #[command(flatten)]
    host: Named,
    /// Address at which the other hosts reach it; `auto`: the one it reaches the server from
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    address: Option<Address>,
    /// Set a label, any number
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Remove a label, any number
    #[arg(long = "no-label", value_name = "KEY")]
    no_labels: Vec<String>,
}

/// An address, or none of its own.
#[derive(Debug, Clone, Copy)]
struct Address(Option<IpAddr>);

fn address(text: &str) -> std::result::Result<Address, String> {
    if text == "auto" {
        return Ok(Address(None));
    }
    let parsed = text.parse().map(|address| Address(Some(address)));
    parsed.map_err(|_| "write an IP address, or `auto`".into())
}

/// Runs `ros hosts`.
pub async fn run(args: HostsArgs) -> Outcome {
    let remote = Remote::open(&args.common)?;
    match args.command.unwrap_or(HostsCommand::List) {
        HostsCommand::List => list(&remote, &args.common).await,
        HostsCommand::Show { host } => {
            let host = remote.get::<HostKind>(&host.name).await?;
            let containers = containers(&remote).await?;
            let count = containers.get(host.meta.id.as_str()).copied();
            args.common.shown.print(&host, || {
                text(&host, count.unwrap_or_default(), Timestamp::now())
            })
        }
        HostsCommand::Set(changes) => {
            let host = set(&remote, &changes).await?;
            args.common
                .shown
                .print(&host, || rows(std::slice::from_ref(&host), None))
        }
        HostsCommand::Remove { host } => {
            remote.remove::<HostKind>(&host.name).await?;
            let text = format!("The host `{}` is removed.", host.name);
            args.common.shown.removed(&host.name, &text)
        }
    }
}

async fn list(remote: &Remote, common: &Common) -> Outcome {
    let hosts = remote.all::<HostKind>().await?;
    let containers = match common.shown.format {
        super::args::Format::Table => Some(containers(remote).await?),
        _ => None,
    };
    common
        .shown
        .print(&hosts, || rows(&hosts, containers.as_ref()))
}

/// How many containers each host has.
async fn containers(remote: &Remote) -> Result<BTreeMap<String, usize>> {
    let mut count = BTreeMap::new();
    for container in remote.all::<ContainerKind>().await? {
        if let Some(host) = container.status.host {
            *count.entry(host.to_string()).or_default() += 1;
        }
    }
    Ok(count)
}

async fn set(remote: &Remote, changes: &Changes) -> Result<Host> {
    let is_nothing =
        changes.address.is_none() && changes.labels.is_empty() && changes.no_labels.is_empty();
    if is_nothing {
        return Err(Error::NothingToChange("hosts"));
    }
    remote
        .change::<HostKind>(&changes.host.name, |spec, labels| {
            if let Some(Address(address)) = changes.address {
                spec.address = address;
            }
            labels.extend(changes.labels.iter().cloned());
            labels.retain(|key, _| !changes.no_labels.contains(key));
            Ok(())
        })
        .await
}

/// As people read it.
pub fn state_name(state: HostState) -> &'static str {
    match state {
        HostState::Joining => "joining",
        HostState::Connected => "connected",
        HostState::Reconnecting => "reconnecting",
        HostState::Disconnected => "disconnected",
    }
}

fn rows(hosts: &[Host], containers: Option<&BTreeMap<String, usize>>) -> String {
    let now = Timestamp::now();
    let rows: Vec<[String; 9]> = hosts
        .iter()
        .map(|host| {
            let status = &host.status;
            let count = containers.map(|all| all.get(host.meta.id.as_str()).copied());
            [
                host.meta.name.clone(),
                state_name(status.state).to_owned(),
                or_dash(status.since.map(|since| ago(now, since))),
                or_dash(host.spec.address.or(status.address)),
                or_dash(status.block),
                or_dash(Some(&status.facts.docker).filter(|text| !text.is_empty())),
                or_dash(Some(&status.facts.os).filter(|text| !text.is_empty())),
                or_dash(count.map(Option::unwrap_or_default)),
                or_dash(Some(status.problems.len()).filter(|count| *count > 0)),
            ]
        })
        .collect();
    let header = [
        "Name",
        "State",
        "Since",
        "Address",
        "Block",
        "Docker",
        "OS",
        "Containers",
        "Problems",
    ];
    table(header, &rows)
}

fn text(host: &Host, containers: usize, now: Timestamp) -> String {
    let (status, facts) = (&host.status, &host.status.facts);
    let labels: Vec<String> = host
        .meta
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let since = status.since.map(|since| ago(now, since));
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!("{:12}{value}\n", format!("{name}:")));
        }
    };
    line("Name", host.meta.name.clone());
    line("Id", host.meta.id.to_string());
    line(
        "State",
        format!("{}, since {}", state_name(status.state), or_dash(since)),
    );
    line("Joined", ago(now, host.meta.created));
    line("Address", or_dash(host.spec.address.or(status.address)));
    line("Block", or_dash(status.block));
    line("Labels", labels.join(", "));
    line("Hostname", facts.hostname.clone());
    line("OS", facts.os.clone());
    line("Kernel", facts.kernel.clone());
    line("Docker", facts.docker.clone());
    line("Agent", facts.agent.clone());
    line("Processors", facts.processors.to_string());
    line("Memory", format!("{} MiB", facts.memory >> 20));
    line(
        "WireGuard",
        (if facts.wireguard { "yes" } else { "no" }).into(),
    );
    line("MTU", facts.mtu.to_string());
    line("Containers", containers.to_string());
    for problem in &status.problems {
        line("Problem", problem.clone());
    }
    text
}
