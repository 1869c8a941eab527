//! A way back in when every administrator's key is lost: whoever may read the store may make one.

use api::access::{ApiKeyKind, UserKind};
use api::event::EventSpec;
use api::resource::Kind;
use api::{Id, User};

use crate::objects::{Draft, Objects, now};
use crate::secret::{self, Key};
use crate::server::{Error, StoreOptions, open};
use crate::store::Transaction;
use crate::{events, server};

/// A new key, and whose it is.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Name of the administrator.
    pub user: String,
    /// The key, which is shown once.
    pub key: String,
}

/// Makes a key of an administrator. With a store in a file no server may run on it.
///
/// # Errors
/// When the store cannot be used; `Ok(None)`: it holds no cluster with an administrator.
pub async fn new_key(options: &StoreOptions) -> Result<Option<NewKey>, Error> {
    let objects = Objects::new(open(options).await?);
    let (_, users) = objects.list::<UserKind>(None).await.map_err(Error::First)?;
    let Some(admin) = choose(users) else {
        return Ok(None);
    };
    let key = Key {
        id: Id::from_bits(ApiKeyKind::PREFIX, rand::random()),
        secret: secret::fresh(),
    };
    let name = format!("rescue-{}", now().as_millisecond());
    let mut draft: Draft<ApiKeyKind> = Draft::named(None, name.clone());
    draft.spec.user = Some(admin.meta.id.clone());
    draft.status.secret_hash = secret::hash(&key.secret);
    let event = EventSpec {
        what: "key.rescue".into(),
        object: Some(key.id.clone()),
        object_name: name,
        message: format!("made beside the server, for {}", admin.meta.name),
        ..EventSpec::default()
    };
    let mut beside = Transaction::default();
    beside.writes.push(events::write(None, event));
    objects
        .create::<ApiKeyKind>(key.id.clone(), draft, beside)
        .await
        .map_err(Error::First)?;
    Ok(Some(NewKey {
        user: admin.meta.name,
        key: key.reveal(),
    }))
}

/// The first administrator if it is there, else another one.
fn choose(users: Vec<User>) -> Option<User> {
    let mut able: Vec<User> = users
        .into_iter()
        .filter(|user| user.spec.admin && !user.spec.disabled)
        .collect();
    able.sort_by_key(|user| (user.meta.name != server::ADMIN, user.meta.created));
    able.into_iter().next()
}
