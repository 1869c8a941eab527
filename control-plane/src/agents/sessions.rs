//! Which agent speaks for a host: the one that is heard. Pure but for the tokens that end streams.

use std::collections::HashMap;

use api::Id;
use api::problem::{Problem, Reason};
use tokio_util::sync::CancellationToken;

/// The sessions of all hosts.
#[derive(Debug, Default)]
pub struct Sessions {
    by_host: HashMap<Id, Session>,
    last: u64,
}

#[derive(Debug)]
struct Session {
    number: u64,
    project: Id,
    instance: String,
    is_open: bool,
    stop: CancellationToken,
}

impl Sessions {
    /// How many there are, of hosts that have gone silent, too.
    pub fn count(&self) -> usize {
        self.by_host.len()
    }

    /// Begins one. The same agent may come anew. Another one may not while the first is heard: it is a second machine with the same identity,
    /// or the host after a sudden end, whose old connection is found to be dead within seconds.
    ///
    /// # Errors
    /// When another machine uses the same identity.
    pub fn begin(
        &mut self,
        project: &Id,
        host: &Id,
        instance: &str,
    ) -> Result<(u64, CancellationToken), Problem> {
        if let Some(old) = self.by_host.get(host) {
            if old.is_open && old.instance != instance {
                return Err(in_use());
            }
            old.stop.cancel();
        }
        self.last += 1;
        let (number, stop) = (self.last, CancellationToken::new());
        let session = Session {
            number,
            project: project.clone(),
            instance: instance.to_owned(),
            is_open: true,
            stop: stop.clone(),
        };
        self.by_host.insert(host.clone(), session);
        Ok((number, stop))
    }

    /// Ends a session, unless another has taken its place. True: it was open.
    pub fn end(&mut self, host: &Id, number: u64) -> bool {
        let session = self.by_host.get_mut(host);
        let Some(session) = session.filter(|session| session.number == number) else {
            return false;
        };
        session.is_open = false;
        true
    }

    /// Ends the stream of a host's agent; it comes anew.
    pub fn send_away(&self, host: &Id, instance: &str) {
        let session = self.by_host.get(host);
        if let Some(session) = session.filter(|session| session.instance == instance) {
            session.stop.cancel();
        }
    }

    /// Forgets a host that was removed; its stream says farewell. True: there was one.
    pub fn remove(&mut self, host: &Id) -> bool {
        let removed = self.by_host.remove(host);
        if let Some(session) = &removed {
            session.stop.cancel();
        }
        removed.is_some()
    }

    /// Ends all streams.
    pub fn cut_off(&self) {
        self.by_host
            .values()
            .for_each(|session| session.stop.cancel());
    }

    /// The instance of the host's agent that is connected.
    pub fn heard_as(&self, host: &Id) -> Option<String> {
        let session = self.by_host.get(host)?;
        session.is_open.then(|| session.instance.clone())
    }

    /// Hosts with an open session: project, id, instance.
    pub fn heard(&self) -> Vec<(Id, Id, String)> {
        let open = self.by_host.iter().filter(|(_, session)| session.is_open);
        open.map(|(host, session)| {
            (
                session.project.clone(),
                host.clone(),
                session.instance.clone(),
            )
        })
        .collect()
    }
}

/// A second machine uses the identity of a host.
#[must_use]
pub fn in_use() -> Problem {
    Problem::new(
        Reason::Exists,
        "another machine is connected with the identity of this host",
    )
    .advise("was its disk cloned? On the copy: `ros agent leave --local`, then join it with a token; after a sudden restart of the host it is let in within seconds")
}
