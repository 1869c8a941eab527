//! What comes with a request, read with limits: what is wrong with it is a refusal like any other.

use std::time::Duration;

use api::problem::{Problem, Reason};
use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::refuse::Refusal;

/// Largest body of a request …
pub const LARGEST: usize = 256 << 10;
/// … of a host that joins, whom nobody knows yet …
pub const LARGEST_JOIN: usize = 64 << 10;
/// … and of a host's whole report.
pub const LARGEST_REPORT: usize = 8 << 20;
/// Longest time that a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// A body of JSON.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let reading = Json::<T>::from_request(request, state);
        match tokio::time::timeout(PATIENCE, reading).await {
            Ok(read) => Ok(Self(read?.0)),
            Err(_) => {
                let title = format!("the body has not arrived within {} s", PATIENCE.as_secs());
                Err(Problem::new(Reason::BadRequest, title).into())
            }
        }
    }
}

/// The variable parts of the path.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Refusal))]
pub struct Path<T>(pub T);

/// What stands after `?`.
#[derive(Debug, FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Refusal))]
pub struct Query<T>(pub T);

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        let reason = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Reason::TooLarge,
            StatusCode::UNPROCESSABLE_ENTITY => Reason::Invalid,
            _ => Reason::BadRequest,
        };
        Problem::new(reason, rejection.body_text()).into()
    }
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Problem::new(Reason::BadRequest, rejection.body_text()).into()
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Problem::new(Reason::BadRequest, rejection.body_text()).into()
    }
}
