//! A simulated host: it joins, follows its stream, comes back when that breaks, and reports. It checks that each frame follows the one
//! before, and notes when it hears of a marked change.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::agent::{JoinAnswer, JoinRequest, Report, Seen};
use api::container::{ContainerState, ContainerStatus};
use http_body_util::BodyExt;
use rustls::ClientConfig;
use tokio::sync::watch;

use crate::Outcome;
use crate::wire::{self, Sender, Shown};

/// Before the nanoseconds in the name of a container that is a marked change.
const MARK: &[u8] = b"\"name\":\"chg-";
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
    /// Frames that did not follow.
    pub gaps: AtomicU64,
    /// Reports that had to be repeated.
    pub again: AtomicU64,
    /// Marked changes heard.
    pub heard: AtomicU64,
    /// Whether latencies are noted.
    pub is_noting: AtomicBool,
    latencies: Mutex<Vec<u32>>,
}

impl Counts {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            begun: Instant::now(),
            received: Arc::default(),
            frames: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            again: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            is_noting: AtomicBool::new(false),
            latencies: Mutex::new(vec![0; STEPS]),
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
}

/// Where it stands in the store's numbers.
#[derive(Default)]
struct Known {
    store: String,
    revision: u64,
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
        })
    }

    /// Follows the server for ever.
    pub async fn follow(&self) {
        let mut known = Known::default();
        let mut pause = Duration::from_millis(250);
        loop {
            let begun = Instant::now();
            // Why it ended matters to the server's figures only.
            self.stream(&mut known).await.ok();
            self.connection.send_replace(None);
            if begun.elapsed() > Duration::from_secs(12) {
                pause = Duration::from_millis(250);
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(Duration::from_secs(15));
        }
    }

    async fn stream(&self, known: &mut Known) -> Outcome<()> {
        let sender = wire::connect(self.server, &self.tls, &self.counts.received).await?;
        let path = format!(
            "/v1/agent/stream?instance=i{}&store={}&revision={}",
            self.number, known.store, known.revision
        );
        let mut body = wire::ask(&sender, &path, Vec::new()).await?.into_body();
        self.connection.send_replace(Some(sender));
        let mut waiting: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            let searched = waiting.len();
            waiting.extend_from_slice(&data);
            let mut done = 0;
            let ends: Vec<usize> = (searched..waiting.len())
                .filter(|place| waiting[*place] == b'\n')
                .collect();
            for end in ends {
                self.take(&waiting[done..end], known)?;
                done = end + 1;
            }
            waiting.drain(..done);
        }
        Ok(())
    }

    fn take(&self, line: &[u8], known: &mut Known) -> Outcome<()> {
        let head = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
        let number = |name: &str| -> Outcome<u64> {
            let rest = head.split_once(name).ok_or("no number")?.1;
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            Ok(digits.parse()?)
        };
        if head.starts_with("{\"type\":\"whole\"") {
            let store = head.split('"').nth(7).ok_or("no store")?;
            known.store = store.to_owned();
            known.revision = number("\"revision\":")?;
        } else if head.starts_with("{\"type\":\"changes\"") {
            self.counts.frames.fetch_add(1, Ordering::Relaxed);
            if number("\"from\":")? != known.revision {
                self.counts.gaps.fetch_add(1, Ordering::Relaxed);
                return Err("a gap".into());
            }
            known.revision = number("\"to\":")?;
        }
        if self.counts.is_noting.load(Ordering::Relaxed) {
            self.note_marks(line);
        }
        Ok(())
    }

    fn note_marks(&self, line: &[u8]) {
        let mut rest = line;
        while let Some(place) = rest.windows(MARK.len()).position(|part| part == MARK) {
            rest = &rest[place + MARK.len()..];
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
            self.counts
                .note(digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')));
        }
    }

    /// Whether its stream is open.
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
            let open = connection.wait_for(Option::is_some).await?.clone();
            let open = open.ok_or("no connection")?;
            match wire::whole(&open, "/v1/agent/report", body.clone()).await {
                Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                Err(_) => {
                    self.counts.again.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                Ok(_) => return Ok(()),
            }
        }
    }

    /// One of its containers, as Docker Compose makes them.
    pub fn container(&self, number: usize, name: String) -> Seen {
        let label =
            |key: &str, value: &str| (format!("com.docker.compose.{key}"), value.to_owned());
        let block = u32::from(Ipv4Addr::new(10, 64, 0, 0)) + (self.number as u32) * 256;
        Seen {
            name,
            status: ContainerStatus {
                docker_id: format!("{:032x}{:032x}", self.number, number),
                image: "registry.example/shop/web:1.25".into(),
                state: ContainerState::Running,
                address: Some(Ipv4Addr::from(block + 2 + number as u32)),
                mac: "02:42:0a:2a:03:07".into(),
                hostname: format!("{number:012x}"),
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
