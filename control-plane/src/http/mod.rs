//! The HTTPS API: paths, who asks, and how refusals look. What the answers say is decided elsewhere.

mod crud;
mod general;
pub mod input;
pub mod lines;
mod paths;
pub mod refuse;
pub mod serve;
pub mod tls;
mod watch;

use std::sync::Arc;

use api::access::{ApiKeyKind, UserKind};
use api::problem::Problem;
use api::{ApiKey, Id};
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use crate::access::{self, Who};
use crate::agents;
use crate::objects;
use crate::secret::{self, Key};
use crate::server::Server;
pub use paths::Paths;
use refuse::Refusal;
use tls::Peer;

/// All paths.
pub fn router(server: Arc<Server>) -> Router {
    Paths::all()
        .router
        .fallback(refuse::no_such_path)
        .method_not_allowed_fallback(refuse::no_such_method)
        .layer(DefaultBodyLimit::max(input::LARGEST))
        .with_state(server)
}

/// Who asks, and from where. Taken before the body is read: who is not known cannot make the server read.
#[derive(Debug, Clone)]
pub struct Asker {
    /// Who.
    pub who: Who,
    /// The other end.
    pub peer: Peer,
    /// Of a user: the key that was shown.
    key: Option<Id>,
}

impl Asker {
    /// Who asks, as it is by now: for answers that go on while keys end and users are disabled.
    ///
    /// # Errors
    /// When who asks is not known any more.
    pub fn again(&self, server: &Server) -> Result<Who, Problem> {
        let Some(key) = &self.key else {
            return Ok(self.who.clone());
        };
        let known = objects::find::<ApiKeyKind>(&server.mirror, None, key);
        known
            .and_then(|known| holder(server, &known))
            .ok_or_else(access::unknown)
    }
}

impl FromRequestParts<Arc<Server>> for Asker {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, server: &Arc<Server>) -> Result<Self, Refusal> {
        let peer = parts.extensions.get::<Peer>().cloned();
        let peer = peer.ok_or_else(access::unknown)?;
        let bearer = parts.headers.get(AUTHORIZATION);
        let (who, key) = match (bearer, &peer.host) {
            (Some(bearer), _) => {
                let text = bearer
                    .to_str()
                    .ok()
                    .and_then(|text| text.strip_prefix("Bearer "));
                let known = key(server, text.unwrap_or_default());
                let user = known.and_then(|key| Some((holder(server, &key)?, key.meta.id)));
                let (who, key) = user.ok_or_else(access::unknown)?;
                (who, Some(key))
            }
            (None, Some(id)) => (agents::host(server, id).await?, None),
            (None, None) => return Err(access::unknown().into()),
        };
        Ok(Self { who, peer, key })
    }
}

/// The API key that is shown, if it is one.
fn key(server: &Server, bearer: &str) -> Option<ApiKey> {
    let shown: Key = bearer.parse().ok()?;
    let known = objects::find::<ApiKeyKind>(&server.mirror, None, &shown.id)?;
    secret::matches(&shown.secret, &known.status.secret_hash).then_some(known)
}

/// The user that an API key stands for, while it does.
fn holder(server: &Server, key: &ApiKey) -> Option<Who> {
    let is_valid = key.spec.expires.is_none_or(|end| end > objects::now());
    let user = objects::find::<UserKind>(&server.mirror, None, key.spec.user.as_ref()?)?;
    (is_valid && !user.spec.disabled).then_some(Who::User {
        id: user.meta.id,
        name: user.meta.name,
        admin: user.spec.admin,
    })
}
