//! `?watch=true`: each change of a list, one line of JSON each, from a revision on. A line is sent each few seconds when nothing happens.
//! Who has lost the right to the list is told so, and no more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::Id;
use api::list::Change;
use api::problem::Problem;
use api::project::ProjectKind;
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::lines::{self, line};
use super::{Asker, crud};
use crate::access::{self, Who};
use crate::mirror::Mirror;
use crate::objects::{self, Of};
use crate::rules::Rules;
use crate::server::Server;
use crate::store::{self, Watch};

/// How often a line says that nothing has happened.
const ALIVE: Duration = Duration::from_secs(10);

/// The answer, which goes on until who asked has enough, or may not look any more.
///
/// # Errors
/// When the revision is forgotten or not there yet, or the store fails.
pub async fn stream<K: Rules>(
    server: Arc<Server>,
    asker: Asker,
    project: Option<Id>,
    from: Option<u64>,
) -> Result<Response, Problem> {
    let (sender, receiver) = mpsc::channel::<Bytes>(64);
    let from = from.unwrap_or_else(|| server.mirror.revision());
    let folder = objects::folder::<K>(project.as_ref());
    let watch = server.objects.store().watch(&folder, from).await;
    let watch = watch.map_err(|error| objects::refusal(&error))?;
    let known = Known::begin::<K>(&server, &asker.who);
    let mut watcher = Watcher {
        server,
        asker,
        project,
        known,
        lines: sender.clone(),
    };
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            () = watcher.follow::<K>(watch, from) => {}
        }
    });
    Ok(lines::response(receiver))
}

struct Watcher {
    server: Arc<Server>,
    asker: Asker,
    project: Option<Id>,
    known: Known,
    lines: mpsc::Sender<Bytes>,
}

impl Watcher {
    async fn follow<K: Rules>(&mut self, mut watch: Watch, from: u64) {
        let mut revision = from;
        loop {
            let next = tokio::time::timeout(ALIVE, watch.recv()).await;
            if let Ok(Some(Ok(batch))) = &next {
                revision = batch.revision;
            }
            // Whether who asks may look is judged by what was true when it happened.
            self.server.mirror.reach(revision).await;
            let who = match self.may_look::<K>() {
                Ok(who) => who,
                Err(problem) => return self.refuse(&problem).await,
            };
            let changes = match next {
                Err(_) => Vec::new(),
                Ok(None) => return,
                Ok(Some(Err(error))) => return self.refuse(&objects::refusal(&error)).await,
                Ok(Some(Ok(batch))) => batch.changes,
            };
            let is_silence = changes.is_empty();
            let (mirror, known) = (&self.server.mirror, &mut self.known);
            let told = changes
                .iter()
                .filter_map(|change| told::<K>(mirror, &who, known, change));
            let mut text: Vec<u8> = told.flat_map(|change| line(&change)).collect();
            if text.is_empty() && !is_silence {
                continue;
            }
            // A revision may have several lines: only after this one all of them are there.
            text.extend(line(&Change::<Of<K>>::Alive { revision }));
            if self.lines.send(text.into()).await.is_err() {
                return;
            }
        }
    }

    /// Keys end, users are disabled, roles are taken away, while a watch goes on.
    fn may_look<K: Rules>(&self) -> Result<Who, Problem> {
        let who = self.asker.again(&self.server)?;
        let project = match &self.project {
            None => None,
            Some(id) => Some(
                objects::find::<ProjectKind>(&self.server.mirror, None, id)
                    .ok_or_else(access::no_project)?,
            ),
        };
        crud::may_list::<K>(&who, project.as_ref())?;
        Ok(who)
    }

    async fn refuse(&self, problem: &Problem) {
        // The status has been sent; the last line tells.
        self.lines.send(line(problem)).await.ok();
    }
}

/// What a watcher may know of, where not everybody who may list sees everything.
#[derive(Debug, Default)]
struct Known {
    /// Up to here it is not known what the watcher knows: it may have listed long ago.
    past: u64,
    /// Shown since, or visible at the beginning. `None`: everything is visible.
    ids: Option<BTreeSet<Id>>,
}

impl Known {
    fn begin<K: Rules>(server: &Server, who: &Who) -> Self {
        if K::IN_PROJECT {
            return Self::default();
        }
        let past = server.mirror.revision();
        let visible = objects::all::<K>(&server.mirror, None)
            .into_iter()
            .filter(|object| K::is_visible(who, object))
            .map(|object| object.meta.id);
        let ids = Some(visible.collect());
        Self { past, ids }
    }

    /// Something is visible.
    fn shown(&mut self, id: &Id) {
        if let Some(ids) = &mut self.ids {
            ids.insert(id.clone());
        }
    }

    /// Something is not there any more for the watcher. True: it must be told.
    fn lost(&mut self, id: &Id, revision: u64) -> bool {
        match &mut self.ids {
            None => true,
            Some(ids) => ids.remove(id) || revision <= self.past,
        }
    }
}

fn told<K: Rules>(
    mirror: &Mirror,
    who: &Who,
    known: &mut Known,
    change: &store::Change,
) -> Option<Change<Of<K>>> {
    let (id, revision) = match change {
        store::Change::Put(entry) => {
            let mut object = objects::decode::<K>(entry).ok()?;
            if K::is_visible(who, &object) {
                known.shown(&object.meta.id);
                K::show(mirror, &mut object, None);
                return Some(Change::Put { object });
            }
            (object.meta.id, entry.revision)
        }
        store::Change::Delete { key, revision } => {
            (key.rsplit('/').next()?.parse().ok()?, *revision)
        }
    };
    known
        .lost(&id, revision)
        .then_some(Change::Delete { id, revision })
}
