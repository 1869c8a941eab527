//! The cluster that a command speaks to: typed access to its objects, for every kind alike.

use std::collections::BTreeMap;

use api::list::List;
use api::problem::{Problem, Reason};
use api::resource::{Edit, Kind, New, Resource};
use client::{Client, Identity};

use super::args::Common;
use super::context::{Resolved, resolve};
use super::error::{Error, Result};

/// An object of kind `K`.
pub type Of<K> = Resource<<K as Kind>::Spec, <K as Kind>::Status>;

/// Attempts to change an object that others change, too.
const ATTEMPTS: usize = 5;

/// A cluster, as this user speaks to it.
pub struct Remote {
    client: Client,
    /// The project, by name or id.
    pub project: String,
}

impl Remote {
    /// The cluster that arguments, variables and contexts say.
    pub fn open(common: &Common) -> Result<Self> {
        Self::to(resolve(common)?)
    }

    /// A given cluster.
    pub fn to(known: Resolved) -> Result<Self> {
        let client = Client::new(&known.server, known.trust, Identity::Key(known.key))?;
        Ok(Self {
            client,
            project: known.project,
        })
    }

    /// Address of the server.
    pub fn server(&self) -> &str {
        self.client.server()
    }

    /// The connection itself.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Path of a kind's objects.
    pub fn folder<K: Kind>(&self) -> String {
        if K::IN_PROJECT {
            format!("/v1/projects/{}/{}", quoted(&self.project), K::PLURAL)
        } else {
            format!("/v1/{}", K::PLURAL)
        }
    }

    fn path<K: Kind>(&self, name: &str) -> String {
        format!("{}/{}", self.folder::<K>(), quoted(name))
    }

    /// All objects, by name.
    pub async fn all<K: Kind>(&self) -> Result<Vec<Of<K>>> {
        let (mut all, _) = self.all_below::<K>(&self.folder::<K>()).await?;
        all.sort_by(|one, other| one.meta.name.cmp(&other.meta.name));
        Ok(all)
    }

    /// All objects of a folder, however many pages they are, and the revision from which a watch misses nothing.
    pub async fn all_below<K: Kind>(&self, folder: &str) -> Result<(Vec<Of<K>>, u64)> {
        let mut page: List<Of<K>> = self.ask::<K, _>(folder).await?;
        // What changes while the pages are read is told by a watch from the first one on.
        let (revision, mut all) = (page.revision, page.items);
        while let Some(next) = page.next {
            let path = format!("{folder}?continue={}", quoted(&next));
            page = self.ask::<K, _>(&path).await?;
            all.append(&mut page.items);
        }
        Ok((all, revision))
    }

    async fn ask<K: Kind, T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.client
            .get(path)
            .await
            .map_err(|error| self.explain::<K>(error))
    }

    /// One object.
    pub async fn get<K: Kind>(&self, name: &str) -> Result<Of<K>> {
        self.ask::<K, _>(&self.path::<K>(name)).await
    }

    /// One object, if it is there.
    pub async fn find<K: Kind>(&self, name: &str) -> Result<Option<Of<K>>> {
        match self.client.get(&self.path::<K>(name)).await {
            Ok(object) => Ok(Some(object)),
            Err(client::Error::Refused(problem)) if problem.reason == Reason::NotFound => Ok(None),
            Err(error) => Err(self.explain::<K>(error)),
        }
    }

    /// Makes an object.
    pub async fn create<K: Kind>(&self, new: &New<K::Spec>) -> Result<Of<K>> {
        self.client
            .post(&self.folder::<K>(), new)
            .await
            .map_err(|error| self.explain::<K>(error))
    }

    /// Changes an object. Others may change it in the same moment: it is read and changed again then.
    pub async fn change<K: Kind>(
        &self,
        name: &str,
        change: impl Fn(&mut K::Spec, &mut BTreeMap<String, String>) -> Result<()>,
    ) -> Result<Of<K>> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let object = self.get::<K>(name).await?;
            let mut edit = Edit {
                revision: object.meta.revision,
                labels: object.meta.labels,
                spec: object.spec,
            };
            change(&mut edit.spec, &mut edit.labels)?;
            // By id: who has the name may be another one by now.
            let path = self.path::<K>(object.meta.id.as_str());
            match self.client.put(&path, &edit).await {
                Err(client::Error::Refused(problem))
                    if problem.reason == Reason::Changed && attempts < ATTEMPTS => {}
                answer => return answer.map_err(|error| self.explain::<K>(error)),
            }
        }
    }

    /// Removes an object.
    pub async fn remove<K: Kind>(&self, name: &str) -> Result<()> {
        self.client
            .delete(&self.path::<K>(name))
            .await
            .map_err(|error| self.explain::<K>(error))
    }

    /// Says which project or object is not there, and how to see those that are.
    fn explain<K: Kind>(&self, error: client::Error) -> Error {
        match error {
            client::Error::Refused(problem) if problem.reason == Reason::NotFound => {
                Error::Remote(self.missing::<K>(&problem))
            }
            other => other.into(),
        }
    }

    fn missing<K: Kind>(&self, problem: &Problem) -> String {
        if problem.title == "there is no such project" {
            return format!(
                "there is no project `{}`, or you are no member of it; `ros env list` lists yours, `ros env use` or --project chooses one",
                self.project
            );
        }
        let place = if K::IN_PROJECT {
            format!(" in the project `{}`", self.project)
        } else {
            String::new()
        };
        let command = match K::PLURAL {
            "projects" => "env",
            "containers" => "ps -a",
            other => other,
        };
        format!("{problem}{place}; `ros {command}` lists those that there are")
    }
}

/// A part of a path: what is not a letter, digit, `-`, `_`, `.` or `~` is percent-encoded (RFC 3986, 2.3).
pub fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let part: String = text
        .bytes()
        .map(|byte| match byte {
            byte if is_plain(byte) => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    // These would be taken for folders.
    match part.as_str() {
        "" | "." | ".." => "%20".into(),
        _ => part,
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn nothing_leaves_its_part_of_the_path() {
        assert_eq!(quoted("web-1_a.b"), "web-1_a.b");
        assert_eq!(quoted("../users"), "..%2Fusers");
        assert_eq!(quoted("a b?c#d%ä"), "a%20b%3Fc%23d%25%C3%A4");
        assert_eq!(quoted(".."), "%20");
    }
}
