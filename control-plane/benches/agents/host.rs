//! A simulated host: it joins, follows its stream, comes back when that breaks, and reports. It checks that each frame follows the one
//! before, as an agent does, and notes when it hears of a marked change.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::agent::{JoinAnswer, JoinRequest, Report, Reported, Seen};
use api::container::{ContainerState, ContainerStatus};
use http_body_util::BodyExt;
use rustls::ClientConfig;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::Outcome;
use crate::frames::{Frames, Step, Stream};
use crate::wire::{self, Sender, Shown};

/// How long a report is tried.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest latency that is told apart, in steps of a tenth of a millisecond.
const STEPS: usize = 100_000;

/// What all hosts count together.
pub struct Counts {
    /// When the bench began: marks count from here.
    pub begun: Instant,
    /// Bytes that the server has sent.
    pub received: Arc<AtomicU64>,
    /// Frames with changes.
    pub frames: AtomicU64,
    /// Frames that told everything.
    pub wholes: AtomicU64,
    /// Streams that were begun.
    pub streams: AtomicU64,
    /// The last revision that holds a report.
    pub reported: AtomicU64,
    /// Frames that did not follow.
    pub gaps: AtomicU64,
    /// Reports that had to be repeated.
    pub again: AtomicU64,
    /// Marked changes heard.
    pub heard: AtomicU64,
    latencies: Mutex<Vec<u32>>,
    all: Frames,
}

impl Counts {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            begun: Instant::now(),
            received: Arc::default(),
            frames: AtomicU64::new(0),
            wholes: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            again: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            latencies: Mutex::new(vec![0; STEPS]),
            all: Frames::default(),
        }
    }

    /// Nanoseconds since it began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn note(&self, sent: u64) {
        self.heard.fetch_add(1, Ordering::Relaxed);
        let step = usize::try_from(self.now().saturating_sub(sent) / 100_000).unwrap_or(STEPS);
        let mut latencies = self
            .latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        latencies[step.min(STEPS - 1)] += 1;
    }

    /// The latency that this part of all were below, milliseconds.
    pub fn percentile(&self, part: f64) -> f64 {
        let latencies = self
            .latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let all: u64 = latencies.iter().map(|count| u64::from(*count)).sum();
        let mut left = (all as f64 * part).ceil() as u64;
        for (step, count) in latencies.iter().enumerate() {
            left = left.saturating_sub(u64::from(*count));
            if left == 0 {
                return (step + 1) as f64 / 10.0;
            }
        }
        STEPS as f64 / 10.0
    }
}

/// A host.
pub struct Host {
    /// Which one.
    pub number: usize,
    server: SocketAddr,
    tls: Arc<ClientConfig>,
    counts: Arc<Counts>,
    connection: watch::Sender<Option<Sender>>,
    /// The state that it knows.
    revision: AtomicU64,
}

impl Host {
    /// Joins, with a connection of a stranger.
    pub async fn join(
        number: usize,
        (server, ca, token): (SocketAddr, &str, &str),
        counts: Arc<Counts>,
    ) -> Outcome<Self> {
        let key = rcgen::KeyPair::generate()?;
        let csr = rcgen::CertificateParams::new(vec![])?.serialize_request(&key)?;
        let request = JoinRequest {
            token: token.into(),
            name: format!("host-{number}"),
            labels: Default::default(),
            address: Some(Ipv4Addr::from(0x0a00_0000 + number as u32).into()),
            csr: csr.pem()?,
            facts: Default::default(),
        };
        let stranger = wire::connect(server, &wire::tls(ca, None)?, &counts.received).await?;
        let answer = wire::whole(&stranger, "/v1/join", serde_json::to_vec(&request)?).await?;
        let answer: JoinAnswer = serde_json::from_slice(&answer)?;
        let shown = Shown {
            certificate: &answer.certificate,
            key: &key.serialize_pem(),
        };
        Ok(Self {
            number,
            server,
            tls: wire::tls(&answer.ca, Some(shown))?,
            counts,
            connection: watch::Sender::new(None),
            revision: AtomicU64::new(0),
        })
    }

    /// Follows the server for ever.
    pub async fn follow(&self) {
        let mut store = String::new();
        let mut pause = Duration::from_millis(250);
        loop {
            let begun = Instant::now();
            // Why it ended matters to the server's figures only.
            self.stream(&mut store).await.ok();
            self.connection.send_replace(None);
            if begun.elapsed() > Duration::from_secs(12) {
                pause = Duration::from_millis(250);
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(Duration::from_secs(15));
        }
    }

    async fn stream(&self, store: &mut String) -> Outcome<()> {
        let sender = wire::connect(self.server, &self.tls, &self.counts.received).await?;
        let path = format!(
            "/v1/agent/stream?instance=i{}&store={store}&revision={}",
            self.number,
            self.known()
        );
        let mut body = wire::ask(&sender, &path, Vec::new()).await?.into_body();
        self.counts.streams.fetch_add(1, Ordering::Relaxed);
        let mut stream = Stream::default();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            stream.take(&data);
            for step in stream.frames(&self.counts.all)? {
                let is_about_state = self.take(&step, store)?;
                if is_about_state && !self.is_following() {
                    self.connection.send_replace(Some(sender.clone()));
                }
            }
        }
        Ok(())
    }

    /// False: it says nothing about the state.
    fn take(&self, step: &Step, store: &mut String) -> Outcome<bool> {
        let (known, counts) = (self.known(), &self.counts);
        let (is_next, revision) = match step {
            Step::Whole {
                store: of,
                revision,
            } => {
                counts.wholes.fetch_add(1, Ordering::Relaxed);
                store.clone_from(of);
                (true, *revision)
            }
            Step::Changes { from, to, marks } => {
                counts.frames.fetch_add(1, Ordering::Relaxed);
                marks.iter().for_each(|sent| counts.note(*sent));
                ((*from..=*to).contains(&known), *to)
            }
            Step::Alive {
                revision,
                store: of,
            } => {
                if let Some(of) = of {
                    store.clone_from(of);
                }
                (*revision <= known, known)
            }
            Step::Other => return Ok(false),
        };
        if !is_next {
            counts.gaps.fetch_add(1, Ordering::Relaxed);
            return Err("a gap".into());
        }
        self.revision.store(revision, Ordering::Relaxed);
        Ok(true)
    }

    /// The state that it knows.
    pub fn known(&self) -> u64 {
        self.revision.load(Ordering::Relaxed)
    }

    /// Whether its stream is open and has told it where it stands.
    pub fn is_following(&self) -> bool {
        self.connection.borrow().is_some()
    }

    /// Reports containers over the open connection; waits for one.
    pub async fn report(&self, whole: bool, containers: Vec<Seen>) -> Outcome<()> {
        let report = Report {
            whole,
            containers,
            ..Report::default()
        };
        let body = serde_json::to_vec(&report)?;
        let begun = Instant::now();
        loop {
            let mut connection = self.connection.subscribe();
            let open = connection.wait_for(Option::is_some);
            let open = tokio::time::timeout(PATIENCE, open).await??.clone();
            let open = open.ok_or("no connection")?;
            match wire::whole(&open, "/v1/agent/report", body.clone()).await {
                Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                Err(_) => {
                    self.counts.again.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                Ok(answer) => {
                    let Reported { revision } = serde_json::from_slice(&answer)?;
                    self.counts.reported.fetch_max(revision, Ordering::Relaxed);
                    return Ok(());
                }
            }
        }
    }

    /// One of its containers, as Docker Compose makes them.
    pub fn container(&self, number: usize, name: String) -> Seen {
        let label =
            |key: &str, value: &str| (format!("com.docker.compose.{key}"), value.to_owned());
        let block = u32::from(Ipv4Addr::new(10, 64, 0, 0)) + (self.number as u32) * 256;
        let address = Ipv4Addr::from(block + 2 + number as u32);
        let [a, b, c, d] = address.octets();
        let docker_id = docker_id(address);
        Seen {
            name,
            status: ContainerStatus {
                image: "registry.example/shop/web:1.25".into(),
                state: ContainerState::Running,
                address: Some(address),
                mac: format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}"),
                hostname: docker_id[..12].to_owned(),
                docker_id,
                labels: [
                    label("project", "shop"),
                    label("service", "web"),
                    label("container-number", "1"),
                ]
                .into(),
                ..ContainerStatus::default()
            },
        }
    }
}

/// 256 bits that cannot be packed, as Docker's are random.
fn docker_id(address: Ipv4Addr) -> String {
    Sha256::digest(address.octets())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
