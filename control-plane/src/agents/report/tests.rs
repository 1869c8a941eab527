//! What a host says of its address, and what becomes of it.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use api::event::EventKind;
use api::project::ProjectKind;

use super::*;
use crate::objects::Draft;
use crate::store::memory::Memory;

struct Field {
    server: Arc<Server>,
    project: Id,
    host: Id,
}

impl Field {
    /// With a host that the others are told to reach at 10.0.0.5.
    async fn new(spec: Option<IpAddr>) -> Self {
        let server = Server::bare(Arc::new(Memory::begin()), "s").await;
        let project = objects::all::<ProjectKind>(&server.mirror, None)[0]
            .meta
            .id
            .clone();
        let mut draft: Draft<HostKind> = Draft::named(Some(project.clone()), "a");
        draft.spec.address = spec;
        draft.status.address = Some(address("10.0.0.5"));
        let host = Id::from_bits("h", 1);
        let made = server
            .objects
            .create::<HostKind>(host.clone(), draft, Transaction::default());
        server.mirror.reach(made.await.unwrap().meta.revision).await;
        Self {
            server,
            project,
            host,
        }
    }

    /// The host says that it is at `said` now, in a report that comes from `from`. Gives what the others are told then.
    async fn says(&self, said: &str, from: &str) -> Option<IpAddr> {
        let report = Report {
            address: Some(address(said)),
            ..Report::default()
        };
        let place = (&self.project, &self.host);
        let revision = take(&self.server, place, address(from), report).await;
        self.server.mirror.reach(revision.unwrap()).await;
        let host = objects::find::<HostKind>(&self.server.mirror, Some(&self.project), &self.host);
        host.unwrap().status.address
    }

    fn moves(&self) -> Vec<String> {
        let events = objects::all::<EventKind>(&self.server.mirror, Some(&self.project));
        let moves = events
            .into_iter()
            .filter(|event| event.spec.what == "host.moved");
        moves.map(|event| event.spec.message).collect()
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_host_with_a_new_address_is_told_of_once() {
    let field = Field::new(None).await;
    for _ in 0..2 {
        let told = field.says("10.0.0.9", "10.0.0.9").await;
        assert_eq!(told, Some(address("10.0.0.9")));
        assert_eq!(
            field.moves(),
            ["from 10.0.0.5 to 10.0.0.9: the other hosts reach it there now"]
        );
    }
}

#[tokio::test]
async fn an_address_behind_a_nat_is_not_told() {
    let field = Field::new(None).await;
    let told = field.says("192.168.1.7", "203.0.113.1").await;
    assert_eq!(told, Some(address("10.0.0.5")));
    assert!(field.moves().is_empty());
}

#[tokio::test]
async fn what_people_have_said_stays() {
    let field = Field::new(Some(address("203.0.113.1"))).await;
    let told = field.says("10.0.0.9", "10.0.0.9").await;
    assert_eq!(told, Some(address("10.0.0.5")));
    assert!(field.moves().is_empty());
}
