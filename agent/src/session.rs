//! The connection to the servers: follows one of them, goes to the next when it breaks, and keeps what is known on disk. Whoever uses the
//! catalog sees it through a `watch` and never waits for the network.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::agent::Frame;
use api::problem::{self, Problem, Reason};
use client::Client;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::catalog::{Catalog, Taken};
use crate::disk;
use crate::identity::Identity;

/// First and longest pause after a failure; each is twice the one before, and less by chance, so that hosts do not come back all at once.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));
/// A server that says nothing for this long is not there: it speaks each 5 seconds.
const SILENCE: Duration = Duration::from_secs(12);
/// Changes reach the disk at most this late.
const SAVE: Duration = Duration::from_secs(1);

/// How it stands with the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// No server has answered yet, or none does now; the last failure, for people.
    Down(String),
    /// This server is followed.
    Up(String),
    /// The cluster does not know this host any more.
    Removed,
}

/// The agent's session.
pub struct Session {
    folder: PathBuf,
    identity: watch::Sender<Arc<Identity>>,
    /// Held while the identity is changed.
    changing: Mutex<()>,
    instance: String,
    catalog: watch::Sender<Arc<Catalog>>,
    link: watch::Sender<Link>,
    server: watch::Sender<Option<Arc<Client>>>,
    unkept: watch::Sender<Option<String>>,
}

/// Why a stream has ended.
enum End {
    Broken(String),
    Removed,
}

impl Session {
    /// With what was known last.
    #[must_use]
    pub fn new(folder: PathBuf, identity: Identity) -> Self {
        let catalog = Catalog::load(&folder);
        Self {
            folder,
            identity: watch::Sender::new(Arc::new(identity)),
            changing: Mutex::new(()),
            instance: format!("{:016x}", rand::random::<u64>()),
            catalog: watch::Sender::new(Arc::new(catalog)),
            link: watch::Sender::new(Link::Down("not connected yet".into())),
            server: watch::Sender::new(None),
            unkept: watch::Sender::new(None),
        }
    }

    /// What is known, as it changes.
    #[must_use]
    pub fn catalog(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.subscribe()
    }

    /// How it stands with the servers, as it changes.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    /// The server that is followed, for what is said beside the stream; none while none is.
    #[must_use]
    pub fn server(&self) -> watch::Receiver<Option<Arc<Client>>> {
        self.server.subscribe()
    }

    /// Why what is known is not on disk, for people; none when it is.
    #[must_use]
    pub fn unkept(&self) -> watch::Receiver<Option<String>> {
        self.unkept.subscribe()
    }

    /// Random, by each start of the agent.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Who this host is; renewed from time to time.
    #[must_use]
    pub fn identity(&self) -> Arc<Identity> {
        self.identity.borrow().clone()
    }

    /// Changes the identity, on disk and here: what somebody else has changed meanwhile stays. The next connection goes by it.
    ///
    /// # Errors
    /// When the file cannot be written; everything stays as it was then.
    pub fn change_identity(
        &self,
        change: impl FnOnce(Identity) -> Identity,
    ) -> Result<(), disk::Error> {
        // One after the other: the file is of the one that comes last. Nothing is left half done by one that has panicked.
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let identity = change(Identity::clone(&self.identity()));
        identity.save(&self.folder)?;
        self.identity.send_replace(Arc::new(identity));
        Ok(())
    }

    /// Follows the servers until `stop`, or until this host was removed.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow_for_ever() => {}
            () = self.save_changes() => {}
        }
        self.save().await;
    }

    async fn follow_for_ever(&self) {
        let mut pause = PAUSE.0;
        // Each reason is said once, until it was well for a while.
        let mut said: Vec<String> = Vec::new();
        loop {
            for server in &self.identity().servers {
                let begun = Instant::now();
                let end = self.follow(server).await;
                self.server.send_replace(None);
                match end {
                    End::Removed => {
                        self.link.send_replace(Link::Removed);
                        return;
                    }
                    End::Broken(why) => {
                        if begun.elapsed() > SILENCE {
                            pause = PAUSE.0;
                            said.clear();
                        }
                        if !said.contains(&why) {
                            eprintln!("agent: not connected: {why}");
                            said.push(why.clone());
                        }
                        self.link.send_replace(Link::Down(why));
                    }
                }
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn follow(&self, server: &str) -> End {
        match self.stream(server).await {
            Ok(end) => end,
            Err(client::Error::Refused(problem)) if is_removed(&problem) => End::Removed,
            Err(error) => End::Broken(problem::chain(&error)),
        }
    }

    async fn stream(&self, server: &str) -> Result<End, client::Error> {
        let client = Arc::new(self.identity().client(server)?);
        // Not held: what is shared must be copied to be changed.
        let path = {
            let known = self.catalog.borrow();
            format!(
                "/v1/agent/stream?instance={}&store={}&revision={}",
                self.instance, known.store, known.revision
            )
        };
        let mut lines = client.lines(&path).await?.heard_each(SILENCE);
        self.link.send_replace(Link::Up(server.to_owned()));
        self.server.send_replace(Some(Arc::clone(&client)));
        loop {
            let Some(frame) = lines.next().await? else {
                return Ok(End::Broken(format!("{server} has ended the connection")));
            };
            if let Frame::Servers { urls } = &frame {
                self.learn_servers(urls);
            }
            let mut outcome = Ok(Taken::Same);
            self.catalog.send_if_modified(|catalog| {
                outcome = Arc::make_mut(catalog).take(frame);
                outcome == Ok(Taken::Changed)
            });
            match outcome {
                Ok(Taken::Removed) => return Ok(End::Removed),
                Ok(_) => {}
                // Connects anew, and names the revision that it is at.
                Err(gap) => return Ok(End::Broken(gap.to_string())),
            }
        }
    }

    /// The server that this host has joined by stays the first: it is reached from here, whatever the servers say of themselves.
    fn learn_servers(&self, urls: &[String]) {
        let with = |known: &Identity| -> Vec<String> {
            let first = known.servers.first();
            let others = urls.iter().filter(|url| first != Some(url));
            first.into_iter().chain(others).cloned().collect()
        };
        let known = self.identity();
        if with(&known) == known.servers {
            return;
        }
        let learned = self.change_identity(|known| Identity {
            servers: with(&known),
            ..known
        });
        // What cannot be kept is told again at the next connection.
        if let Err(error) = learned {
            eprintln!("agent: {}", problem::chain(&error));
        }
    }

    async fn save_changes(&self) {
        let mut catalog = self.catalog.subscribe();
        // The sender lives as long as `self`.
        while catalog.changed().await.is_ok() {
            let begun = Instant::now();
            self.save().await;
            // A large project is not written all the time.
            tokio::time::sleep(SAVE.max(begun.elapsed() * 30)).await;
        }
    }

    /// What cannot be written is told of, and written at the next change: the server tells it again after a restart.
    async fn save(&self) {
        let (catalog, folder) = (self.catalog.borrow().clone(), self.folder.clone());
        let saving = tokio::task::spawn_blocking(move || catalog.save(&folder));
        let Ok(saved) = saving.await else { return };
        let unkept = saved.err().map(|error| {
            format!(
                "what is known of the project cannot be kept ({}): is the disk full? Started without a server, this host would know what it knew before",
                problem::chain(&error)
            )
        });
        self.unkept.send_if_modified(|known| {
            let is_new = *known != unkept;
            if let Some(unkept) = unkept.as_ref().filter(|_| is_new) {
                eprintln!("agent: {unkept}");
            }
            *known = unkept;
            is_new
        });
    }
}

fn is_removed(problem: &Problem) -> bool {
    problem.reason == Reason::Unauthenticated
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Id;

    fn identity() -> Identity {
        Identity {
            host: Id::from_bits("h", 1),
            name: "one".into(),
            project: Id::from_bits("p", 1),
            project_name: "default".into(),
            servers: vec!["https://first:6440".into()],
            ca: String::new(),
            certificate: "old".into(),
            key: String::new(),
        }
    }

    #[tokio::test]
    async fn what_cannot_be_kept_is_told() {
        let folder = tempfile::tempdir().unwrap();
        // A folder that cannot be made: nothing can be written into it.
        let below = folder.path().join("file/below");
        std::fs::write(folder.path().join("file"), "").unwrap();
        let session = Session::new(below, identity());
        session.save().await;
        let told = session.unkept().borrow().clone().unwrap();
        assert!(
            told.contains("is the disk full?") && told.contains("catalog.json"),
            "{told}"
        );
        std::fs::remove_file(folder.path().join("file")).unwrap();
        session.save().await;
        assert_eq!(*session.unkept().borrow(), None);
    }

    #[test]
    fn servers_and_certificates_are_changed_side_by_side() {
        let folder = tempfile::tempdir().unwrap();
        let session = Session::new(folder.path().to_owned(), identity());
        std::thread::scope(|both| {
            both.spawn(|| {
                for number in 0..200 {
                    let certificate = number.to_string();
                    session
                        .change_identity(|known| Identity {
                            certificate,
                            ..known
                        })
                        .unwrap();
                }
            });
            for number in 0..200 {
                session.learn_servers(&[format!("https://s{number}:6440")]);
            }
        });
        let kept = Identity::load(folder.path()).unwrap().unwrap();
        for one in [&kept, &*session.identity()] {
            assert_eq!(one.certificate, "199");
            assert_eq!(one.servers, ["https://first:6440", "https://s199:6440"]);
        }
    }
}
