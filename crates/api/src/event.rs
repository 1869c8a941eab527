//! What has happened: each change through the API, and what hosts did.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::Id;
use crate::resource::kind;

/// What an event tells. Nobody changes an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct EventSpec {
    /// `<kind>.<verb>`, such as `token.create` or `host.disconnected`.
    pub what: String,
    /// The object.
    pub object: Option<Id>,
    /// Its name.
    pub object_name: String,
    /// Who did it: a user, a host, or nobody (the system).
    pub by: Option<Id>,
    /// Name of that user or host.
    pub by_name: String,
    /// Address the request came from.
    pub from: String,
    /// One sentence for people.
    pub message: String,
}

/// Events have no status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct EventStatus {}

kind!(
    Event,
    EventKind,
    EventSpec,
    EventStatus,
    "event",
    "events",
    "e",
    true
);
