//! `ros agent status`: what the agent says of itself, and who this host is when it says nothing.

use std::process::ExitCode;

use agent::Identity;
use agent::status::{self, Status};
use serde::Serialize;
use serde_json::json;

use super::Place;
use crate::cluster::args::{Format, Shown};
use crate::cluster::error::Error;
use crate::outcome::Outcome;
use crate::table::or_dash;

/// Runs `ros agent status`: 0 when the host is connected and nothing hinders it.
pub fn run(place: &Place, shown: Shown) -> Outcome {
    let status = match status::read(&place.status) {
        Ok(status) => status,
        Err(_) => return silent(place, shown),
    };
    let told = Told {
        joined: true,
        status: &status,
    };
    shown.print(&told, || text(&status))?;
    let is_well = status.server.is_some() && status.problems.is_empty();
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What a program reads.
#[derive(Serialize)]
struct Told<'a> {
    /// Whether this host is in a cluster.
    joined: bool,
    #[serde(flatten)]
    status: &'a Status,
}

/// There is no status: people are told why as of any failure, a program as an object.
fn silent(place: &Place, shown: Shown) -> Outcome {
    let identity = Identity::load(&place.data);
    let why = why_silent(&identity);
    if shown.format == Format::Table {
        return Err(Error::Other(why).into());
    }
    let known = identity.as_ref().ok();
    let known = known.map(Option::as_ref);
    let value = json!({
        // Null: who asks may not know.
        "joined": known.map(|known| known.is_some()),
        "host": known.flatten().map(|known| &known.host),
        "name": known.flatten().map(|known| &known.name),
        "project": known.flatten().map(|known| &known.project_name),
        // None is followed: no agent runs.
        "server": null,
        "problems": [why],
    });
    shown.print(&value, String::new)?;
    Ok(ExitCode::FAILURE)
}

fn why_silent(identity: &Result<Option<Identity>, impl std::error::Error + 'static>) -> String {
    match identity {
        Ok(Some(identity)) => format!(
            "this host is `{}` of the project `{}`, but its agent does not run; `{}`, or `ros agent run`",
            identity.name, identity.project_name, super::commands().0
        ),
        Ok(None) => "this host is in no cluster; `ros agent join https://SERVER:6440 TOKEN` takes it into one".into(),
        Err(error) => format!(
            "the agent does not run, or you may not read who this host is: {}; try sudo",
            crate::outcome::chain(error)
        ),
    }
}

fn text(status: &Status) -> String {
    let link = match (&status.server, status.is_removed) {
        (_, true) => "removed from the cluster".to_owned(),
        (Some(server), _) => format!("connected to {server}"),
        (None, _) => format!("not connected: {}", status.link_problem),
    };
    let (hosts, containers) = status.known;
    let docker = if status.docker {
        "answers"
    } else {
        "does not answer"
    };
    let mut text = format!(
        "Host:     {} ({})\nProject:  {}\nServers:  {link}\nDocker:   {docker}\nNetwork:  {}\nKnown:    {hosts} hosts, {containers} containers\n",
        status.name,
        or_dash(status.host.as_ref()),
        status.project,
        or_dash(status.network.as_ref()),
    );
    for problem in &status.problems {
        text.push_str(&format!("Problem:  {problem}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_wrong() {
        let status = Status {
            name: "web".into(),
            project: "default".into(),
            link_problem: "cannot reach https://10.0.0.5:6440: Connection refused".into(),
            docker: true,
            known: (3, 20),
            problems: vec!["UDP port 51820 is taken; choose another: `ros networks set`".into()],
            ..Status::default()
        };
        insta::assert_snapshot!(text(&status));
    }
}
