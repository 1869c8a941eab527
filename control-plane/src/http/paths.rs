//! The paths of the API: what the router serves and what `docs/api/openapi.json` describes come from this one list.

use std::sync::Arc;

use api::access::{ApiKeyKind, TokenKind, UserKind};
use api::container::ContainerKind;
use api::event::EventKind;
use api::host::HostKind;
use api::network::NetworkKind;
use api::project::ProjectKind;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::routing::{self, MethodRouter};

use super::input::{LARGEST_JOIN, LARGEST_REPORT};
use super::{crud, general};
use crate::access::{self, Verb};
use crate::agents;
use crate::rules::Rules;
use crate::server::Server;

/// Paths with their methods.
#[derive(Default)]
pub struct Paths {
    /// What serves them.
    pub router: Router<Arc<Server>>,
    /// Method, in lower case, and path.
    pub known: Vec<(&'static str, String)>,
}

/// Takes bodies up to another size than the usual one.
fn sized<H: Handler<T, Arc<Server>>, T: 'static>(
    handler: H,
    largest: usize,
) -> MethodRouter<Arc<Server>> {
    routing::post(handler).layer(DefaultBodyLimit::max(largest))
}

impl Paths {
    /// All of the API.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
            .get("/v1/ping", general::ping)
            .get("/v1/ca", general::ca)
            .get("/v1/whoami", general::whoami)
            .with("post", "/v1/join", sized(agents::http::join, LARGEST_JOIN))
            .post("/v1/agent/renew", agents::http::renew)
            .with(
                "post",
                "/v1/agent/report",
                sized(agents::http::report, LARGEST_REPORT),
            )
            .post("/v1/agent/leave", crud::leave)
            .get("/v1/agent/stream", agents::http::stream)
            .kind::<UserKind>()
            .kind::<ApiKeyKind>()
            .kind::<ProjectKind>()
            .kind::<HostKind>()
            .kind::<ContainerKind>()
            .kind::<NetworkKind>()
            .kind::<TokenKind>()
            .kind::<EventKind>()
            // Those of all projects, and of none: for administrators.
            .get("/v1/events", crud::list::<EventKind>)
    }

    /// What somebody may do with the objects of a kind.
    fn kind<K: Rules>(self) -> Self {
        let folder = if K::IN_PROJECT {
            format!("/v1/projects/{{project}}/{}", K::PLURAL)
        } else {
            format!("/v1/{}", K::PLURAL)
        };
        let object = format!("{folder}/{{id}}");
        let mut paths = self
            .get(&folder, crud::list::<K>)
            .get(&object, crud::get::<K>);
        if access::is_possible::<K>(Verb::Create) {
            paths = paths.post(&folder, crud::create::<K>);
        }
        if access::is_possible::<K>(Verb::Update) {
            let put = routing::put(crud::update::<K>);
            paths = paths.with("put", &object, put);
        }
        if access::is_possible::<K>(Verb::Delete) {
            let delete = routing::delete(crud::delete::<K>);
            paths = paths.with("delete", &object, delete);
        }
        paths
    }

    fn get<H: Handler<T, Arc<Server>>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.with("get", path, routing::get(handler))
    }

    fn post<H: Handler<T, Arc<Server>>, T: 'static>(self, path: &str, handler: H) -> Self {
        self.with("post", path, routing::post(handler))
    }

    fn with(
        mut self,
        method: &'static str,
        path: &str,
        handler: MethodRouter<Arc<Server>>,
    ) -> Self {
        self.known.push((method, path.to_owned()));
        self.router = self.router.route(path, handler);
        self
    }
}
