//! How the agent is, for people on this host: a file that is written when something changes. It holds no secrets.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use api::Id;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::containers::Local;
use crate::identity::Own;
use crate::overlay::State;
use crate::session::Link;

/// Where it lies: gone after a boot.
pub const FILE: &str = "/run/ros-agent/status.json";

/// How the agent is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// This host.
    pub host: Option<Id>,
    /// Its name.
    pub name: String,
    /// The running agent: another one at each start.
    pub instance: String,
    /// Name of its project.
    pub project: String,
    /// The server that is followed.
    pub server: Option<String>,
    /// Why none is.
    pub link_problem: String,
    /// Whether the cluster has removed this host.
    pub is_removed: bool,
    /// Revision of what is known of the project.
    pub revision: u64,
    /// Hosts, containers of the project that are known.
    pub known: (usize, usize),
    /// Whether Docker answers.
    pub docker: bool,
    /// Name of Docker's network, once it is there.
    pub network: Option<String>,
    /// What hinders it.
    pub problems: Vec<String>,
}

/// The file as it was written last.
///
/// # Errors
/// When it cannot be read: there is no agent, or none has run since the boot.
pub fn read(path: &Path) -> io::Result<Status> {
    let text = fs::read(path)?;
    serde_json::from_slice(&text).map_err(io::Error::from)
}

/// What the status is made of.
pub struct Sources {
    /// This host.
    pub own: Own,
    /// The running agent.
    pub instance: String,
    /// The servers.
    pub link: watch::Receiver<Link>,
    /// What is known.
    pub view: watch::Receiver<Arc<crate::Catalog>>,
    /// Docker.
    pub local: watch::Receiver<Option<Arc<Local>>>,
    /// The network.
    pub network: watch::Receiver<State>,
    /// What hinders names and metadata.
    pub services: watch::Receiver<Vec<String>>,
    /// Why what is known is not on disk.
    pub unkept: watch::Receiver<Option<String>>,
}

impl Sources {
    /// Writes the file whenever something changes, for ever.
    pub async fn run(mut self, path: &Path) {
        loop {
            if let Err(error) = write(path, &self.now()) {
                eprintln!("agent: {}: {error}", path.display());
            }
            tokio::select! {
                Ok(()) = self.link.changed() => {}
                Ok(()) = self.local.changed() => {}
                Ok(()) = self.network.changed() => {}
                Ok(()) = self.services.changed() => {}
                Ok(()) = self.unkept.changed() => {}
                else => return,
            }
            // What changes often is written once.
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    fn now(&mut self) -> Status {
        let link = self.link.borrow_and_update().clone();
        let network = self.network.borrow_and_update().clone();
        let view = self.view.borrow().clone();
        let docker = self.local.borrow_and_update().is_some();
        let mut problems = network.problems;
        problems.extend(self.services.borrow_and_update().iter().cloned());
        problems.extend(self.unkept.borrow_and_update().clone());
        if !docker {
            problems.push("Docker does not answer; is it running?".into());
        }
        let mut status = Status {
            host: Some(self.own.host.clone()),
            name: self.own.name.clone(),
            instance: self.instance.clone(),
            project: self.own.project_name.clone(),
            revision: view.revision,
            known: (view.hosts.len(), view.containers.len()),
            docker,
            network: network.network.map(|network| network.name),
            problems,
            ..Status::default()
        };
        match link {
            Link::Up(server) => status.server = Some(server),
            Link::Down(why) => status.link_problem = why,
            Link::Removed => status.is_removed = true,
        }
        status
    }
}

/// Readable by everybody; whole or as before.
fn write(path: &Path, status: &Status) -> io::Result<()> {
    files::write(path, &serde_json::to_vec_pretty(status)?, files::PUBLIC)
}
