//! What is left of projects and users that are no more: more than the transaction that removes them can hold, or made in the same moment.

use std::sync::Arc;
use std::time::Duration;

use api::access::{ApiKeyKind, TokenKind, UserKind};
use api::network::NetworkKind;
use api::project::ProjectKind;
use api::resource::Kind;

use crate::mirror::Mirror;
use crate::objects;
use crate::server::Server;
use crate::store::Write;

/// How often it looks.
const PERIOD: Duration = Duration::from_secs(10);

/// Runs while this server leads.
pub async fn run(server: Arc<Server>) {
    loop {
        // What fails is tried again at the next look.
        let removals = left(&server.mirror);
        server.objects.store().write_all(removals).await.ok();
        tokio::time::sleep(PERIOD).await;
    }
}

/// What removes all of it.
fn left(mirror: &Mirror) -> Vec<Write> {
    let mut writes = of_projects::<TokenKind>(mirror);
    writes.extend(of_projects::<NetworkKind>(mirror));
    writes.extend(keys(mirror));
    writes
}

/// Objects are read before it is looked whether their project is there, so that one that was made in between does not look left behind.
fn of_projects<K: Kind>(mirror: &Mirror) -> Vec<Write> {
    let objects = objects::all::<K>(mirror, None);
    let is_left = |project| {
        mirror
            .get(&objects::key::<ProjectKind>(None, project))
            .is_none()
    };
    objects
        .iter()
        .filter(|object| object.meta.project.as_ref().is_some_and(is_left))
        .flat_map(objects::removal::<K>)
        .collect()
}

fn keys(mirror: &Mirror) -> Vec<Write> {
    let keys = objects::all::<ApiKeyKind>(mirror, None);
    let is_left = |user| mirror.get(&objects::key::<UserKind>(None, user)).is_none();
    keys.iter()
        .filter(|key| key.spec.user.as_ref().is_some_and(is_left))
        .flat_map(objects::removal::<ApiKeyKind>)
        .collect()
}
