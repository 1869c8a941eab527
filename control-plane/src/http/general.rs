//! What concerns no kind of object: whether a server is there, its CA, and who asks.

use std::sync::Arc;

use api::access::{CaAnswer, Pong, Whoami};
use axum::Json;
use axum::extract::State;

use super::Asker;
use super::refuse::Refusal;
use crate::access::Who;
use crate::objects::now;
use crate::server::Server;

/// `GET /v1/ping`
pub async fn ping() -> Json<Pong> {
    Json(Pong {
        name: "ros".into(),
        time: now(),
    })
}

/// `GET /v1/whoami`
pub async fn whoami(asker: Asker) -> Result<Json<Whoami>, Refusal> {
    match asker.who {
        Who::User { id, name, admin } => Ok(Json(Whoami::User { id, name, admin })),
        Who::Host { id, name, project } => Ok(Json(Whoami::Host { id, name, project })),
    }
}

/// `GET /v1/ca`: for whoever knows its hash; nothing secret.
pub async fn ca(State(server): State<Arc<Server>>) -> Json<CaAnswer> {
    Json(CaAnswer {
        certificate: server.authority.certificate().to_owned(),
    })
}
