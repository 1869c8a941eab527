//! `ros agent join`: the host's identity, then a unit of systemd that runs the agent, then the wait until it is connected.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use agent::join::{Wishes, join};
use agent::status::Status;
use api::Id;
use clap::Args;
use serde::Serialize;
use tokio::time::Instant;

use super::{Place, UNIT};
use crate::cluster::args::{Format, JOIN_TOKEN, Shown, address, label, secret};
use crate::cluster::error::{Error, Result};
use crate::cluster::systemd::{self, Program, Unit};
use crate::outcome::Outcome;
use crate::service;

/// Longest wait for the agent to be connected.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub struct JoinArgs {
    /// Address of a server: https://HOST:PORT
    server: String,
    /// Join token, - for standard input, @FILE for a file [default: ROS_TOKEN]
    token: Option<String>,
    /// Name in the cluster [default: the machine's]
    #[arg(long)]
    name: Option<String>,
    /// Label of the host, any number
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Address at which the other hosts reach this one [default: the one it reaches the server from]
    #[arg(long, value_parser = address)]
    address: Option<IpAddr>,
    /// Only join: do not make systemd run the agent
    #[arg(long)]
    no_start: bool,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    shown: Shown,
}

impl JoinArgs {
    /// A unit of systemd is root's.
    pub fn needs_root(&self) -> bool {
        !self.no_start
    }
}

/// Runs `ros agent join`.
pub async fn run(args: JoinArgs) -> Outcome {
    let token = secret(args.token.as_deref(), &JOIN_TOKEN)?;
    let facts = agent::facts::of_system();
    let hostname = facts.hostname.split('.').next().unwrap_or_default();
    let wishes = Wishes {
        name: args.name.unwrap_or_else(|| hostname.to_owned()),
        labels: args.labels.into_iter().collect::<BTreeMap<_, _>>(),
        address: args.address,
        facts,
    };
    let identity = join(&args.place.data, &args.server, &token, wishes)
        .await
        .map_err(explain)?;
    let mut joined = Joined {
        host: &identity.host,
        name: &identity.name,
        project: &identity.project_name,
        server: None,
        problems: Vec::new(),
    };
    let shown = args.shown;
    shown.tell(&format!(
        "This host is `{}` ({}) of the project `{}` now.\n",
        joined.name, joined.host, joined.project
    ))?;
    let place = &args.place;
    if !args.no_start && service::is_managed() {
        service::start("agent").await?;
    } else if !args.no_start && systemd::is_here() {
        start(place)?;
    } else {
        let text = format!(
            "The agent must run on it: have what starts this machine's services run `ros agent run --data {}`.\n",
            place.data.display()
        );
        return shown.print(&joined, || text);
    }
    let status = wait(place).await;
    joined.server = status.server.clone();
    joined.problems = status.problems.clone();
    match &status.server {
        Some(server) => shown.print(&joined, || connected(server, &status.problems)),
        None => {
            // It is in the cluster all the same: a program is told that, too.
            if shown.format != Format::Table {
                shown.print(&joined, String::new)?;
            }
            Err(Error::Other(late(&status)).into())
        }
    }
}

/// What a program reads.
#[derive(Serialize)]
struct Joined<'a> {
    host: &'a Id,
    name: &'a str,
    project: &'a str,
    /// The server that the agent is connected to; none: it does not run yet, or is not connected in time.
    server: Option<String>,
    /// What hinders it.
    problems: Vec<String>,
}

/// What the server says of a token is clear; what happens on the way to it takes an advice.
pub(super) fn explain(error: agent::join::Error) -> Error {
    match error {
        agent::join::Error::Server(client::Error::Untrusted { server, .. }) => {
            Error::Remote(format!(
                "{server} is not the server that the token is of; is the address right, and the token of this cluster?"
            ))
        }
        agent::join::Error::Server(error) => error.into(),
        agent::join::Error::Disk(error) => Error::Other(format!(
            "{}; use sudo, or choose another folder with --data",
            crate::outcome::chain(&error)
        )),
        other => Error::Other(crate::outcome::chain(&other)),
    }
}

fn start(place: &Place) -> Result<()> {
    let unit = Unit {
        name: UNIT,
        description: "Agent of a RancherOS cluster",
        arguments: ["agent", "run", "--data"]
            .into_iter()
            .map(str::to_owned)
            .chain([place.data.display().to_string()])
            .collect(),
        after: "network-online.target docker.service",
        notifies: false,
    };
    unit.install(&Program::settle()?)
}

/// How the agent is once it is connected, or when that has taken too long.
async fn wait(place: &Place) -> Status {
    let begun = Instant::now();
    loop {
        let status = agent::status::read(&place.status).unwrap_or_default();
        if status.server.is_some() || begun.elapsed() > PATIENCE {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn connected(server: &str, problems: &[String]) -> String {
    let mut text = format!("It is connected to {server}.\n");
    for problem in problems {
        text.push_str(&format!("Still to solve: {problem}\n"));
    }
    text
}

fn late(status: &Status) -> String {
    let why = match status.link_problem.as_str() {
        "" => "it has not said how it is",
        why => why,
    };
    format!(
        "the agent is not connected after {} seconds: {why}; it goes on trying: `ros agent status`, `{}`",
        PATIENCE.as_secs(),
        super::commands().1
    )
}
