//! `ros users`: who may speak to the cluster. What each may do lies in the projects.

use api::User;
use api::access::{UserKind, UserSpec};
use api::resource::New;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::args::Common;
use super::complete;
use super::error::Result;
use super::remote::Remote;
use crate::outcome::Outcome;
use crate::table::{ago, table};

/// Arguments of `ros users`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ros users\n  ros users create anna\n  ros users disable anna")]
pub struct UsersArgs {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<UsersCommand>,
}

#[derive(Debug, Subcommand)]
enum UsersCommand {
    /// List the users that you may see (the default)
    #[command(after_help = "Examples:\n  ros users list\n  ros users list --format json")]
    List,
    /// Make a user; `ros keys create` makes its key, `ros env members add` lets it into a project
    #[command(
        after_help = "Example:\n  ros users create anna\n  ros keys create --user anna\n  ros env members add anna member"
    )]
    Create {
        /// Its name
        name: String,
        /// May do everything everywhere
        #[arg(long)]
        admin: bool,
    },
    /// Keep a user out: none of its keys is good until it is enabled
    #[command(after_help = "Example:\n  ros users disable anna")]
    Disable {
        #[command(flatten)]
        user: Named,
    },
    /// Let a user in again
    #[command(after_help = "Example:\n  ros users enable anna")]
    Enable {
        #[command(flatten)]
        user: Named,
    },
    /// Remove a user; its keys are good for nothing then
    #[command(after_help = "Example:\n  ros users remove anna")]
    Remove {
        #[command(flatten)]
        user: Named,
    },
}

#[derive(Debug, Args)]
struct Named {
    /// Name or id of the user
    #[arg(add = complete::names::<UserKind>())]
    name: String,
}

/// Runs `ros users`.
pub async fn run(args: UsersArgs) -> Outcome {
    let (remote, shown) = (Remote::open(&args.common)?, args.common.shown);
    let changed = match args.command.unwrap_or(UsersCommand::List) {
        UsersCommand::List => {
            let users = remote.all::<UserKind>().await?;
            return shown.print(&users, || rows(&users));
        }
        UsersCommand::Create { name, admin } => {
            let spec = UserSpec {
                admin,
                ..UserSpec::default()
            };
            let new = New {
                name,
                spec,
                ..New::default()
            };
            remote.create::<UserKind>(&new).await?
        }
        UsersCommand::Disable { user } => set(&remote, &user, |spec| spec.disabled = true).await?,
        UsersCommand::Enable { user } => set(&remote, &user, |spec| spec.disabled = false).await?,
        UsersCommand::Remove { user } => {
            remote.remove::<UserKind>(&user.name).await?;
            let text = format!("The user `{}` is removed.", user.name);
            return shown.removed(&user.name, &text);
        }
    };
    shown.print(&changed, || rows(std::slice::from_ref(&changed)))
}

async fn set(remote: &Remote, user: &Named, change: impl Fn(&mut UserSpec)) -> Result<User> {
    remote
        .change::<UserKind>(&user.name, |spec, _| {
            change(spec);
            Ok(())
        })
        .await
}

fn rows(users: &[User]) -> String {
    let now = Timestamp::now();
    let rows: Vec<[String; 4]> = users
        .iter()
        .map(|user| {
            let may = match (user.spec.disabled, user.spec.admin) {
                (true, _) => "nothing: disabled",
                (false, true) => "everything",
                (false, false) => "what its projects say",
            };
            [
                user.meta.name.clone(),
                user.meta.id.to_string(),
                may.to_owned(),
                ago(now, user.meta.created),
            ]
        })
        .collect();
    table(["Name", "Id", "May do", "Made"], &rows)
}
