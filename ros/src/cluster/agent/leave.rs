//! `ros agent leave`: out of the cluster's list, then everything that the agent has made here.

use std::path::PathBuf;
use std::process::ExitCode;

use agent::leave;
use clap::Args;
use serde_json::json;

use super::{Place, UNIT};
use crate::cluster::args::{Format, Shown};
use crate::cluster::error::Error;
use crate::cluster::systemd;
use crate::outcome::{Outcome, chain};
use crate::service;

#[derive(Debug, Args)]
pub struct LeaveArgs {
    /// Leave also when no server answers; `ros hosts remove` takes the host out of the cluster's list then
    #[arg(long)]
    force: bool,
    /// Do not tell the cluster: on a copy of a host's disk, which is to be a host of its own
    #[arg(long, conflicts_with = "force")]
    local: bool,
    #[command(flatten)]
    place: Place,
    /// Docker's socket
    #[arg(long, value_name = "FILE", default_value = "/var/run/docker.sock")]
    docker: PathBuf,
    #[command(flatten)]
    shown: Shown,
}

/// Runs `ros agent leave`.
pub async fn run(args: LeaveArgs) -> Outcome {
    let said = match args.local {
        true => Ok(()),
        false => leave::say(&args.place.data, &args.place.status).await,
    };
    match said {
        Ok(()) => {}
        Err(error @ leave::Error::NotJoined) if !args.force => return Err(error.into()),
        Err(error) if args.force => eprintln!("The cluster does not know: {}", chain(&error)),
        Err(error) => {
            return Err(Error::Other(format!(
                "{}; --force leaves without the cluster's knowledge",
                chain(&error)
            ))
            .into());
        }
    }
    if systemd::is_here() {
        systemd::remove(UNIT)?;
    }
    let docker = agent::run::connect(&args.docker);
    let take_down = leave::take_down(&args.place.data, docker.as_ref());
    let problems = if service::is_managed() {
        service::without("agent", take_down).await?
    } else {
        take_down.await
    };
    let is_whole = problems.is_empty();
    if is_whole || args.shown.format != Format::Table {
        let value = json!({ "left": true, "problems": problems });
        let text = || "This host is in no cluster now; its containers run on.\n".into();
        args.shown.print(&value, text)?;
    }
    if is_whole {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Error::Other(format!(
        "this host has left, but something stays on it: {}; `ros agent leave --force` tries again",
        problems.join("; ")
    ))
    .into())
}
