//! Refusals as they go over the wire: `application/problem+json` (RFC 9457).

use api::problem::{Problem, Reason};
use axum::Json;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

/// A problem on its way to who asked.
#[derive(Debug)]
pub struct Refusal(pub Problem);

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.0)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

/// A path that leads nowhere.
pub async fn no_such_path(uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(80).collect();
    Problem::new(Reason::NotFound, format!("there is no path {path}"))
        .advise("all paths begin with /v1/")
        .into()
}

/// A path on which this cannot be done.
pub async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    let path: String = uri.path().chars().take(80).collect();
    let title = format!("{method} is not possible on {path}");
    Problem::new(Reason::NotAllowed, title).into()
}
