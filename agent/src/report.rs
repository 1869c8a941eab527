//! Tells the server what is seen here: the containers by their differences, the host when something about it has changed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api::Id;
use api::agent::{Report, Seen};
use api::host::{HostFacts, Reach};
use bollard::Docker;
use client::Client;
use tokio::sync::watch;

use crate::Catalog;
use crate::containers::Local;
use crate::facts;
use crate::moved::{self, Moved};
use crate::overlay::State;

/// What comes within this time shares a report.
const TOGETHER: Duration = Duration::from_millis(5);
/// Pause after a report that the server did not take.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the host looks at itself.
const FACTS: Duration = Duration::from_secs(60);

/// Where reports come from and go to.
pub struct Reporter {
    /// Random, by each start of the agent.
    pub instance: String,
    /// This host.
    pub host: Id,
    /// What the others are told of it.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// Asked for its version.
    pub docker: Docker,
    /// The containers of this host.
    pub local: watch::Receiver<Option<Arc<Local>>>,
    /// Its network.
    pub network: watch::Receiver<State>,
    /// Why what is known is not on disk.
    pub unkept: watch::Receiver<Option<String>>,
    /// How it reaches the others.
    pub reach: watch::Receiver<Reach>,
    /// The server that is followed.
    pub server: watch::Receiver<Option<Arc<Client>>>,
}

/// What a server was told last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Told {
    local: Option<Arc<Local>>,
    facts: Option<HostFacts>,
    public_key: Option<String>,
    problems: Option<Vec<String>>,
    reach: Option<Reach>,
    moved: Option<Moved>,
}

impl Reporter {
    /// Reports for ever.
    pub async fn run(mut self) {
        let mut told = Told::default();
        let mut sequence = 0;
        let mut facts = facts::gather(&self.docker).await;
        let mut tick = tokio::time::interval(FACTS);
        tick.reset();
        loop {
            tokio::select! {
                changed = self.server.changed() => match changed {
                    // Another server, or the same one after a break: it is told everything.
                    Ok(()) => told = Told::default(),
                    Err(_) => return,
                },
                changed = self.local.changed() => if changed.is_err() { return },
                changed = self.network.changed() => if changed.is_err() { return },
                changed = self.unkept.changed() => if changed.is_err() { return },
                changed = self.reach.changed() => if changed.is_err() { return },
                _ = tick.tick() => facts = facts::gather(&self.docker).await,
            }
            tokio::time::sleep(TOGETHER).await;
            let Some(server) = self.server.borrow().clone() else {
                continue;
            };
            let now = Told {
                moved: self.moved(server.from().await),
                ..self.now(&facts)
            };
            let Some(mut report) = difference(&told, &now) else {
                continue;
            };
            sequence += 1;
            report.instance.clone_from(&self.instance);
            report.sequence = sequence;
            let taken: Result<serde::de::IgnoredAny, _> =
                server.post("/v1/agent/report", &report).await;
            match taken {
                Ok(_) => told = now,
                Err(error) => {
                    eprintln!("agent: report: {error}");
                    told = Told::default();
                    tokio::time::sleep(PAUSE).await;
                    self.server.mark_changed();
                }
            }
        }
    }

    fn now(&mut self, facts: &HostFacts) -> Told {
        let mut network = self.network.borrow_and_update().clone();
        let unkept = self.unkept.borrow_and_update().clone();
        network.problems.extend(unkept);
        Told {
            local: self.local.borrow_and_update().clone(),
            facts: Some(HostFacts {
                wireguard: network.wireguard,
                mtu: network.mtu,
                ..facts.clone()
            }),
            public_key: network.public_key,
            problems: Some(network.problems),
            // As long as nobody has looked, what was found before a restart stays.
            reach: Some(self.reach.borrow_and_update().clone()).filter(|reach| reach.at.is_some()),
            moved: None,
        }
    }

    fn moved(&self, from: Option<IpAddr>) -> Option<Moved> {
        let catalog = self.catalog.borrow().clone();
        moved::moved(&catalog, &self.host, from, moved::is_own)
    }
}

/// What a server that was told `told` must be told now; `None`: nothing.
fn difference(told: &Told, now: &Told) -> Option<Report> {
    let news = |is_news: bool| is_news.then_some(());
    let mut report = Report {
        facts: news(told.facts != now.facts).and(now.facts.clone()),
        public_key: news(told.public_key != now.public_key).and(now.public_key.clone()),
        problems: news(told.problems != now.problems).and(now.problems.clone()),
        reach: news(told.reach != now.reach).and(now.reach.clone()),
        address: news(told.moved != now.moved).and(now.moved.map(|moved| moved.now)),
        ..Report::default()
    };
    // As long as Docker was not listed nothing is known of containers: what the server knows stays.
    if let Some(local) = &now.local {
        match &told.local {
            None => {
                report.whole = true;
                report.containers = local.values().cloned().collect();
            }
            Some(before) => {
                let is_new = |(id, seen): &(&String, &Seen)| before.get(*id) != Some(seen);
                let new = local.iter().filter(is_new);
                report.containers = new.map(|(_, seen)| seen.clone()).collect();
                let gone = before.keys().filter(|id| !local.contains_key(*id));
                report.gone = gone.cloned().collect();
            }
        }
    }
    (report != Report::default()).then_some(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::container::{ContainerState, ContainerStatus};

    fn local(containers: &[(&str, ContainerState)]) -> Option<Arc<Local>> {
        let seen = containers.iter().map(|(id, state)| {
            let seen = Seen {
                name: (*id).into(),
                status: ContainerStatus {
                    state: *state,
                    ..ContainerStatus::default()
                },
            };
            ((*id).to_owned(), seen)
        });
        Some(Arc::new(seen.collect()))
    }

    #[test]
    fn only_differences_are_told() {
        use ContainerState::{Running, Stopped};
        let told = |containers| Told {
            local: containers,
            facts: Some(HostFacts::default()),
            problems: Some(Vec::new()),
            ..Told::default()
        };
        // Docker was not listed yet: what the server knows of containers is not touched.
        let first = difference(&Told::default(), &told(None)).unwrap();
        assert!(!first.whole && first.containers.is_empty() && first.facts.is_some());
        let whole = difference(&told(None), &told(local(&[("a", Running)]))).unwrap();
        assert!(whole.whole && whole.containers.len() == 1 && whole.facts.is_none());
        let before = told(local(&[("a", Running), ("b", Running), ("c", Running)]));
        let after = told(local(&[("a", Running), ("b", Stopped)]));
        let report = difference(&before, &after).unwrap();
        assert!(!report.whole);
        assert_eq!(report.containers[0].name, "b");
        assert_eq!(
            (report.containers.len(), report.gone),
            (1, vec!["c".to_owned()])
        );
        assert_eq!(difference(&after, &after), None);
        // It has moved; then the others are told so, which is no news for the server.
        let left = Moved {
            told: "10.0.0.5".parse().unwrap(),
            now: "10.0.0.9".parse().unwrap(),
        };
        let moved = Told {
            moved: Some(left),
            ..after.clone()
        };
        let report = difference(&after, &moved).unwrap();
        assert_eq!(report.address, Some(left.now));
        assert_eq!(difference(&moved, &moved), None);
        assert_eq!(difference(&moved, &after), None);
        // Told to nobody: all of it, also when it is nothing.
        let nothing = difference(&Told::default(), &told(local(&[]))).unwrap();
        assert!(nothing.whole);
    }
}
