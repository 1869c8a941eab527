//! Resources in the store: where they lie, and the transactions that keep names unique and updates from overwriting each other.
//!
//! `/objects/<kinds>/<project or ->/<id>` holds the object, `/names/<kinds>/<project or ->/<name>` its id.

use std::sync::Arc;

use api::problem::{Problem, Reason};
use api::resource::{Kind, Meta, Resource};
use api::{Id, name};
use ipnet::Ipv4Net;
use jiff::Timestamp;

use crate::mirror::Mirror;
use crate::store::{Entry, Error, Revision, Store, Transaction, Write};

/// What lies in the place of a project where there is none.
const NO_PROJECT: &str = "-";

/// A resource of kind `K`.
pub type Of<K> = Resource<<K as Kind>::Spec, <K as Kind>::Status>;

/// What its maker says of a new object.
#[derive(Debug, Clone)]
pub struct Draft<K: Kind> {
    /// Its project.
    pub project: Option<Id>,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: std::collections::BTreeMap<String, String>,
    /// What is wished.
    pub spec: K::Spec,
    /// What is seen.
    pub status: K::Status,
}

impl<K: Kind> Draft<K> {
    /// With nothing but a name.
    #[must_use]
    pub fn named(project: Option<Id>, name: impl Into<String>) -> Self {
        Self {
            project,
            name: name.into(),
            labels: std::collections::BTreeMap::default(),
            spec: K::Spec::default(),
            status: K::Status::default(),
        }
    }
}

/// The folder of a kind's objects; of a project's, or of all projects'.
#[must_use]
pub fn folder<K: Kind>(project: Option<&Id>) -> String {
    match (K::IN_PROJECT, project) {
        (true, None) => format!("/objects/{}/", K::PLURAL),
        (true, Some(project)) => format!("/objects/{}/{project}/", K::PLURAL),
        (false, _) => format!("/objects/{}/{NO_PROJECT}/", K::PLURAL),
    }
}

fn place(project: Option<&Id>) -> &str {
    project.map_or(NO_PROJECT, Id::as_str)
}

/// Where an object lies.
#[must_use]
pub fn key<K: Kind>(project: Option<&Id>, id: &Id) -> String {
    format!("/objects/{}/{}/{id}", K::PLURAL, place(project))
}

fn name_key<K: Kind>(project: Option<&Id>, name: &str) -> String {
    format!("/names/{}/{}/{name}", K::PLURAL, place(project))
}

/// The object that an entry holds.
///
/// # Errors
/// When it is not one: a defect.
pub fn decode<K: Kind>(entry: &Entry) -> Result<Of<K>, Problem> {
    let mut object: Of<K> = serde_json::from_slice(&entry.value)
        .map_err(|error| internal(format!("{} cannot be read: {error}", entry.key)))?;
    object.meta.revision = entry.revision;
    Ok(object)
}

fn encode<S: serde::Serialize, T: serde::Serialize>(
    object: &Resource<S, T>,
) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(object).map_err(|error| internal(error.to_string()))
}

fn internal(title: String) -> Problem {
    Problem::new(Reason::Internal, title)
}

/// What a failure of the store means to who asked.
#[must_use]
pub fn refusal(error: &Error) -> Problem {
    match error {
        Error::Conflict { .. } => Problem::new(Reason::Changed, "the object has changed meanwhile")
            .advise("read it again and repeat the change"),
        Error::Compacted { from } => Problem::new(
            Reason::Gone,
            format!("changes from revision {from} on are forgotten"),
        )
        .advise("list again and watch from the list's revision"),
        Error::Ahead { .. } => Problem::new(Reason::Gone, error.to_string())
            .advise("an older copy of the store was put back: list again and watch from the list's revision"),
        Error::TooLarge { what } => Problem::new(Reason::TooLarge, format!("{what} is too large")),
        Error::NoLease | Error::Unavailable(_) => {
            Problem::new(Reason::Unavailable, error.to_string()).advise("try again in a moment")
        }
    }
}

/// Typed access to the store.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn Store>,
}

impl Objects {
    /// On a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The store itself.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Makes an object, with whatever else is to happen in the same moment.
    ///
    /// # Errors
    /// When the name is not one or is taken, or the store fails.
    pub async fn create<K: Kind>(
        &self,
        id: Id,
        draft: Draft<K>,
        beside: Transaction,
    ) -> Result<Of<K>, Problem> {
        let (mut object, own) = prepare::<K>(id, draft)?;
        let name = name_key::<K>(object.meta.project.as_ref(), &object.meta.name);
        let mut transaction = beside;
        transaction.expect.extend(own.expect);
        transaction.writes.extend(own.writes);
        match self.store.commit(transaction).await {
            Ok(revision) => {
                object.meta.revision = revision;
                Ok(object)
            }
            Err(Error::Conflict { key }) if key == name => Err(Problem::new(
                Reason::Exists,
                format!("there is a {} `{}` already", K::NAME, object.meta.name),
            )
            .at("name")),
            Err(error) => Err(refusal(&error)),
        }
    }

    /// An object by its id.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn get<K: Kind>(&self, project: Option<&Id>, id: &Id) -> Result<Of<K>, Problem> {
        let wanted = key::<K>(project, id);
        let snapshot = self.store.snapshot(&wanted).await;
        let entries = snapshot.map_err(|error| refusal(&error))?.entries;
        match entries.iter().find(|entry| entry.key == wanted) {
            Some(entry) => decode::<K>(entry),
            None => Err(missing::<K>(id.as_str())),
        }
    }

    /// All objects of a kind, of a project or of all of them.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list<K: Kind>(
        &self,
        project: Option<&Id>,
    ) -> Result<(Revision, Vec<Of<K>>), Problem> {
        let snapshot = self.store.snapshot(&folder::<K>(project)).await;
        let snapshot = snapshot.map_err(|error| refusal(&error))?;
        let objects: Result<_, _> = snapshot.entries.iter().map(decode::<K>).collect();
        Ok((snapshot.revision, objects?))
    }

    /// Writes an object whose `revision` says which state it was changed from; counts the generation when `spec` differs.
    ///
    /// # Errors
    /// When it has changed since, or the store fails.
    pub async fn update<K: Kind>(
        &self,
        mut object: Of<K>,
        beside: Transaction,
    ) -> Result<Of<K>, Problem> {
        let own = changed::<K>(&object)?;
        let mut transaction = beside;
        transaction.expect.extend(own.expect);
        transaction.writes.extend(own.writes);
        let revision = self.store.commit(transaction).await;
        object.meta.revision = revision.map_err(|error| refusal(&error))?;
        Ok(object)
    }

    /// Changes an object, again and again until nobody else has changed it meanwhile. `None` from `change`: nothing is to be done.
    ///
    /// # Errors
    /// When there is no such object, `change` refuses, or the store fails.
    pub async fn change<K: Kind>(
        &self,
        project: Option<&Id>,
        id: &Id,
        change: impl Fn(Of<K>) -> Result<Option<Of<K>>, Problem> + Send + Sync,
    ) -> Result<Of<K>, Problem> {
        let alone = |object| Ok(change(object)?.map(|changed| (changed, Transaction::default())));
        self.change_with::<K>(project, id, alone).await
    }

    /// The same, with whatever else is to happen in the same moment.
    ///
    /// # Errors
    /// When there is no such object, `change` refuses, or the store fails.
    pub async fn change_with<K: Kind>(
        &self,
        project: Option<&Id>,
        id: &Id,
        change: impl Fn(Of<K>) -> Result<Option<(Of<K>, Transaction)>, Problem> + Send + Sync,
    ) -> Result<Of<K>, Problem> {
        loop {
            let object = self.get::<K>(project, id).await?;
            let Some((changed, beside)) = change(object.clone())? else {
                return Ok(object);
            };
            match self.update::<K>(changed, beside).await {
                Err(problem) if problem.reason == Reason::Changed => {}
                outcome => return outcome,
            }
        }
    }

    /// Removes an object, with whatever else is to happen in the same moment.
    ///
    /// # Errors
    /// When it has changed since, or the store fails.
    pub async fn delete<K: Kind>(
        &self,
        object: &Of<K>,
        beside: Transaction,
    ) -> Result<Revision, Problem> {
        let project = object.meta.project.as_ref();
        let place = key::<K>(project, &object.meta.id);
        let mut transaction = beside;
        transaction.expect.push((place, object.meta.revision));
        transaction.writes.extend(removal::<K>(object));
        let revision = self.store.commit(transaction).await;
        revision.map_err(|error| refusal(&error))
    }
}

/// Refuses labels that nobody could ask for.
///
/// # Errors
/// What is wrong with one of them.
pub fn check_labels(labels: &std::collections::BTreeMap<String, String>) -> Result<(), Problem> {
    name::check_labels(labels)
        .map_err(|error| Problem::new(Reason::Invalid, error.to_string()).at("labels"))
}

/// A new object, and what makes it.
///
/// # Errors
/// When its name is not one.
pub fn prepare<K: Kind>(id: Id, draft: Draft<K>) -> Result<(Of<K>, Transaction), Problem> {
    name::check(&draft.name).map_err(|error| {
        Problem::new(Reason::Invalid, format!("`{}`: {error}", draft.name)).at("name")
    })?;
    check_labels(&draft.labels)?;
    let object: Of<K> = Resource {
        meta: Meta {
            id,
            project: draft.project,
            name: draft.name,
            labels: draft.labels,
            created: now(),
            revision: 0,
            generation: 1,
        },
        spec: draft.spec,
        status: draft.status,
    };
    let project = object.meta.project.as_ref();
    let name = name_key::<K>(project, &object.meta.name);
    let transaction = Transaction {
        expect: vec![(name.clone(), 0)],
        writes: vec![
            Write::put(key::<K>(project, &object.meta.id), encode(&object)?),
            Write::put(name, object.meta.id.to_string()),
        ],
    };
    Ok((object, transaction))
}

/// What writes an object that has no name of its own in an index: one that only a single writer knows.
#[must_use]
pub fn write_plain<K: Kind>(object: &Of<K>) -> Write {
    // Our own types, which serde_json takes.
    let value = serde_json::to_vec(object).unwrap_or_default();
    Write::put(
        key::<K>(object.meta.project.as_ref(), &object.meta.id),
        value,
    )
}

/// What removes an object that was written so.
#[must_use]
pub fn removal_plain<K: Kind>(project: &Id, id: &Id) -> Write {
    Write::delete(key::<K>(Some(project), id))
}

/// What writes a changed object, unless it has changed meanwhile.
///
/// # Errors
/// When it cannot be written as JSON: a defect.
pub fn changed<K: Kind>(object: &Of<K>) -> Result<Transaction, Problem> {
    let key = key::<K>(object.meta.project.as_ref(), &object.meta.id);
    Ok(Transaction {
        expect: vec![(key.clone(), object.meta.revision)],
        writes: vec![Write::put(key, encode(object)?)],
    })
}

/// The expectation that an object is as it was read.
#[must_use]
pub fn unchanged<K: Kind>(object: &Of<K>) -> (String, Revision) {
    let key = key::<K>(object.meta.project.as_ref(), &object.meta.id);
    (key, object.meta.revision)
}

/// An object by its id, in whichever project it is.
#[must_use]
pub fn anywhere<K: Kind>(mirror: &Mirror, id: &Id) -> Option<Of<K>> {
    let end = format!("/{id}");
    let all = mirror.list(&folder::<K>(None), None, usize::MAX);
    let entry = all.into_iter().find(|entry| entry.key.ends_with(&end))?;
    decode::<K>(&entry).ok()
}

/// Blocks of a project's network that hosts have.
#[must_use]
pub fn blocks_used(mirror: &Mirror, project: &Id) -> usize {
    let folder = format!("/blocks/{project}/");
    mirror.list(&folder, None, usize::MAX).len()
}

/// What removes an object.
#[must_use]
pub fn removal<K: Kind>(object: &Of<K>) -> [Write; 2] {
    let project = object.meta.project.as_ref();
    [
        Write::delete(key::<K>(project, &object.meta.id)),
        Write::delete(name_key::<K>(project, &object.meta.name)),
    ]
}

/// An object by its id, as the mirror shows it.
#[must_use]
pub fn find<K: Kind>(mirror: &Mirror, project: Option<&Id>, id: &Id) -> Option<Of<K>> {
    decode::<K>(&*mirror.get(&key::<K>(project, id))?).ok()
}

/// An object by its name, as the mirror shows it.
#[must_use]
pub fn named<K: Kind>(mirror: &Mirror, project: Option<&Id>, name: &str) -> Option<Of<K>> {
    let entry = mirror.get(&name_key::<K>(project, name))?;
    let id = std::str::from_utf8(&entry.value).ok()?.parse().ok()?;
    find::<K>(mirror, project, &id)
}

/// An object by its id or its name, as the mirror shows it.
#[must_use]
pub fn by_id_or_name<K: Kind>(mirror: &Mirror, project: Option<&Id>, text: &str) -> Option<Of<K>> {
    let by_id = text.parse().ok();
    by_id
        .and_then(|id| find::<K>(mirror, project, &id))
        .or_else(|| named::<K>(mirror, project, text))
}

/// All objects of a kind, as the mirror shows them.
#[must_use]
pub fn all<K: Kind>(mirror: &Mirror, project: Option<&Id>) -> Vec<Of<K>> {
    mirror
        .list(&folder::<K>(project), None, usize::MAX)
        .iter()
        .filter_map(|entry| decode::<K>(entry).ok())
        .collect()
}

/// Who has a block of a project's network.
#[must_use]
pub fn block_key(project: &Id, block: &Ipv4Net) -> String {
    format!("/blocks/{project}/{block}")
}

/// There is no such object.
#[must_use]
pub fn missing<K: Kind>(what: &str) -> Problem {
    let what: String = what.chars().take(80).collect();
    Problem::new(
        Reason::NotFound,
        format!("there is no {} `{what}`", K::NAME),
    )
}

/// The time, to the millisecond: more is noise in what people read.
#[must_use]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(jiff::Unit::Millisecond).unwrap_or(now)
}
