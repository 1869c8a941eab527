//! The agents' paths.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api::Id;
use api::agent::{Frame, JoinAnswer, JoinRequest, RenewAnswer, RenewRequest, Report, Reported};
use api::event::EventSpec;
use api::host::HostKind;
use api::problem::{Problem, Reason};
use axum::Extension;
use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_ENCODING;
use axum::http::request::Parts;
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::check::INSTANCE;
use super::feed::{self, Position};
use super::hub::Attached;
use super::pack::{self, pack_frame};
use super::sessions::in_use;
use super::{join as joining, report as reporting};
use crate::access::Who;
use crate::http::Asker;
use crate::http::input::{Body, Query};
use crate::http::lines;
use crate::http::refuse::Refusal;
use crate::http::tls::Peer;
use crate::pki::HostIdentity;
use crate::server::Server;
use crate::{events, objects, presence};

/// How often an agent hears that the server lives.
const ALIVE: Duration = Duration::from_secs(5);
/// Frames that wait for a slow connection.
const WAITING: usize = 2;

/// `POST /v1/join`
pub async fn join(
    State(server): State<Arc<Server>>,
    Extension(peer): Extension<Peer>,
    Body(request): Body<JoinRequest>,
) -> Result<Json<JoinAnswer>, Refusal> {
    let answer = joining::join(&server, &request, peer.address.ip().to_canonical()).await?;
    Ok(Json(answer))
}

/// `POST /v1/agent/renew`
pub async fn renew(
    State(server): State<Arc<Server>>,
    Itself { project, host }: Itself,
    Body(request): Body<RenewRequest>,
) -> Result<Json<RenewAnswer>, Refusal> {
    Ok(Json(joining::renew(&server, &project, &host, &request)?))
}

/// `POST /v1/agent/report`
pub async fn report(
    State(server): State<Arc<Server>>,
    Itself { project, host }: Itself,
    Extension(peer): Extension<Peer>,
    Body(report): Body<Report>,
) -> Result<Json<Reported>, Refusal> {
    let from = peer.address.ip().to_canonical();
    let revision = reporting::take(&server, (&project, &host), from, report).await?;
    Ok(Json(Reported { revision }))
}

/// The host that speaks: its project and its id.
///
/// # Errors
/// When it is not a host.
pub fn itself(who: &Who) -> Result<(&Id, &Id), Problem> {
    match who {
        Who::Host { id, project, .. } => Ok((project, id)),
        _ => Err(Problem::new(
            Reason::Unauthenticated,
            "only a host with its certificate may speak here",
        )),
    }
}

/// The host that speaks. Taken before the body is read.
pub struct Itself {
    /// Its project.
    project: Id,
    /// Its id.
    host: Id,
}

impl FromRequestParts<Arc<Server>> for Itself {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Refusal> {
        let asker = Asker::from_request_parts(parts, server).await?;
        let (project, host) = itself(&asker.who)?;
        Ok(Self {
            project: project.clone(),
            host: host.clone(),
        })
    }
}

/// What stands after `?` of the stream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamQuery {
    /// Random, by each start of the agent.
    instance: String,
    /// Name of the store's history that the agent knows a state of.
    #[serde(default)]
    store: String,
    /// That state.
    #[serde(default)]
    revision: u64,
}

/// `GET /v1/agent/stream`
pub async fn stream(
    State(server): State<Arc<Server>>,
    Itself { project, host }: Itself,
    Extension(peer): Extension<Peer>,
    Query(query): Query<StreamQuery>,
) -> Result<Response, Refusal> {
    if query.instance.len() > INSTANCE {
        let title = format!("an instance has at most {INSTANCE} characters");
        return Err(Problem::new(Reason::BadRequest, title)
            .at("instance")
            .into());
    }
    let told = Position {
        store: query.store,
        revision: query.revision,
    };
    let renamed = server.hub.rename(&told);
    let is_renamed = renamed.is_some();
    let known = renamed.unwrap_or(told);
    if server.hub.is_of(&known.store) {
        // Another server may have told this host more than is known here yet.
        server.mirror.reach(known.revision).await;
        server.hub.reach(known.revision).await;
    }
    let attached = match presence::elsewhere(&server, &project, &host) {
        Some(other) if other != query.instance => Err(in_use()),
        _ => server.hub.attach(&project, &host, &query.instance),
    };
    if matches!(&attached, Err(problem) if problem.reason == Reason::Exists) {
        tell_conflict(&server, &project, &host, peer.address.ip()).await;
    }
    let attached = attached?;
    // It may have been removed while this waited: a session that begins after that would never end.
    let shown = HostIdentity { host, project };
    if let Err(problem) = super::host(&server, &shown).await {
        server.hub.detach(&shown.host, attached.session);
        return Err(problem.into());
    }
    let HostIdentity { host, project } = shown;
    let (agent, receiver) = mpsc::channel::<Bytes>(WAITING);
    let session = Session {
        server,
        project,
        host,
        agent,
        is_renamed,
    };
    tokio::spawn(session.run(attached, known));
    let mut response = lines::response(receiver);
    let coding = HeaderValue::from_static(pack::CODING);
    response.headers_mut().insert(CONTENT_ENCODING, coding);
    Ok(response)
}

/// An event for the people of the project: the agent that is refused has nobody to tell but its log.
async fn tell_conflict(server: &Server, project: &Id, host: &Id, from: IpAddr) {
    if !server.hub.is_to_be_told(host) {
        return;
    }
    let known = objects::find::<HostKind>(&server.mirror, Some(project), host);
    let from = from.to_canonical().to_string();
    let event = EventSpec {
        what: "host.identity-conflict".into(),
        object: Some(host.clone()),
        object_name: known.map(|known| known.meta.name).unwrap_or_default(),
        message: format!(
            "a second machine, at {from}, uses the identity of this host and is refused; was the disk cloned?"
        ),
        from,
        ..EventSpec::default()
    };
    // What is not told now is told when it comes again.
    server
        .objects
        .store()
        .write_all(vec![events::write(Some(project), event)])
        .await
        .ok();
}

struct Session {
    server: Arc<Server>,
    project: Id,
    host: Id,
    agent: mpsc::Sender<Bytes>,
    /// It knows the store's history by an earlier name.
    is_renamed: bool,
}

impl Session {
    /// Tells the agent what it must know until the connection ends or another takes its place.
    async fn run(self, attached: Attached, known: Position) {
        let (number, stop) = (attached.session, attached.stop.clone());
        tokio::select! {
            () = self.agent.closed() => {}
            () = stop.cancelled() => self.say_farewell().await,
            _ = self.tell(attached, known) => {}
        }
        self.server.hub.detach(&self.host, number);
    }

    /// An agent that is slow is told later what has come meanwhile, and all at once. `None`: it is gone.
    async fn tell(&self, attached: Attached, mut known: Position) -> Option<()> {
        let Attached {
            mut news,
            mut servers,
            ..
        } = attached;
        self.send(Bytes::from_static(pack::HEAD)).await?;
        servers.mark_changed();
        // Also when nothing is new: the agent waits for a word.
        let (mut is_silent, mut is_renamed) = (true, self.is_renamed);
        loop {
            if servers.has_changed().ok()? {
                let frame = servers.borrow_and_update().clone();
                self.send(frame).await?;
            }
            news.mark_unchanged();
            let mut frames = self.server.hub.next(&self.project, &mut known).await?;
            if std::mem::take(&mut is_renamed) {
                frames.push(feed::renamed(&known));
            } else if frames.is_empty() && is_silent {
                frames.push(feed::alive(&known));
            }
            for frame in frames {
                self.send(frame).await?;
            }
            is_silent = false;
            tokio::select! {
                woken = news.changed() => woken.ok()?,
                woken = servers.changed() => {
                    woken.ok()?;
                    servers.mark_changed();
                }
                () = tokio::time::sleep(ALIVE) => is_silent = true,
            }
        }
    }

    async fn send(&self, frame: Bytes) -> Option<()> {
        self.agent.send(frame).await.ok()
    }

    async fn say_farewell(&self) {
        let known = objects::find::<HostKind>(&self.server.mirror, Some(&self.project), &self.host);
        if known.is_none() {
            self.send(pack_frame(&Frame::Removed)).await;
        }
    }
}
