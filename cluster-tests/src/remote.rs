//! The cluster's API as the harness asks it: from the switch's namespace, each request on a connection of its own. Owns nothing.

use std::fs::File;
use std::future::Future;
use std::path::PathBuf;

use api::list::List;
use api::resource::{Edit, Kind, New, Resource};
use client::{Client, Identity, Trust};
use nix::sched::{CloneFlags, setns};
use qemu_tests::{HarnessError, Result};

use crate::space::Space;

/// Objects of a page: more than any scenario has.
const PAGE: usize = 1000;

/// A way to the API.
#[derive(Clone)]
pub struct Api {
    space: PathBuf,
    server: String,
    trust: Trust,
    key: String,
    project: String,
}

impl Api {
    /// To the server at `https://host:port`, known by its CA's hash, as the owner of `key`.
    #[must_use]
    pub fn new(from: &Space, server: &str, trust: Trust, key: &str) -> Self {
        Self {
            space: from.network(),
            server: server.to_owned(),
            trust,
            key: key.to_owned(),
            project: "default".into(),
        }
    }

    /// The same for the objects of another project than the first.
    #[must_use]
    pub fn in_project(&self, name: &str) -> Self {
        Self {
            project: name.to_owned(),
            ..self.clone()
        }
    }

    /// All objects of a kind in the project, or of the whole cluster for those that belong to none.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub fn all<K: Kind>(&self) -> Result<Vec<Resource<K::Spec, K::Status>>> {
        let path = format!("{}?limit={PAGE}", self.path::<K>());
        let list: List<_> = self.ask(async |client| client.get(&path).await)?;
        Ok(list.items)
    }

    /// Makes an object.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub fn create<K: Kind>(
        &self,
        name: &str,
        spec: K::Spec,
    ) -> Result<Resource<K::Spec, K::Status>> {
        let new = New {
            name: name.to_owned(),
            labels: Default::default(),
            spec,
        };
        self.ask(async |client| client.post(&self.path::<K>(), &new).await)
    }

    /// Changes what is wished of an object.
    ///
    /// # Errors
    /// When there is none of that name, or the server does not answer or refuses.
    pub fn edit<K: Kind>(&self, name: &str, change: impl FnOnce(&mut K::Spec)) -> Result<()> {
        let found = self
            .all::<K>()?
            .into_iter()
            .find(|one| one.meta.name == name);
        let mut object = found.ok_or_else(|| HarnessError::Verdict {
            detail: format!("there is no {} {name}", K::NAME),
        })?;
        change(&mut object.spec);
        let edit = Edit {
            revision: object.meta.revision,
            labels: object.meta.labels,
            spec: object.spec,
        };
        let path = format!("{}/{name}", self.path::<K>());
        let _changed: Resource<K::Spec, K::Status> =
            self.ask(async |client| client.put(&path, &edit).await)?;
        Ok(())
    }

    /// Removes an object.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub fn delete<K: Kind>(&self, name: &str) -> Result<()> {
        let path = format!("{}/{name}", self.path::<K>());
        self.ask(async |client| client.delete(&path).await)
    }

    /// `/v1/projects`, `/v1/projects/default/containers` …
    fn path<K: Kind>(&self) -> String {
        if K::IN_PROJECT {
            format!("/v1/projects/{}/{}", self.project, K::PLURAL)
        } else {
            format!("/v1/{}", K::PLURAL)
        }
    }

    fn ask<T: Send>(
        &self,
        question: impl AsyncFnOnce(&Client) -> std::result::Result<T, client::Error> + Send,
    ) -> Result<T> {
        let client = Client::new(
            &self.server,
            self.trust.clone(),
            Identity::Key(self.key.clone()),
        )
        .map_err(|error| refused(&error))?;
        in_network(&self.space, async || question(&client).await)?.map_err(|error| refused(&error))
    }
}

/// Runs `work` on a thread that is in another network namespace: sockets belong to the namespace of the thread that makes them.
fn in_network<T: Send, F: Future<Output = T>>(
    space: &PathBuf,
    work: impl FnOnce() -> F + Send,
) -> Result<T> {
    let file = File::open(space).map_err(HarnessError::file("open namespace", space))?;
    let run = || -> std::io::Result<T> {
        setns(&file, CloneFlags::CLONE_NEWNET)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(runtime.block_on(work()))
    };
    let outcome = std::thread::scope(|scope| scope.spawn(run).join());
    outcome
        .unwrap_or_else(|_| Err(std::io::Error::other("the thread has panicked")))
        .map_err(HarnessError::file("enter namespace", space))
}

fn refused(error: &client::Error) -> HarnessError {
    let mut detail = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        detail.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    HarnessError::Verdict {
        detail: format!("the API: {detail}"),
    }
}
