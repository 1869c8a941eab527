//! The HTTPS API: paths, who asks, and how refusals look. What the answers say is decided elsewhere.

mod crud;
pub mod lines;
pub mod refuse;
pub mod tls;
mod watch;

use std::sync::Arc;

use api::access::{ApiKeyKind, CaAnswer, TokenKind, UserKind};
use api::container::ContainerKind;
use api::event::EventKind;
use api::host::HostKind;
use api::network::NetworkKind;
use api::project::ProjectKind;
use axum::extract::{DefaultBodyLimit, FromRequestParts, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::access::{self, Who};
use crate::agents;
use crate::objects;
use crate::rules::Rules;
use crate::secret::Key;
use crate::server::Server;
use refuse::Refusal;
use tls::Peer;

/// Largest body of a request: a host's whole report.
const LARGEST: usize = 8 << 20;

/// All paths.
pub fn router(server: Arc<Server>) -> Router {
    let router = Router::new()
        .route(
            "/v1/ping",
            get(|| async { Json(serde_json::json!({"name": "ros"})) }),
        )
        .route("/v1/ca", get(ca))
        .route("/v1/whoami", get(crud::whoami))
        .route("/v1/join", post(agents::http::join))
        .route("/v1/agent/renew", post(agents::http::renew))
        .route("/v1/agent/report", post(agents::http::report))
        .route("/v1/agent/stream", get(agents::http::stream));
    let router = paths::<UserKind>(router);
    let router = paths::<ApiKeyKind>(router);
    let router = paths::<ProjectKind>(router);
    let router = paths::<HostKind>(router);
    let router = paths::<ContainerKind>(router);
    let router = paths::<NetworkKind>(router);
    let router = paths::<TokenKind>(router);
    let router = paths::<EventKind>(router);
    router
        .fallback(refuse::no_such_path)
        .layer(DefaultBodyLimit::max(LARGEST))
        .with_state(server)
}

/// The CA's certificate, for whoever knows its hash: nothing secret.
async fn ca(State(server): State<Arc<Server>>) -> Json<CaAnswer> {
    Json(CaAnswer {
        certificate: server.authority.certificate().to_owned(),
    })
}

/// The paths of one kind.
fn paths<K: Rules>(router: Router<Arc<Server>>) -> Router<Arc<Server>> {
    let folder = if K::IN_PROJECT {
        format!("/v1/projects/{{project}}/{}", K::PLURAL)
    } else {
        format!("/v1/{}", K::PLURAL)
    };
    let object = format!("{folder}/{{id}}");
    router
        .route(&folder, get(crud::list::<K>).post(crud::create::<K>))
        .route(
            &object,
            get(crud::get::<K>)
                .put(crud::update::<K>)
                .delete(crud::delete::<K>),
        )
}

/// Who asks, and from where.
#[derive(Debug, Clone)]
pub struct Asker {
    /// Who.
    pub who: Who,
    /// The other end.
    pub peer: Peer,
}

impl FromRequestParts<Arc<Server>> for Asker {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Refusal> {
        let peer = parts.extensions.get::<Peer>().cloned();
        let peer = peer.ok_or_else(access::unknown)?;
        let bearer = parts.headers.get(AUTHORIZATION);
        let who = match (bearer, &peer.host) {
            (Some(bearer), _) => {
                let text = bearer
                    .to_str()
                    .ok()
                    .and_then(|text| text.strip_prefix("Bearer "));
                user(server, text.unwrap_or_default()).ok_or_else(access::unknown)?
            }
            (None, Some(id)) => agents::host(server, id)?,
            (None, None) => Who::Nobody,
        };
        Ok(Self { who, peer })
    }
}

/// The user that an API key stands for, if it does.
fn user(server: &Server, bearer: &str) -> Option<Who> {
    let key: Key = bearer.parse().ok()?;
    let known = objects::find::<ApiKeyKind>(&server.mirror, None, &key.id)?;
    let is_valid = key.secret.matches(&known.status.secret_hash)
        && known.spec.expires.is_none_or(|end| end > objects::now());
    let user = objects::find::<UserKind>(&server.mirror, None, known.spec.user.as_ref()?)?;
    (is_valid && !user.spec.disabled).then_some(Who::User {
        id: user.meta.id,
        name: user.meta.name,
        admin: user.spec.admin,
    })
}
