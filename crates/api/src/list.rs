//! Lists and watches.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::Id;

/// A page of objects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct List<R> {
    /// The objects, in the order of their ids.
    pub items: Vec<R>,
    /// Give it as `continue` for the next page; none: this was the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Revision of the store that the page shows. A watch from here misses nothing.
    pub revision: u64,
}

/// One line of a watch: what was changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Change<R> {
    /// It was made or changed.
    Put {
        /// As it is now.
        object: R,
    },
    /// It is gone.
    Delete {
        /// Which one.
        id: Id,
        /// Revision of the removal.
        revision: u64,
    },
    /// Everything up to here was told: comes after the changes of each revision, which may be several, and when nothing happens. A watch is
    /// resumed from the last of these.
    Alive {
        /// Revision up to which everything was told.
        revision: u64,
    },
}
