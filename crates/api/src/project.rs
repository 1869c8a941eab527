//! Projects: what belongs together and is kept apart from all else (RancherOS's ancestors said *environment*).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::access::Role;
use crate::id::Id;
use crate::resource::kind;

/// What is wished of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProjectSpec {
    /// Free text.
    pub description: String,
    /// Who may do what in it, by user.
    pub members: BTreeMap<Id, Role>,
    /// Seconds without a word from a host until it counts as `reconnecting`.
    pub reconnecting_after: u32,
    /// Seconds without a word from a host until it counts as `disconnected`.
    pub disconnected_after: u32,
}

impl Default for ProjectSpec {
    fn default() -> Self {
        Self {
            description: String::new(),
            members: BTreeMap::new(),
            reconnecting_after: 12,
            disconnected_after: 180,
        }
    }
}

/// What is seen of a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ProjectStatus {}

kind!(
    Project,
    ProjectKind,
    ProjectSpec,
    ProjectStatus,
    "project",
    "projects",
    "p",
    false
);
