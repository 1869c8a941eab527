//! The containers of this host: read from Docker by its events and by listings, and put into the project's network where their labels say so.
//! Owns the endpoints that it makes; starts, stops and removes nothing.

mod attach;
mod observe;

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::agent::Seen;
use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, ContainerSummary, EventMessage, EventMessageTypeEnum,
};
use bollard::query_parameters::{EventsOptions, InspectContainerOptions, ListContainersOptions};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::overlay::{DockerNetwork, State};
use attach::{Place, Wanted};
use observe::Observed;

/// How often everything is listed, whatever the events say.
const PERIOD: Duration = Duration::from_secs(15);
/// Pause before Docker is asked again after it has failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for the network before containers are told without it.
const NETWORK: Duration = Duration::from_secs(10);
/// Events that were sent while the listing was made are sent again by Docker, from this long before it.
const OVERLAP: Duration = Duration::from_secs(1);

/// Docker tells of a container within this time, or something holds that one up.
const LOOK: Duration = Duration::from_secs(10);
/// What Docker could not tell of is asked for again this much later.
const AGAIN: Duration = Duration::from_secs(60);

/// The containers of this host, by Docker's id.
pub type Local = BTreeMap<String, Seen>;

/// Follows Docker and says what it sees, until `stop`. `None` is said as long as Docker was never listed.
pub async fn run(
    docker: Docker,
    network: watch::Receiver<State>,
    local: watch::Sender<Option<Arc<Local>>>,
    stop: CancellationToken,
) {
    let mut watcher = Watcher {
        docker,
        patience: LOOK,
        network,
        local,
        known: BTreeMap::new(),
        problems: BTreeMap::new(),
        unread: BTreeMap::new(),
    };
    let follow = async {
        loop {
            if let Err(error) = watcher.follow().await {
                eprintln!("agent: Docker: {error}");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    stop.run_until_cancelled(follow).await;
}

struct Watcher {
    docker: Docker,
    /// [`LOOK`], or less.
    patience: Duration,
    network: watch::Receiver<State>,
    local: watch::Sender<Option<Arc<Local>>>,
    known: BTreeMap<String, Observed>,
    problems: BTreeMap<String, Problem>,
    /// Those that Docker could not tell of when it was asked last.
    unread: BTreeMap<String, Unread>,
}

/// Why a container has not what its labels ask for.
struct Problem {
    why: String,
    /// It was tried, and is not tried again at each look.
    is_refused: bool,
}

/// A container that Docker has listed, and cannot tell of.
struct Unread {
    why: String,
    at: Instant,
}

/// How closely a listing looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// At what has changed.
    Changes,
    /// At each container.
    Everything,
}

impl Watcher {
    /// Lists, then follows the events until Docker breaks the stream.
    async fn follow(&mut self) -> Result<(), Error> {
        // Told before the network is known, containers would have no address in it: after each restart their names would be gone for a moment.
        let is_known = |state: &State| state.network.is_some();
        let waiting = self.network.wait_for(is_known);
        tokio::time::timeout(NETWORK, waiting).await.ok();
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .saturating_sub(OVERLAP);
        self.list(Look::Everything).await?;
        let options = EventsOptions {
            since: Some(since.as_secs().to_string()),
            filters: Some(HashMap::from([(
                "type".to_owned(),
                vec!["container".to_owned(), "network".to_owned()],
            )])),
            ..EventsOptions::default()
        };
        let docker = self.docker.clone();
        let mut events = std::pin::pin!(docker.events(Some(options)));
        let mut tick = tokio::time::interval(PERIOD);
        tick.reset();
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.take(event?).await?,
                    None => return Ok(()),
                },
                changed = self.network.changed() => match changed {
                    Ok(()) => self.list(Look::Everything).await?,
                    Err(_) => return Ok(()),
                },
                _ = tick.tick() => self.list(Look::Changes).await?,
            }
        }
    }

    fn docker_network(&self) -> Option<DockerNetwork> {
        self.network.borrow().network.clone()
    }

    async fn list(&mut self, look: Look) -> Result<(), Error> {
        let network = self.docker_network();
        let options = ListContainersOptions {
            all: true,
            ..ListContainersOptions::default()
        };
        let listed = self.docker.list_containers(Some(options)).await?;
        let ids: Vec<&String> = listed.iter().filter_map(|one| one.id.as_ref()).collect();
        self.known.retain(|id, _| ids.contains(&id));
        self.problems.retain(|id, _| ids.contains(&id));
        self.unread.retain(|id, _| ids.contains(&id));
        for summary in &listed {
            let Some(id) = &summary.id else { continue };
            let known = self.known.get(id);
            let is_due = |unread: &Unread| unread.at.elapsed() >= AGAIN;
            if look == Look::Everything
                || observe::is_news(summary, known, network.as_ref())
                || self.unread.get(id).is_some_and(is_due)
            {
                self.inspect(id).await?;
            }
            if self.unread.contains_key(id) {
                self.go_by_listing(id, summary);
            }
        }
        self.publish();
        Ok(())
    }

    async fn take(&mut self, event: EventMessage) -> Result<(), Error> {
        let actor = event.actor.unwrap_or_default();
        let attributes = actor.attributes.unwrap_or_default();
        let id = match event.typ {
            Some(EventMessageTypeEnum::NETWORK) => attributes.get("container").cloned(),
            _ => actor.id,
        };
        let (Some(id), Some(action)) = (id, event.action) else {
            return Ok(());
        };
        // What is run within it, and how its health is checked, changes nothing here.
        if action.starts_with("exec_") || action.starts_with("health_status") {
            return Ok(());
        }
        if action == "destroy" {
            self.known.remove(&id);
            self.problems.remove(&id);
            self.unread.remove(&id);
        } else {
            self.inspect(&id).await?;
        }
        self.publish();
        Ok(())
    }

    /// Looks at a container closely. What concerns that one alone, such as a damaged layer, is told as its problem and does not keep the others back.
    async fn inspect(&mut self, id: &str) -> Result<(), Error> {
        match self.wire(id).await {
            Ok(()) => drop(self.unread.remove(id)),
            Err(error) if is_of_one(&error) => {
                let why = format!("Docker cannot tell of this container: {error}");
                if self.unread.get(id).is_none_or(|unread| unread.why != why) {
                    eprintln!("agent: container {id}: {why}");
                }
                let at = Instant::now();
                self.unread.insert(id.to_owned(), Unread { why, at });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What Docker cannot tell of is known by its line in the listing, and by what was known before.
    fn go_by_listing(&mut self, id: &str, summary: &ContainerSummary) {
        let network = self.docker_network();
        match observe::listed(summary, self.known.get(id), network.as_ref()) {
            Some(seen) => drop(self.known.insert(id.to_owned(), seen)),
            None => drop(self.known.remove(id)),
        }
    }

    /// Reads a container, and connects it when its labels say so.
    async fn wire(&mut self, id: &str) -> Result<(), Error> {
        let Some(mut inspected) = self.read(id).await? else {
            self.known.remove(id);
            return Ok(());
        };
        let network = self.docker_network();
        if let Some(network) = &network {
            let wanted = attach::wanted(&inspected, network);
            let place = Place {
                docker: &self.docker,
                network,
                taken: self.taken(id),
            };
            if self.is_due(&inspected, &wanted) {
                let done = attach::apply(&place, &inspected, wanted).await;
                let refused = done.err().map(|why| Problem {
                    why,
                    is_refused: true,
                });
                self.note(id, refused);
                match self.read(id).await? {
                    Some(again) => inspected = again,
                    None => return Ok(()),
                }
            } else if let Wanted::Move(addresses) = &wanted
                && !self.is_refused(id)
            {
                let waits = Problem {
                    why: place.waits(addresses),
                    is_refused: false,
                };
                self.note(id, Some(waits));
            } else if wanted == Wanted::Nothing {
                self.note(id, None);
            }
        }
        match observe::observed(&inspected, network.as_ref()) {
            Some(seen) => drop(self.known.insert(id.to_owned(), seen)),
            None => drop(self.known.remove(id)),
        }
        Ok(())
    }

    fn note(&mut self, id: &str, problem: Option<Problem>) {
        match problem {
            Some(problem) => drop(self.problems.insert(id.to_owned(), problem)),
            None => drop(self.problems.remove(id)),
        }
    }

    fn is_refused(&self, id: &str) -> bool {
        let problem = self.problems.get(id);
        problem.is_some_and(|problem| problem.is_refused)
    }

    /// Whether it is done now. A container that runs is not torn out of its network to get another address: that is done between two
    /// runs. What was refused once is not tried at each look.
    fn is_due(&self, inspected: &ContainerInspectResponse, wanted: &Wanted) -> bool {
        let id = inspected.id.as_deref().unwrap_or_default();
        let is_new = !self.is_refused(id);
        match wanted {
            Wanted::Nothing => false,
            Wanted::Connect(_) => true,
            Wanted::Move(_) => !attach::runs(inspected) && is_new,
            Wanted::Release(_) => true,
            Wanted::Refused(_) => is_new,
        }
    }

    /// Addresses that containers have, other than this one, with their names.
    fn taken(&self, id: &str) -> BTreeMap<Ipv4Addr, String> {
        let others = self.known.iter().filter(|(other, _)| *other != id);
        others
            .filter_map(|(_, one)| Some((one.seen.status.address?, one.seen.name.clone())))
            .collect()
    }

    async fn read(&self, id: &str) -> Result<Option<ContainerInspectResponse>, Error> {
        let asked = self
            .docker
            .inspect_container(id, None::<InspectContainerOptions>);
        let read = tokio::time::timeout(self.patience, asked).await;
        match read.unwrap_or(Err(Error::RequestTimeoutError)) {
            Ok(inspected) => Ok(Some(inspected)),
            Err(Error::DockerResponseServerError {
                status_code: 404, ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Says what is known, with addresses of shared networks, when it differs from what was said.
    fn publish(&self) {
        let seen = self.known.iter().map(|(id, one)| {
            let mut seen = one.seen.clone();
            if let Some(owner) = one.shares.as_ref().and_then(|owner| self.known.get(owner)) {
                seen.status.address = owner.seen.status.address;
                seen.status.mac.clone_from(&owner.seen.status.mac);
            }
            let unread = self.unread.get(id).map(|unread| &unread.why);
            let problem = self.problems.get(id).map(|problem| &problem.why);
            let problems = problem.into_iter().chain(unread);
            seen.status.problems.extend(problems.cloned());
            (id.clone(), seen)
        });
        let fresh: Local = seen.collect();
        self.local.send_if_modified(|local| {
            if local.as_deref() == Some(&fresh) {
                return false;
            }
            *local = Some(Arc::new(fresh));
            true
        });
    }
}

/// Whether an answer is bad for what was asked, and not for everything: the connection to Docker is good.
fn is_of_one(error: &Error) -> bool {
    matches!(
        error,
        Error::DockerResponseServerError { .. }
            | Error::JsonDataError { .. }
            | Error::JsonSerdeError { .. }
            | Error::StrParseError { .. }
            | Error::RequestTimeoutError
    )
}

#[cfg(test)]
mod tests;
