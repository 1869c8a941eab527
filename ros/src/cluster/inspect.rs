//! `ros inspect`: any object as the server keeps it, by name or id.

use api::access::{ApiKeyKind, TokenKind, UserKind};
use api::container::ContainerKind;
use api::event::EventKind;
use api::host::HostKind;
use api::network::NetworkKind;
use api::project::ProjectKind;
use api::resource::Kind;
use clap::Args;
use serde_json::Value;

use super::args::{Common, Format};
use super::error::{Error, Result};
use super::remote::Remote;
use crate::outcome::Outcome;

/// Letters of Docker's id of a container from which it is looked for.
const SHORTEST: usize = 6;

/// Arguments of `ros inspect`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ros inspect web\n  ros inspect h-k3v6xq2mzd7a --format yaml\n  ros inspect host/web-1"
)]
pub struct InspectArgs {
    #[command(flatten)]
    common: Common,
    /// Name, id, or KIND/NAME where several kinds have the name; a container also by Docker's id
    #[arg(value_name = "NAME-OR-ID")]
    name: String,
}

/// An object of some kind.
struct Found {
    kind: &'static str,
    id: String,
    value: Value,
}

/// Runs `ros inspect`. The table of an object is its JSON.
pub async fn run(args: InspectArgs) -> Outcome {
    let remote = Remote::open(&args.common)?;
    let (kind, name) = match args.name.split_once('/') {
        Some((kind, name)) => (Some(kind), name),
        None => (None, args.name.as_str()),
    };
    let mut found = everywhere(&remote, kind, name).await?;
    let one = match found.len() {
        0 => {
            let text = format!(
                "there is nothing called `{}` in the project `{}`, and no user, key or project",
                args.name, remote.project
            );
            return Err(Error::Other(text).into());
        }
        1 => found.remove(0),
        _ => return Err(Error::Other(several(name, &found)).into()),
    };
    let mut shown = args.common.shown;
    if shown.format == Format::Table {
        shown.format = Format::Json;
    }
    shown.print(&one.value, String::new)
}

fn several(name: &str, found: &[Found]) -> String {
    let all: Vec<String> = found
        .iter()
        .map(|one| format!("{}/{name} ({})", one.kind, one.id))
        .collect();
    format!(
        "several are called `{name}`: {}; name one of them so, or by its id",
        all.join(", ")
    )
}

async fn everywhere(remote: &Remote, kind: Option<&str>, name: &str) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    found.extend(one::<HostKind>(remote, kind, name).await?);
    found.extend(one::<ContainerKind>(remote, kind, name).await?);
    found.extend(one::<NetworkKind>(remote, kind, name).await?);
    found.extend(one::<TokenKind>(remote, kind, name).await?);
    found.extend(one::<EventKind>(remote, kind, name).await?);
    found.extend(one::<ProjectKind>(remote, kind, name).await?);
    found.extend(one::<UserKind>(remote, kind, name).await?);
    found.extend(one::<ApiKeyKind>(remote, kind, name).await?);
    let is_hexadecimal = name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if found.is_empty() && is_hexadecimal && name.len() >= SHORTEST {
        found.extend(by_docker_id(remote, name).await?);
    }
    Ok(found)
}

async fn one<K: Kind>(remote: &Remote, kind: Option<&str>, name: &str) -> Result<Option<Found>> {
    let is_asked = kind.is_none_or(|kind| [K::NAME, K::PLURAL].contains(&kind));
    // An id tells its kind; an event has no name of its own.
    let id: Option<api::Id> = name.parse().ok();
    let is_of_another = id.is_some_and(|id| !id.as_str().starts_with(&format!("{}-", K::PREFIX)));
    if !is_asked || is_of_another {
        return Ok(None);
    }
    match remote.find::<K>(name).await {
        Ok(Some(object)) => Ok(Some(Found {
            kind: K::NAME,
            id: object.meta.id.to_string(),
            value: serde_json::to_value(&object)
                .map_err(|error| Error::Other(error.to_string()))?,
        })),
        Ok(None) => Ok(None),
        // Tokens are not shown to who may only look: the others are.
        Err(Error::Forbidden(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn by_docker_id(remote: &Remote, start: &str) -> Result<Vec<Found>> {
    let start = start.to_ascii_lowercase();
    let containers = remote.all::<ContainerKind>().await?;
    containers
        .iter()
        .filter(|container| container.status.docker_id.starts_with(&start))
        .map(|container| {
            Ok(Found {
                kind: ContainerKind::NAME,
                id: container.meta.id.to_string(),
                value: serde_json::to_value(container)
                    .map_err(|error| Error::Other(error.to_string()))?,
            })
        })
        .collect()
}
