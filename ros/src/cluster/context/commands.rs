//! `ros context`: add, list, choose, show and remove the clusters that this user knows.

use std::path::PathBuf;

use api::access::CaAnswer;
use api::project::ProjectKind;
use clap::{Args, Subcommand};
use client::{Client, Identity, Trust, fingerprint};
use serde_json::{Value, json};

use super::{Context, Contexts, PROJECT, Resolved, Variables, hash, hash_text};
use crate::cluster::args::{self, Shown};
use crate::cluster::complete;
use crate::cluster::error::{Error, Result};
use crate::cluster::remote::Remote;
use crate::outcome::Outcome;
use crate::table::table;

/// Instead of an empty table.
const NONE: &str = "There is none yet: `ros context add NAME https://SERVER:6440 --key KEY --ca-hash HASH` adds one; the server prints this line at its first start.\n";

/// Arguments of `ros context`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ros context\n  ros context add home https://10.0.0.5:6440 --key roskey.… --ca-hash sha256:…\n  ros context use home"
)]
pub struct ContextArgs {
    #[command(flatten)]
    shown: Shown,
    #[command(subcommand)]
    command: Option<ContextCommand>,
}

#[derive(Debug, Subcommand)]
enum ContextCommand {
    /// Add a cluster, and make it the current one
    #[command(
        after_help = "Examples:\n  ros context add home https://10.0.0.5:6440 --key roskey.… --ca-hash sha256:…\n  ros context add home https://10.0.0.5:6440 --key - --ca ca.pem < key"
    )]
    Add(New),
    /// List the clusters that are known (the default)
    #[command(after_help = "Examples:\n  ros context list\n  ros context list --format json")]
    List,
    /// Make a context the current one
    #[command(after_help = "Example:\n  ros context use home")]
    Use {
        /// Its name
        #[arg(add = complete::contexts())]
        name: String,
    },
    /// Show a context, without its key
    #[command(after_help = "Examples:\n  ros context show\n  ros context show home --format yaml")]
    Show {
        /// Its name; the current one when none is given
        #[arg(add = complete::contexts())]
        name: Option<String>,
    },
    /// Forget a cluster; the cluster itself stays as it is
    #[command(after_help = "Example:\n  ros context remove home")]
    Remove {
        /// Its name
        #[arg(add = complete::contexts())]
        name: String,
    },
}

/// A cluster that is to be known.
#[derive(Debug, Args)]
struct New {
    /// How to call it here
    name: String,
    /// Address of a server: https://HOST:PORT
    server: String,
    /// API key, - for standard input, @FILE for a file [default: ROS_KEY]
    #[arg(long)]
    key: Option<String>,
    /// SHA-256 of the CA's certificate, as the server prints it at its first start
    #[arg(long, value_name = "HASH", required_unless_present = "ca")]
    ca_hash: Option<String>,
    /// The CA's certificate, PEM
    #[arg(long, value_name = "FILE", conflicts_with = "ca_hash")]
    ca: Option<PathBuf>,
    /// The project that commands are about [default: `default`, or the only one]
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// Replace a context of this name
    #[arg(long)]
    replace: bool,
}

/// Runs `ros context`.
pub async fn run(args: ContextArgs) -> Outcome {
    let mut contexts = Contexts::load()?;
    match args.command.unwrap_or(ContextCommand::List) {
        ContextCommand::Add(new) => add(contexts, new, args.shown).await,
        ContextCommand::List => list(&contexts, args.shown),
        ContextCommand::Use { name } => {
            contexts.current = Some(name.clone());
            let value = object(&contexts, &name, contexts.get(&name)?);
            contexts.save()?;
            args.shown.print(&value, || {
                format!("Commands are about the cluster `{name}` now.\n")
            })
        }
        ContextCommand::Show { name } => show(&contexts, name, args.shown),
        ContextCommand::Remove { name } => {
            contexts.get(&name)?;
            contexts.contexts.remove(&name);
            contexts.current = contexts.current.filter(|current| *current != name);
            contexts.save()?;
            let text = format!("The context `{name}` is removed; the cluster stays as it is.");
            args.shown.removed(&name, &text)
        }
    }
}

async fn add(mut contexts: Contexts, new: New, shown: Shown) -> Outcome {
    if contexts.contexts.contains_key(&new.name) && !new.replace {
        let text = format!(
            "there is a context `{}` already; --replace replaces it",
            new.name
        );
        return Err(Error::Other(text).into());
    }
    let key = args::secret(new.key.as_deref(), &args::API_KEY)?;
    let ca = ca(&new).await?;
    let remote = Remote::to(Resolved {
        server: new.server.clone(),
        trust: Trust::Ca(ca.clone()),
        key: key.clone(),
        project: PROJECT.into(),
    })?;
    // Says whether the key is good, before anything is kept.
    let who: Value = remote
        .client()
        .get("/v1/whoami")
        .await
        .map_err(|error| unknown_key(error, &new.server))?;
    let project = project(&remote, new.project).await?;
    let text = format!(
        "{} is the current context: {}, project {project}, as {}.\n",
        new.name,
        new.server,
        who["name"].as_str().unwrap_or("?")
    );
    let context = Context {
        server: new.server,
        project,
        key,
        ca,
    };
    contexts.contexts.insert(new.name.clone(), context);
    contexts.current = Some(new.name.clone());
    contexts.save()?;
    let value = object(&contexts, &new.name, contexts.get(&new.name)?);
    shown.print(&value, || text)
}

/// Here the key was just given: the general advice would lead astray.
fn unknown_key(error: client::Error, server: &str) -> Error {
    match error {
        client::Error::Refused(problem)
            if problem.reason == api::problem::Reason::Unauthenticated =>
        {
            Error::Remote(format!(
                "{server} does not know this key; was it cut off, has it been removed, or is it another cluster's?"
            ))
        }
        other => other.into(),
    }
}

/// The CA's certificate, PEM: from the file, or from the server, which must show one with the known hash.
async fn ca(new: &New) -> Result<String> {
    if let Some(path) = &new.ca {
        let path = path.display().to_string();
        return std::fs::read_to_string(&path).map_err(|error| Error::File(path, error));
    }
    let wanted = hash(new.ca_hash.as_deref().unwrap_or_default())?;
    let stranger = Client::new(&new.server, Trust::Hash(wanted), Identity::None)?;
    let answer: CaAnswer = stranger.get("/v1/ca").await.map_err(|error| match error {
        client::Error::Untrusted { .. } => Error::OtherCa(new.server.clone()),
        other => other.into(),
    })?;
    // The connection was to a holder of a certificate of that CA; this is what is kept.
    if fingerprint(&answer.certificate) != Some(wanted) {
        return Err(Error::OtherCa(new.server.clone()));
    }
    Ok(answer.certificate)
}

/// The project that commands will be about.
async fn project(remote: &Remote, wished: Option<String>) -> Result<String> {
    if let Some(wished) = wished {
        return Ok(remote.get::<ProjectKind>(&wished).await?.meta.name);
    }
    let all = remote.all::<ProjectKind>().await?;
    let default = all.iter().find(|project| project.meta.name == PROJECT);
    let chosen = default.or(all.first()).map(|one| one.meta.name.clone());
    Ok(chosen.unwrap_or_else(|| PROJECT.into()))
}

fn list(contexts: &Contexts, shown: Shown) -> Outcome {
    let all = contexts.contexts.iter();
    let objects: Vec<Value> = all
        .map(|(name, context)| object(contexts, name, context))
        .collect();
    shown.print(&objects, || {
        if contexts.contexts.is_empty() {
            return NONE.into();
        }
        let rows: Vec<[String; 4]> = contexts
            .contexts
            .iter()
            .map(|(name, context)| {
                let is_current = contexts.current.as_ref() == Some(name);
                [
                    (if is_current { "*" } else { "" }).to_owned(),
                    name.clone(),
                    context.server.clone(),
                    context.project.clone(),
                ]
            })
            .collect();
        table(["", "Name", "Server", "Project"], &rows)
    })
}

fn object(contexts: &Contexts, name: &str, context: &Context) -> Value {
    json!({
        "name": name,
        "current": contexts.current.as_deref() == Some(name),
        "server": context.server,
        "project": context.project,
        "ca_hash": fingerprint(&context.ca).map(|hash| hash_text(&hash)),
    })
}

fn show(contexts: &Contexts, name: Option<String>, shown: Shown) -> Outcome {
    let chosen = name
        .or_else(|| Variables::read().context)
        .or_else(|| contexts.current.clone());
    let name = chosen.ok_or(Error::NoContext)?;
    let context = contexts.get(&name)?;
    let value = object(contexts, &name, context);
    shown.print(&value, || {
        let text = |field: &str| value[field].as_str().unwrap_or("-").to_owned();
        format!(
            "Name:     {name}\nServer:   {}\nProject:  {}\nCA hash:  {}\n",
            text("server"),
            text("project"),
            text("ca_hash")
        )
    })
}
