//! `ros agent run --config-from-os`: the agent of a RancherOS. Joins by itself as `rancher.cluster` says, again and again until a server takes
//! it, and runs; after a removal it waits for another token. What the configuration means is decided by [`plan`], which is pure.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use agent::join::{Wishes, join};
use agent::run::{Ended, Options};
use agent::{Identity, disk};
use os_config::types::Cluster;
use tokio_util::sync::CancellationToken;

use super::join::explain;
use crate::outcome::{Outcome, chain};

/// First and longest pause after an attempt to join.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));
/// What remembers the token that this machine has joined with, in the agent's folder.
const USED: &str = "joined-with.json";

/// Runs until `stop`.
pub async fn run(options: Options, stop: CancellationToken) -> Outcome {
    let folder = options.folder.clone();
    while joined(&folder, &stop).await {
        match agent::run::run(options.clone(), stop.clone()).await {
            Ok(Ended::Stopped) => break,
            // Removed, or the identity is gone since the last look.
            Ok(Ended::Removed) | Err(agent::run::Error::NotJoined) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns when this machine is in a cluster; false: it is to stop.
async fn joined(folder: &Path, stop: &CancellationToken) -> bool {
    let (mut pause, mut said) = (PAUSE.0, BTreeSet::new());
    while !stop.is_cancelled() {
        let why = match attempt(folder).await {
            Ok(()) => return true,
            Err(why) => why,
        };
        // Each reason once: an hour without a server is a line, not a log full of them.
        if said.insert(why.clone()) {
            eprintln!("agent: {why}");
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE.1),
        }
    }
    false
}

/// Joins as the configuration says now, unless somebody else has done it. Otherwise why not, for people.
async fn attempt(folder: &Path) -> Result<(), String> {
    let known = Identity::load(folder).map_err(|error| chain(&error))?;
    if known.is_some() {
        return Ok(());
    }
    let used = disk::read(&folder.join(USED)).map_err(|error| chain(&error))?;
    let cluster = os_config::store::load_running().config.rancher.cluster;
    let plan = plan(cluster, used)?;
    let mut reasons = Vec::new();
    for server in &plan.servers {
        match join(folder, server, &plan.token, plan.wishes.clone()).await {
            Ok(identity) => return keep(folder, &plan, identity),
            Err(error) => reasons.push(format!("{server}: {}", chain(&explain(error)))),
        }
    }
    Err(format!(
        "cannot join yet, and goes on trying: {}",
        reasons.join("; ")
    ))
}

/// Remembers the token, and the other servers.
fn keep(folder: &Path, plan: &Plan, mut identity: Identity) -> Result<(), String> {
    eprintln!(
        "agent: this host is `{}` ({}) of the project `{}` now",
        identity.name, identity.host, identity.project_name
    );
    let others = plan
        .servers
        .iter()
        .filter(|server| !identity.servers.contains(server));
    let others: Vec<String> = others.cloned().collect();
    identity.servers.extend(others);
    let kept = identity
        .save(folder)
        .and_then(|()| disk::write(&folder.join(USED), &mark(&plan.token)));
    // It has joined: what could not be kept is of use later only.
    if let Err(error) = kept {
        eprintln!("agent: {}", chain(&error));
    }
    Ok(())
}

/// How to join.
#[derive(Debug, Clone)]
struct Plan {
    servers: Vec<String>,
    token: String,
    wishes: Wishes,
}

/// What `rancher.cluster` asks for, when the token of the mark `used` has done its work already.
fn plan(cluster: Cluster, used: Option<String>) -> Result<Plan, String> {
    if cluster.join.is_empty() {
        return Err("this machine is in no cluster, and `rancher.cluster.join` names none".into());
    }
    let token = cluster.token.reveal().trim().to_owned();
    if token.is_empty() {
        return Err(
            "`rancher.cluster.token` is not set: make a token with `ros tokens create`, and set it with `ros config set rancher.cluster.token …`"
                .into(),
        );
    }
    if used.is_some_and(|used| used == mark(&token)) {
        return Err(
            "this machine has joined with the token of `rancher.cluster.token` before, and has left or was removed; it joins again with another token, or by `ros agent join`"
                .into(),
        );
    }
    let facts = agent::facts::of_system();
    let own = facts.hostname.split('.').next().unwrap_or_default();
    let wishes = Wishes {
        name: cluster.name.unwrap_or_else(|| own.to_owned()),
        labels: cluster.labels.into_iter().collect(),
        address: cluster.address.and_then(|text| text.trim().parse().ok()),
        facts,
    };
    Ok(Plan {
        servers: cluster.join,
        token,
        wishes,
    })
}

/// What may be kept of a token, `rosjoin.<id>.<secret>.<hash>`: all but its secret.
fn mark(token: &str) -> String {
    let parts = token.split('.').enumerate();
    let shown = parts.filter(|(place, _)| *place != 2);
    shown.map(|(_, part)| part).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use os_config::types::Secret;

    const TOKEN: &str = "rosjoin.t-aaaaaaaaaaaa.SECRET.HASH";

    fn cluster() -> Cluster {
        Cluster {
            join: vec!["https://10.0.0.5".into(), "https://10.0.0.6".into()],
            token: Secret::new(TOKEN),
            ..Cluster::default()
        }
    }

    #[test]
    fn the_configuration_says_how() {
        let full = Cluster {
            name: Some("web".into()),
            address: Some(" 192.0.2.7".into()),
            labels: [("zone".to_owned(), "a".to_owned())].into_iter().collect(),
            ..cluster()
        };
        let plan = plan(full, None).unwrap();
        assert_eq!(plan.servers, ["https://10.0.0.5", "https://10.0.0.6"]);
        assert_eq!(
            (plan.token.as_str(), plan.wishes.name.as_str()),
            (TOKEN, "web")
        );
        assert_eq!(plan.wishes.address, Some([192, 0, 2, 7].into()));
        assert_eq!(plan.wishes.labels["zone"], "a");
        let own = super::plan(cluster(), Some("rosjoin.t-other.HASH".into())).unwrap();
        assert!(!own.wishes.name.is_empty() && !own.wishes.name.contains('.'));
    }

    #[test]
    fn what_is_missing_is_said() {
        let why = |cluster, used| plan(cluster, used).unwrap_err();
        assert!(why(Cluster::default(), None).contains("rancher.cluster.join"));
        let no_token = Cluster {
            token: Secret::default(),
            ..cluster()
        };
        assert!(why(no_token, None).contains("rancher.cluster.token"));
        let again = why(cluster(), Some(mark(TOKEN)));
        assert!(again.contains("another token"), "{again}");
    }

    #[test]
    fn a_mark_holds_no_secret() {
        assert_eq!(mark(TOKEN), "rosjoin.t-aaaaaaaaaaaa.HASH");
        assert_eq!(mark("nonsense"), "nonsense");
    }
}
