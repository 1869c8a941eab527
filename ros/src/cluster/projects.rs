//! `ros env` with a word of its own: the projects of the cluster, which RancherOS's ancestors called environments, and their members.

use std::collections::BTreeMap;

use api::access::{Role, UserKind};
use api::project::{ProjectKind, ProjectSpec};
use api::resource::New;
use api::{Id, Project};
use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::json;

use super::args::Common;
use super::complete;
use super::context::{Contexts, Variables};
use super::error::{Error, Result};
use super::remote::Remote;
use crate::outcome::Outcome;
use crate::table::{ago, length, table};

/// What `ros env` can do with projects.
#[derive(Debug, Subcommand)]
pub enum ProjectsCommand {
    /// List the projects of the cluster that you are a member of
    #[command(after_help = "Examples:\n  ros env list\n  ros env list --format json")]
    List,
    /// Make a project, with you as its owner
    #[command(
        after_help = "Example:\n  ros env create shop --description 'The web shop' && ros env use shop"
    )]
    Create {
        /// Its name
        name: String,
        /// Free text
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Make a project the one that commands are about
    #[command(after_help = "Example:\n  ros env use shop")]
    Use {
        /// Its name
        #[arg(add = complete::projects())]
        name: String,
    },
    /// Show a project and its members
    #[command(after_help = "Examples:\n  ros env show\n  ros env show shop --format yaml")]
    Show {
        /// Its name; the current one when none is given
        #[arg(add = complete::projects())]
        name: Option<String>,
    },
    /// Change a project
    #[command(after_help = "Example:\n  ros env set --disconnected-after 600")]
    Set {
        /// Its name; the current one when none is given
        #[arg(add = complete::projects())]
        name: Option<String>,
        /// Free text
        #[arg(long)]
        description: Option<String>,
        /// Seconds of silence after which a host is reconnecting
        #[arg(long, value_name = "SECONDS")]
        reconnecting_after: Option<u32>,
        /// Seconds of silence after which a host is disconnected
        #[arg(long, value_name = "SECONDS")]
        disconnected_after: Option<u32>,
    },
    /// Remove a project that has no hosts
    #[command(after_help = "Example:\n  ros env remove shop")]
    Remove {
        /// Its name
        #[arg(add = complete::projects())]
        name: String,
    },
    /// Who may do what in the current project
    #[command(
        subcommand,
        after_help = "Examples:\n  ros env members add anna member\n  ros env members remove anna --project shop"
    )]
    Members(MembersCommand),
}

/// What can be done with members.
#[derive(Debug, Subcommand)]
pub enum MembersCommand {
    /// Let a user into the project, or change what it may do
    #[command(after_help = "Example:\n  ros env members add anna readonly")]
    Add {
        /// Name or id of the user
        #[arg(add = complete::names::<UserKind>())]
        user: String,
        /// What it may do
        role: Part,
    },
    /// Put a user out of the project
    #[command(after_help = "Example:\n  ros env members remove anna")]
    Remove {
        /// Name or id of the user
        #[arg(add = complete::names::<UserKind>())]
        user: String,
    },
}

/// What a member may do.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Part {
    /// Look
    Readonly,
    /// Change everything but members and the project itself
    Member,
    /// Everything
    Owner,
}

impl From<Part> for Role {
    fn from(part: Part) -> Self {
        match part {
            Part::Readonly => Self::Readonly,
            Part::Member => Self::Member,
            Part::Owner => Self::Owner,
        }
    }
}

/// Runs a command.
pub async fn run(command: ProjectsCommand, common: &Common) -> Outcome {
    let (remote, shown) = (Remote::open(common)?, common.shown);
    let of = |name: Option<String>| name.unwrap_or_else(|| remote.project.clone());
    let project = match command {
        ProjectsCommand::List => {
            let projects = remote.all::<ProjectKind>().await?;
            return shown.print(&projects, || rows(&projects, &remote.project));
        }
        ProjectsCommand::Create { name, description } => {
            let spec = ProjectSpec {
                description,
                ..ProjectSpec::default()
            };
            let new = New {
                name,
                spec,
                ..New::default()
            };
            remote.create::<ProjectKind>(&new).await?
        }
        ProjectsCommand::Use { name } => return choose(&remote, common, &name).await,
        ProjectsCommand::Show { name } => remote.get::<ProjectKind>(&of(name)).await?,
        ProjectsCommand::Set {
            name,
            description,
            reconnecting_after,
            disconnected_after,
        } => {
            let is_nothing = description.is_none()
                && reconnecting_after.is_none()
                && disconnected_after.is_none();
            if is_nothing {
                return Err(Error::NothingToChange("env").into());
            }
            let change = |spec: &mut ProjectSpec, _: &mut BTreeMap<_, _>| {
                spec.description = description.clone().unwrap_or(spec.description.clone());
                spec.reconnecting_after = reconnecting_after.unwrap_or(spec.reconnecting_after);
                spec.disconnected_after = disconnected_after.unwrap_or(spec.disconnected_after);
                Ok(())
            };
            remote.change::<ProjectKind>(&of(name), change).await?
        }
        ProjectsCommand::Remove { name } => {
            remote.remove::<ProjectKind>(&name).await?;
            return shown.removed(&name, &format!("The project `{name}` is removed."));
        }
        ProjectsCommand::Members(command) => members(&remote, command).await?,
    };
    let names = names(&remote).await?;
    shown.print(&project, || text(&project, &names))
}

/// The context's project from now on.
async fn choose(remote: &Remote, common: &Common, name: &str) -> Outcome {
    let project = remote.get::<ProjectKind>(name).await?;
    let mut contexts = Contexts::load()?;
    let chosen = common.context.clone().or_else(|| Variables::read().context);
    let context = chosen.or_else(|| contexts.current.clone());
    let known = context
        .as_ref()
        .and_then(|name| contexts.contexts.get_mut(name));
    let (Some(name), Some(known)) = (&context, known) else {
        let text = "no context keeps the choice; set ROS_PROJECT instead";
        return Err(Error::Other(text.into()).into());
    };
    let chosen = &project.meta.name;
    known.project = chosen.clone();
    contexts.save()?;
    let value = json!({ "context": name, "project": chosen });
    common.shown.print(&value, || {
        format!("Commands are about the project `{chosen}` now.\n")
    })
}

async fn members(remote: &Remote, command: MembersCommand) -> Result<Project> {
    let project = remote.project.clone();
    let (user, role) = match command {
        MembersCommand::Add { user, role } => (user, Some(Role::from(role))),
        MembersCommand::Remove { user } => (user, None),
    };
    let id = user_id(remote, &user).await?;
    let change = |spec: &mut ProjectSpec, _: &mut BTreeMap<_, _>| {
        match role {
            Some(role) => drop(spec.members.insert(id.clone(), role)),
            None => {
                let was = spec.members.remove(&id);
                was.ok_or_else(|| {
                    Error::Other(format!("`{user}` is no member of the project `{project}`"))
                })?;
            }
        }
        Ok(())
    };
    remote.change::<ProjectKind>(&project, change).await
}

/// An id is taken as it is: who is no administrator sees no other users.
async fn user_id(remote: &Remote, user: &str) -> Result<Id> {
    if let Some(known) = remote.find::<UserKind>(user).await? {
        return Ok(known.meta.id);
    }
    user.parse().map_err(|_| {
        Error::Other(format!(
            "there is no user `{user}` that you may see; an administrator makes one with `ros users create`, or tells you its id"
        ))
    })
}

/// Names of the users that may be seen.
async fn names(remote: &Remote) -> Result<BTreeMap<Id, String>> {
    let users = remote.all::<UserKind>().await?;
    Ok(users
        .into_iter()
        .map(|user| (user.meta.id, user.meta.name))
        .collect())
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Readonly => "readonly",
        Role::Member => "member",
        Role::Owner => "owner",
    }
}

fn rows(projects: &[Project], current: &str) -> String {
    let now = Timestamp::now();
    let rows: Vec<[String; 5]> = projects
        .iter()
        .map(|project| {
            let meta = &project.meta;
            let is_current = meta.name == current || meta.id.as_str() == current;
            [
                (if is_current { "*" } else { "" }).to_owned(),
                meta.name.clone(),
                meta.id.to_string(),
                ago(now, meta.created),
                project.spec.description.clone(),
            ]
        })
        .collect();
    table(["", "Name", "Id", "Made", "Description"], &rows)
}

fn text(project: &Project, names: &BTreeMap<Id, String>) -> String {
    let spec = &project.spec;
    let after = |seconds: u32| length(seconds.into());
    let mut text = format!(
        "Name:          {}\nId:            {}\nDescription:   {}\nReconnecting:  after {}\nDisconnected:  after {}\n\n",
        project.meta.name,
        project.meta.id,
        spec.description,
        after(spec.reconnecting_after),
        after(spec.disconnected_after),
    );
    let rows: Vec<[String; 2]> = spec
        .members
        .iter()
        .map(|(id, part)| {
            let name = names.get(id).cloned();
            [
                name.unwrap_or_else(|| id.to_string()),
                role(*part).to_owned(),
            ]
        })
        .collect();
    text.push_str(&table(["Member", "Role"], &rows));
    text
}
