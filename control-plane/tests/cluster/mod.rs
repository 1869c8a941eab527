//! A real server with hosts that join it, as tests need them.
// Each test file uses a part of it.
#![allow(dead_code)]

use std::net::Ipv4Addr;
use std::time::Duration;

use api::agent::{Fact, Frame, JoinAnswer, JoinRequest, Report, Seen};
use api::container::{ContainerState, ContainerStatus};
use api::host::{HostFacts, HostState};
use api::problem::Problem;
use api::{Host, Project, Token, User};
use client::{Client, Error, Identity, Lines, Trust};
use control_plane::secret::JoinToken;
use control_plane::server::{self, Options, Started, StoreOptions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A cluster with one server of this process.
pub struct Cluster {
    pub folder: tempfile::TempDir,
    pub started: Started,
    pub stop: CancellationToken,
    pub desk: Desk,
}

impl Cluster {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let store = StoreOptions::File(folder.path().join("store"));
        let started = start(store, "127.0.0.1:0", &stop).await;
        let desk = Desk {
            url: format!("https://{}", started.address),
            ca: started.server.authority.certificate().to_owned(),
            key: started.admin_key.clone().unwrap(),
        };
        Self {
            folder,
            started,
            stop,
            desk,
        }
    }
}

impl std::ops::Deref for Cluster {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

/// Where an administrator sits: speaks to one server.
#[derive(Clone)]
pub struct Desk {
    pub url: String,
    pub ca: String,
    pub key: String,
}

impl Desk {
    /// The same at another server.
    pub fn at(&self, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..self.clone()
        }
    }

    pub fn ca(&self) -> Trust {
        Trust::Ca(self.ca.clone())
    }

    pub fn with(&self, identity: Identity) -> Client {
        Client::new(&self.url, self.ca(), identity).unwrap()
    }

    pub fn admin(&self) -> Client {
        self.with(Identity::Key(self.key.clone()))
    }

    pub async fn user(&self, name: &str, role: Option<&str>) -> Client {
        let admin = self.admin();
        let user: User = admin
            .post("/v1/users", &json!({"name": name}))
            .await
            .unwrap();
        let key: api::ApiKey = admin
            .post(
                "/v1/keys",
                &json!({"name": name, "spec": {"user": user.meta.id}}),
            )
            .await
            .unwrap();
        if let Some(role) = role {
            let project: Project = admin.get("/v1/projects/default").await.unwrap();
            let mut spec = serde_json::to_value(&project.spec).unwrap();
            spec["members"][user.meta.id.as_str()] = json!(role);
            let edit = json!({"revision": project.meta.revision, "spec": spec});
            let _: Project = admin.put("/v1/projects/default", &edit).await.unwrap();
        }
        self.with(Identity::Key(key.status.key.unwrap()))
    }

    pub async fn token(&self, spec: Value) -> String {
        let made: Token = self
            .admin()
            .post(
                "/v1/projects/default/tokens",
                &json!({"name": format!("t{}", rand::random::<u32>()), "spec": spec}),
            )
            .await
            .unwrap();
        assert_eq!(made.status.secret_hash, "");
        made.status.token.unwrap()
    }

    /// As a new host would: it knows the token only.
    pub async fn join(&self, token: &str, name: &str) -> Result<Member, Error> {
        let key = rcgen::KeyPair::generate().unwrap();
        self.join_with(&key, token, name).await
    }

    /// The same with a key that is there already: again, when the answer was lost.
    pub async fn join_with(
        &self,
        key: &rcgen::KeyPair,
        token: &str,
        name: &str,
    ) -> Result<Member, Error> {
        let parsed: JoinToken = token.parse().unwrap();
        let stranger = Client::new(&self.url, Trust::Hash(parsed.ca), Identity::None).unwrap();
        let csr = rcgen::CertificateParams::new(vec![])
            .unwrap()
            .serialize_request(key)
            .unwrap();
        let request = JoinRequest {
            token: token.to_owned(),
            name: name.to_owned(),
            labels: Default::default(),
            address: None,
            csr: csr.pem().unwrap(),
            facts: HostFacts::default(),
        };
        let answer: JoinAnswer = stranger.post("/v1/join", &request).await?;
        let identity = Identity::Certificate {
            certificate: answer.certificate.clone(),
            key: key.serialize_pem(),
        };
        let client =
            Client::new(&self.url, Trust::Ca(answer.ca.clone()), identity.clone()).unwrap();
        Ok(Member {
            answer,
            identity,
            client,
        })
    }

    pub async fn host(&self, name: &str) -> Host {
        self.admin()
            .get(&format!("/v1/projects/default/hosts/{name}"))
            .await
            .unwrap()
    }

    /// Until the host has the state.
    pub async fn until(&self, name: &str, state: HostState) {
        let mut last = None;
        for _ in 0..100 {
            last = Some(self.host(name).await.status.state);
            if last == Some(state) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{name} is {last:?}, not {state:?}");
    }
}

pub async fn start(store: StoreOptions, listen: &str, stop: &CancellationToken) -> Started {
    let options = Options {
        listen: listen.parse().unwrap(),
        names: vec!["127.0.0.1".into()],
        store,
    };
    // SQLite waits a moment for a file that the server before is letting go.
    server::start(options, stop.clone()).await.unwrap()
}

/// A host that has joined.
pub struct Member {
    pub answer: JoinAnswer,
    pub identity: Identity,
    pub client: Client,
}

impl Member {
    /// The same host at another server.
    pub fn at(&self, url: &str) -> Self {
        let trust = Trust::Ca(self.answer.ca.clone());
        Self {
            answer: self.answer.clone(),
            identity: self.identity.clone(),
            client: Client::new(url, trust, self.identity.clone()).unwrap(),
        }
    }

    pub async fn stream(&self, instance: &str, known: Option<(&str, u64)>) -> Result<Lines, Error> {
        let (store, revision) = known.unwrap_or_default();
        let path =
            format!("/v1/agent/stream?instance={instance}&store={store}&revision={revision}");
        self.client.lines(&path).await
    }

    pub async fn report(&self, report: &Report) {
        let _: Value = self.client.post("/v1/agent/report", report).await.unwrap();
    }
}

pub fn container(name: &str, last: u8) -> Seen {
    Seen {
        name: name.into(),
        status: ContainerStatus {
            docker_id: format!("{name}{}", "0".repeat(60)),
            image: "web:1".into(),
            state: ContainerState::Running,
            address: Some(Ipv4Addr::new(10, 42, 0, last)),
            ..ContainerStatus::default()
        },
    }
}

pub fn refused<T>(outcome: Result<T, Error>) -> Problem {
    match outcome {
        Err(Error::Refused(problem)) => problem,
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("not refused"),
    }
}

/// The next frame that is not about servers.
pub async fn next(lines: &mut Lines) -> Frame {
    loop {
        match any(lines).await {
            Frame::Servers { .. } => {}
            frame => return frame,
        }
    }
}

pub async fn any(lines: &mut Lines) -> Frame {
    tokio::time::timeout(Duration::from_secs(10), lines.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap()
}

/// The facts of the next frames, until one passes `enough`.
pub async fn told(lines: &mut Lines, enough: impl Fn(&Fact) -> bool) -> (Vec<Fact>, u64) {
    let mut all = Vec::new();
    loop {
        let (facts, revision) = match next(lines).await {
            Frame::Whole {
                facts, revision, ..
            } => (facts, revision),
            Frame::Changes { facts, to, .. } => (facts, to),
            Frame::Alive { .. } | Frame::Servers { .. } => continue,
            Frame::Removed => panic!("removed"),
        };
        let is_enough = facts.iter().any(&enough);
        all.extend(facts);
        if is_enough {
            return (all, revision);
        }
    }
}
