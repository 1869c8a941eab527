//! Get, list, make, change and remove, for every kind alike.

use std::collections::HashMap;
use std::sync::Arc;

use api::agent::LeaveRequest;
use api::event::EventSpec;
use api::host::HostKind;
use api::list::List;
use api::problem::Problem;
use api::project::ProjectKind;
use api::resource::{Edit, New};
use api::{Id, Project};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::input::{Body, Path, Query};
use super::refuse::Refusal;
use super::{Asker, watch};
use crate::access::{self, Verb, Who};
use crate::events;
use crate::objects::{self, Draft, Of};
use crate::rules::{Context, Rules};
use crate::server::Server;

/// Objects of a page, unless asked otherwise.
const PAGE: usize = 500;

/// What may stand after `?` of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListQuery {
    /// Objects of a page.
    limit: Option<usize>,
    /// `next` of the page before.
    #[serde(rename = "continue")]
    from: Option<String>,
    /// Only the one with this name.
    name: Option<String>,
    /// Only those with these labels: `a=b,c` (any value).
    label: Option<String>,
    /// Changes from now on instead of a list.
    watch: bool,
    /// With `watch`: from this revision on.
    revision: Option<u64>,
}

type Parameters = Path<HashMap<String, String>>;

/// The project and id of a path. A project may be given by its name, an object by its id or name.
struct Place<'a> {
    project: Option<Project>,
    object: Option<&'a str>,
}

impl<'a> Place<'a> {
    fn of(
        server: &Server,
        asker: &Asker,
        parameters: &'a HashMap<String, String>,
    ) -> Result<Self, Problem> {
        access::check_person(&asker.who)?;
        let project = match parameters.get("project") {
            None => None,
            Some(text) => Some(project(server, text)?),
        };
        Ok(Self {
            project,
            object: parameters.get("id").map(String::as_str),
        })
    }

    fn id(&self) -> Option<&Id> {
        self.project.as_ref().map(|project| &project.meta.id)
    }

    /// The object, when `asker` may do with it what `verb` says. Who may not look into a project is not told what is in it.
    fn find<K: Rules>(&self, server: &Server, asker: &Asker, verb: Verb) -> Result<Of<K>, Problem> {
        if K::IN_PROJECT {
            access::check::<K>(&asker.who, verb, self.project.as_ref())?;
        }
        let text = self.object.unwrap_or_default();
        let object = objects::by_id_or_name::<K>(&server.mirror, self.id(), text)
            .filter(|object| K::is_visible(&asker.who, object))
            .ok_or_else(|| objects::missing::<K>(text))?;
        let project = self.project.as_ref().or(K::as_project(&object));
        access::check::<K>(&asker.who, verb, project)?;
        Ok(object)
    }
}

fn project(server: &Server, text: &str) -> Result<Project, Problem> {
    objects::by_id_or_name::<ProjectKind>(&server.mirror, None, text).ok_or_else(access::no_project)
}

/// Whether somebody may see a list, and may go on watching it.
pub fn may_list<K: Rules>(who: &Who, project: Option<&Project>) -> Result<(), Problem> {
    if K::PLURAL == <ProjectKind as api::Kind>::PLURAL {
        // Each sees its own.
        return access::check_person(who);
    }
    access::check::<K>(who, Verb::Read, project)
}

/// `GET …/<kinds>`
pub async fn list<K: Rules>(
    State(server): State<Arc<Server>>,
    asker: Asker,
    Path(parameters): Parameters,
    Query(query): Query<ListQuery>,
) -> Result<Response, Refusal> {
    let place = Place::of(&server, &asker, &parameters)?;
    may_list::<K>(&asker.who, place.project.as_ref())?;
    if query.watch {
        let project = place.id().cloned();
        return Ok(watch::stream::<K>(server, asker, project, query.revision).await?);
    }
    let limit = query.limit.unwrap_or(PAGE).clamp(1, 1000);
    let revision = server.mirror.revision();
    let folder = objects::folder::<K>(place.id());
    let mut items = Vec::new();
    let mut last = query.from.as_deref().map(|id| format!("{folder}{id}"));
    let mut is_end = false;
    while items.len() < limit && !is_end {
        let entries = server.mirror.list(&folder, last.as_deref(), limit);
        is_end = entries.len() < limit;
        for entry in &entries {
            if items.len() == limit {
                is_end = false;
                break;
            }
            last = Some(entry.key.clone());
            let mut object = objects::decode::<K>(entry)?;
            if K::is_visible(&asker.who, &object) && query.takes(&object) {
                K::show(&server.mirror, &mut object, None);
                items.push(object);
            }
        }
    }
    let next = last
        .filter(|_| !is_end)
        .and_then(|key| key.strip_prefix(&folder).map(str::to_owned));
    Ok(Json(List {
        items,
        next,
        revision,
    })
    .into_response())
}

impl ListQuery {
    fn takes<S, T>(&self, object: &api::Resource<S, T>) -> bool {
        let has_label = |wanted: &str| match wanted.split_once('=') {
            Some((key, value)) => object.meta.labels.get(key).is_some_and(|v| v == value),
            None => object.meta.labels.contains_key(wanted),
        };
        self.name
            .as_ref()
            .is_none_or(|name| *name == object.meta.name)
            && self
                .label
                .as_ref()
                .is_none_or(|all| all.split(',').all(has_label))
    }
}

/// `GET …/<kinds>/<id or name>`
pub async fn get<K: Rules>(
    State(server): State<Arc<Server>>,
    asker: Asker,
    Path(parameters): Parameters,
) -> Result<Json<Of<K>>, Refusal> {
    let place = Place::of(&server, &asker, &parameters)?;
    let mut object = place.find::<K>(&server, &asker, Verb::Read)?;
    K::show(&server.mirror, &mut object, None);
    Ok(Json(object))
}

/// `POST …/<kinds>`
pub async fn create<K: Rules>(
    State(server): State<Arc<Server>>,
    asker: Asker,
    Path(parameters): Parameters,
    Body(new): Body<New<K::Spec>>,
) -> Result<(StatusCode, Json<Of<K>>), Refusal> {
    let place = Place::of(&server, &asker, &parameters)?;
    access::check::<K>(&asker.who, Verb::Create, place.project.as_ref())?;
    let id = Id::from_bits(K::PREFIX, rand::random());
    let mut draft = Draft::<K> {
        project: place.id().cloned(),
        name: new.name,
        labels: new.labels,
        spec: new.spec,
        status: K::Status::default(),
    };
    let mut beside = K::make(&context(&server, &asker), &id, &mut draft)?;
    if let Some(project) = &place.project {
        // It may be removed in this moment.
        let expected = objects::unchanged::<ProjectKind>(project);
        beside.transaction.expect.push(expected);
    }
    let event = event::<K>("create", &asker, &id, &draft.name);
    beside
        .transaction
        .writes
        .push(events::write(place.id(), event));
    let mut object = server
        .objects
        .create::<K>(id, draft, beside.transaction)
        .await?;
    server.mirror.reach(object.meta.revision).await;
    K::show(&server.mirror, &mut object, beside.secret);
    Ok((StatusCode::CREATED, Json(object)))
}

/// `PUT …/<kinds>/<id or name>`
pub async fn update<K: Rules>(
    State(server): State<Arc<Server>>,
    asker: Asker,
    Path(parameters): Parameters,
    Body(edit): Body<Edit<K::Spec>>,
) -> Result<Json<Of<K>>, Refusal> {
    let place = Place::of(&server, &asker, &parameters)?;
    let old = place.find::<K>(&server, &asker, Verb::Update)?;
    let mut new = old.clone();
    new.meta.revision = edit.revision;
    objects::check_labels(&edit.labels)?;
    new.meta.labels = edit.labels;
    new.meta.generation += 1;
    new.spec = edit.spec;
    let mut beside = K::edit(&context(&server, &asker), &old, &new)?;
    let event = event::<K>("update", &asker, &old.meta.id, &old.meta.name);
    beside.writes.push(events::write(place.id(), event));
    let mut object = server.objects.update::<K>(new, beside).await?;
    server.mirror.reach(object.meta.revision).await;
    K::show(&server.mirror, &mut object, None);
    Ok(Json(object))
}

/// `DELETE …/<kinds>/<id or name>`
pub async fn delete<K: Rules>(
    State(server): State<Arc<Server>>,
    asker: Asker,
    Path(parameters): Parameters,
) -> Result<StatusCode, Refusal> {
    let place = Place::of(&server, &asker, &parameters)?;
    let object = place.find::<K>(&server, &asker, Verb::Delete)?;
    remove::<K>(&server, &asker, &object, "delete").await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/agent/leave`: a host takes itself out of the cluster.
pub async fn leave(
    State(server): State<Arc<Server>>,
    asker: Asker,
    Body(request): Body<LeaveRequest>,
) -> Result<Json<serde_json::Value>, Refusal> {
    let (project, id) = crate::agents::http::itself(&asker.who)?;
    crate::agents::only(&server, project, id, &request.instance)?;
    let host = objects::find::<HostKind>(&server.mirror, Some(project), id)
        .ok_or_else(|| objects::missing::<HostKind>(id.as_str()))?;
    remove::<HostKind>(&server, &asker, &host, "leave").await?;
    Ok(Json(serde_json::json!({})))
}

/// Removes an object, with an event that says how.
async fn remove<K: Rules>(
    server: &Server,
    asker: &Asker,
    object: &Of<K>,
    verb: &str,
) -> Result<(), Problem> {
    let mut beside = K::remove(&context(server, asker), object)?;
    let event = event::<K>(verb, asker, &object.meta.id, &object.meta.name);
    beside
        .writes
        .push(events::write(object.meta.project.as_ref(), event));
    let revision = server.objects.delete::<K>(object, beside).await?;
    server.mirror.reach(revision).await;
    Ok(())
}

fn context<'a>(server: &'a Server, asker: &'a Asker) -> Context<'a> {
    Context {
        mirror: &server.mirror,
        who: &asker.who,
        ca: server.authority.hash(),
    }
}

fn event<K: Rules>(verb: &str, asker: &Asker, id: &Id, name: &str) -> EventSpec {
    let (by, by_name) = match &asker.who {
        Who::User { id, name, .. } | Who::Host { id, name, .. } => (Some(id.clone()), name.clone()),
    };
    EventSpec {
        what: format!("{}.{verb}", K::NAME),
        object: Some(id.clone()),
        object_name: name.to_owned(),
        by,
        by_name,
        from: asker.peer.address.ip().to_string(),
        message: String::new(),
    }
}
