//! `ros keys`: the API keys of users. A key is shown once, when it is made.

use std::collections::BTreeMap;
use std::time::Duration;

use api::access::{ApiKeyKind, ApiKeySpec, UserKind};
use api::resource::New;
use api::{ApiKey, Id};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::args::{Common, span};
use super::complete;
use super::remote::Remote;
use super::tokens::stamped;
use crate::outcome::Outcome;
use crate::table::{ago, table};

/// Arguments of `ros keys`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ros keys\n  ros keys create --user anna --expires 90d\n  ros keys remove laptop"
)]
pub struct KeysArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<KeysCommand>,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// List the keys that you may see, without their secrets (the default)
    #[command(after_help = "Examples:\n  ros keys list\n  ros keys list --format json")]
    List,
    /// Make a key and print it, once
    #[command(
        after_help = "Examples:\n  ros keys create --name laptop\n  ros keys create --user anna --expires 90d"
    )]
    Create {
        /// Whose it is [default: yours]
        #[arg(long, value_name = "NAME", add = complete::names::<UserKind>())]
        user: Option<String>,
        /// Its name [default: made from the time]
        #[arg(long)]
        name: Option<String>,
        /// How long it is good: 90s, 30m, 24h or 90d [default: for ever]
        #[arg(long, value_parser = span, value_name = "TIME")]
        expires: Option<u64>,
    },
    /// Revoke a key
    #[command(after_help = "Example:\n  ros keys remove laptop")]
    Remove {
        /// Name or id of the key
        #[arg(add = complete::names::<ApiKeyKind>())]
        name: String,
    },
}

/// Runs `ros keys`.
pub async fn run(args: KeysArgs) -> Outcome {
    let (remote, shown) = (Remote::open(&args.common)?, args.common.shown);
    match args.command.unwrap_or(KeysCommand::List) {
        KeysCommand::List => {
            let keys = remote.all::<ApiKeyKind>().await?;
            let users = remote.all::<UserKind>().await?;
            let names = users
                .into_iter()
                .map(|user| (user.meta.id, user.meta.name))
                .collect();
            shown.print(&keys, || rows(&keys, &names, Timestamp::now()))
        }
        KeysCommand::Create {
            user,
            name,
            expires,
        } => {
            let user = match user {
                Some(name) => Some(remote.get::<UserKind>(&name).await?.meta.id),
                None => None,
            };
            let now = Timestamp::now();
            let new = New {
                name: name.unwrap_or_else(|| stamped("key", now)),
                labels: Default::default(),
                spec: ApiKeySpec {
                    user,
                    expires: expires.map(|seconds| now + Duration::from_secs(seconds)),
                },
            };
            let key = remote.create::<ApiKeyKind>(&new).await?;
            shown.print(&key, || {
                format!("{}\n", key.status.key.as_deref().unwrap_or_default())
            })
        }
        KeysCommand::Remove { name } => {
            remote.remove::<ApiKeyKind>(&name).await?;
            shown.removed(&name, &format!("The key `{name}` is revoked."))
        }
    }
}

fn rows(keys: &[ApiKey], users: &BTreeMap<Id, String>, now: Timestamp) -> String {
    let rows: Vec<[String; 5]> = keys
        .iter()
        .map(|key| {
            let user = key.spec.user.as_ref();
            let user = user.and_then(|id| users.get(id)).cloned();
            let expires = match key.spec.expires {
                None => "never".into(),
                Some(end) if end <= now => format!("expired {}", ago(now, end)),
                Some(end) => ago(now, end),
            };
            [
                key.meta.name.clone(),
                key.meta.id.to_string(),
                user.unwrap_or_else(|| "a removed user".into()),
                ago(now, key.meta.created),
                expires,
            ]
        })
        .collect();
    table(["Name", "Id", "User", "Made", "Expires"], &rows)
}
