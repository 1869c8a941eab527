//! `ros tokens`: what hosts join the project with.

use std::time::Duration;

use api::Token;
use api::access::{TokenKind, TokenSpec};
use api::resource::New;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::args::{Common, span};
use super::complete;
use super::remote::Remote;
use crate::outcome::Outcome;
use crate::table::{ago, or_dash, table};

/// Arguments of `ros tokens`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ros tokens\n  ros tokens create --expires 1h --uses 3\n  ros tokens remove rack-7"
)]
pub struct TokensArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<TokensCommand>,
}

#[derive(Debug, Subcommand)]
enum TokensCommand {
    /// List the tokens, without their secrets (the default)
    #[command(after_help = "Examples:\n  ros tokens list\n  ros tokens list --format json")]
    List,
    /// Make a token, and print the command that joins a host with it
    #[command(
        after_help = "Examples:\n  ros tokens create\n  ros tokens create --expires 1h --uses 3 --name rack-7"
    )]
    Create {
        /// How long it is good: 90s, 30m, 24h or 7d
        #[arg(long, value_parser = span, value_name = "TIME", default_value = "24h")]
        expires: u64,
        /// How many hosts may join with it [default: any number]
        #[arg(long, value_name = "NUMBER")]
        uses: Option<u32>,
        /// Its name [default: made from the time]
        #[arg(long)]
        name: Option<String>,
    },
    /// Revoke a token; hosts that have joined with it stay
    #[command(after_help = "Example:\n  ros tokens remove rack-7")]
    Remove {
        /// Name or id of the token
        #[arg(add = complete::names::<TokenKind>())]
        name: String,
    },
}

/// Runs `ros tokens`.
pub async fn run(args: TokensArgs) -> Outcome {
    let (remote, shown) = (Remote::open(&args.common)?, args.common.shown);
    match args.command.unwrap_or(TokensCommand::List) {
        TokensCommand::List => {
            let tokens = remote.all::<TokenKind>().await?;
            shown.print(&tokens, || rows(&tokens, Timestamp::now()))
        }
        TokensCommand::Create {
            expires,
            uses,
            name,
        } => {
            let now = Timestamp::now();
            let new = New {
                name: name.unwrap_or_else(|| stamped("join", now)),
                labels: Default::default(),
                spec: TokenSpec {
                    expires: Some(now + Duration::from_secs(expires)),
                    uses,
                },
            };
            let token = remote.create::<TokenKind>(&new).await?;
            shown.print(&token, || ready(&token, remote.server()))
        }
        TokensCommand::Remove { name } => {
            remote.remove::<TokenKind>(&name).await?;
            let text =
                format!("The token `{name}` is revoked; hosts that have joined with it stay.");
            shown.removed(&name, &text)
        }
    }
}

/// A name that no other has: what it is, and the milliseconds since 1970.
pub fn stamped(what: &str, now: Timestamp) -> String {
    format!("{what}-{}", now.as_millisecond())
}

/// The command to paste on a host.
fn ready(token: &Token, server: &str) -> String {
    let secret = token.status.token.as_deref().unwrap_or_default();
    format!("sudo ros agent join {server} {secret}\n")
}

fn rows(tokens: &[Token], now: Timestamp) -> String {
    let rows: Vec<[String; 5]> = tokens
        .iter()
        .map(|token| {
            let left = token.spec.uses.map(|uses| format!(" of {uses}"));
            let expires = token.spec.expires.map(|end| match end <= now {
                true => format!("expired {}", ago(now, end)),
                false => ago(now, end),
            });
            [
                token.meta.name.clone(),
                token.meta.id.to_string(),
                ago(now, token.meta.created),
                or_dash(expires),
                format!("{}{}", token.status.used, left.unwrap_or_default()),
            ]
        })
        .collect();
    table(["Name", "Id", "Made", "Expires", "Hosts joined"], &rows)
}
