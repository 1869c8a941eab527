//! Answers that go on: lines of JSON, sent as they come.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;

/// A value and its line end.
#[must_use]
pub fn line(value: &impl Serialize) -> Bytes {
    // Our own types, which serde_json takes.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

/// The answer that sends what comes, until the sender is dropped.
#[must_use]
pub fn response(mut lines: mpsc::Receiver<Bytes>) -> Response {
    let body = futures_util::stream::poll_fn(move |context| {
        lines
            .poll_recv(context)
            .map(|line| line.map(Ok::<_, Infallible>))
    });
    let kind = [(CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(body)).into_response()
}
