//! Events: one for each change through the API and each thing that a host or the system does.

use api::event::{EventKind, EventSpec};
use api::resource::{Kind, Meta, Resource};
use api::{Event, Id};

use crate::objects::{self, now};
use crate::store::Write;

/// What writes an event, in the same moment as what it tells.
#[must_use]
pub fn write(project: Option<&Id>, spec: EventSpec) -> Write {
    let event: Event = Resource {
        meta: Meta {
            id: Id::from_bits(EventKind::PREFIX, rand::random()),
            project: project.cloned(),
            name: spec.what.clone(),
            labels: Default::default(),
            created: now(),
            revision: 0,
            generation: 1,
        },
        spec,
        status: Default::default(),
    };
    objects::write_plain::<EventKind>(&event)
}
