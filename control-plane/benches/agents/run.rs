//! One run: hosts join, stand still, change, and come back after the server was killed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use api::Host as Known;
use api::host::HostState;
use api::list::List;
use client::{Client, Identity, Trust};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Outcome;
use crate::host::{Counts, Host};
use crate::process::Server;

/// Containers of a host.
const CONTAINERS: usize = 50;
/// Changes a second.
const RATE: u32 = 100;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    hosts: usize,
    still: Duration,
    changing: Duration,
}

impl Sizes {
    /// For so many hosts.
    pub fn of(hosts: usize) -> Self {
        Self {
            hosts,
            still: Duration::from_secs(10),
            changing: Duration::from_secs(15),
        }
    }
}

/// What was measured. Times in seconds and milliseconds, memory in MiB, processors in percent of one.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    hosts: usize,
    join_s: f64,
    join_again: u32,
    reports_again: u64,
    join_processor_s: f64,
    reported_s: f64,
    connected_s: f64,
    memory_mib: f64,
    memory_peak_mib: f64,
    still_processor_percent: f64,
    still_bytes_per_host_s: f64,
    changes: u64,
    change_processor_percent: f64,
    change_memory_mib: f64,
    bytes_per_change_per_host: f64,
    frames_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    lost: u64,
    gaps: u64,
    back_s: f64,
    back_processor_s: f64,
}

struct Bench {
    server: Server,
    folder: tempfile::TempDir,
    admin: Client,
    counts: Arc<Counts>,
    hosts: Vec<Arc<Host>>,
    _following: JoinSet<()>,
}

/// Runs it.
pub async fn run(sizes: Sizes) -> Outcome<Figures> {
    let mut figures = Figures {
        hosts: sizes.hosts,
        ..Figures::default()
    };
    let mut bench = Bench::join(sizes, &mut figures).await?;
    bench.stand_still(sizes.still, &mut figures).await?;
    bench.change(sizes.changing, &mut figures).await?;
    bench.lose_the_server(&mut figures).await?;
    Ok(figures)
}

impl Bench {
    async fn join(sizes: Sizes, figures: &mut Figures) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let server = Server::start("127.0.0.1:0", &folder.path().join("store")).await?;
        let key = server.up.key.clone().ok_or("no key")?;
        let admin = admin(&server, key)?;
        let token = prepare(&admin).await?;
        let counts = Arc::new(Counts::new());
        let (begun, before) = (Instant::now(), server.processor()?);
        let mut joining = JoinSet::new();
        for number in 0..sizes.hosts {
            let (address, ca) = (server.up.address, server.up.ca.clone());
            let (token, counts) = (token.clone(), Arc::clone(&counts));
            joining.spawn(async move {
                let mut attempts = 0;
                // As whoever sets machines up would: a machine that is flooded does not answer everybody at once.
                loop {
                    match Host::join(number, (address, &ca, &token), Arc::clone(&counts)).await {
                        Err(_) if attempts < 20 => attempts += 1,
                        outcome => return outcome.map(|host| (host, attempts)),
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            });
        }
        let (mut hosts, mut following) = (Vec::new(), JoinSet::new());
        while let Some(joined) = joining.join_next().await {
            let (host, attempts) = joined??;
            let host = Arc::new(host);
            figures.join_again += attempts;
            let follower = Arc::clone(&host);
            following.spawn(async move { follower.follow().await });
            hosts.push(host);
        }
        figures.join_s = begun.elapsed().as_secs_f64();
        let mut reporting = JoinSet::new();
        for host in &hosts {
            let host = Arc::clone(host);
            reporting.spawn(async move {
                let all = (0..CONTAINERS).map(|n| host.container(n, format!("web-{n}")));
                host.report(true, all.collect()).await
            });
        }
        while let Some(reported) = reporting.join_next().await {
            reported??;
        }
        figures.reported_s = begun.elapsed().as_secs_f64();
        let bench = Self {
            server,
            folder,
            admin,
            counts,
            hosts,
            _following: following,
        };
        bench.all_connected().await?;
        figures.connected_s = begun.elapsed().as_secs_f64();
        figures.join_processor_s = bench.server.processor()? - before;
        Ok(bench)
    }

    async fn all_connected(&self) -> Outcome<()> {
        let begun = Instant::now();
        loop {
            let count = connected(&self.admin).await.unwrap_or(0);
            if count == self.hosts.len() {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("only {count} of {} are connected", self.hosts.len()).into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn stand_still(&self, time: Duration, figures: &mut Figures) -> Outcome<()> {
        // What the storm has left to be told.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (processor, bytes) = (self.server.processor()?, self.received());
        tokio::time::sleep(time).await;
        let seconds = time.as_secs_f64();
        figures.still_processor_percent = (self.server.processor()? - processor) / seconds * 100.0;
        figures.still_bytes_per_host_s =
            (self.received() - bytes) / seconds / self.hosts.len() as f64;
        (figures.memory_mib, figures.memory_peak_mib) = self.server.memory()?;
        Ok(())
    }

    fn received(&self) -> f64 {
        self.counts.received.load(Ordering::Relaxed) as f64
    }

    async fn change(&self, time: Duration, figures: &mut Figures) -> Outcome<()> {
        let counts = &self.counts;
        counts.is_noting.store(true, Ordering::Relaxed);
        let (processor, bytes) = (self.server.processor()?, self.received());
        let frames = counts.frames.load(Ordering::Relaxed);
        let begun = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
        let mut reporting = JoinSet::new();
        while begun.elapsed() < time {
            ticks.tick().await;
            let number = figures.changes as usize;
            figures.changes += 1;
            let host = Arc::clone(&self.hosts[number % self.hosts.len()]);
            let place = number / self.hosts.len() % CONTAINERS;
            let now = counts.now();
            reporting.spawn(async move {
                let changed = host.container(place, format!("chg-{now}"));
                host.report(false, vec![changed]).await
            });
        }
        while let Some(reported) = reporting.join_next().await {
            reported??;
        }
        let seconds = begun.elapsed().as_secs_f64();
        figures.change_processor_percent = (self.server.processor()? - processor) / seconds * 100.0;
        let expected = figures.changes * self.hosts.len() as u64;
        figures.lost = self.all_heard(expected).await;
        let hosts = self.hosts.len() as f64;
        let still = figures.still_bytes_per_host_s * hosts * seconds;
        figures.bytes_per_change_per_host =
            (self.received() - bytes - still) / figures.changes as f64 / hosts;
        let frames = counts.frames.load(Ordering::Relaxed) - frames;
        figures.frames_per_s = frames as f64 / seconds / hosts;
        figures.reports_again = counts.again.load(Ordering::Relaxed);
        figures.change_memory_mib = self.server.memory()?.0;
        figures.p50_ms = counts.percentile(0.5);
        figures.p99_ms = counts.percentile(0.99);
        figures.max_ms = counts.percentile(1.0);
        figures.gaps = counts.gaps.load(Ordering::Relaxed);
        counts.is_noting.store(false, Ordering::Relaxed);
        Ok(())
    }

    async fn all_heard(&self, expected: u64) -> u64 {
        let begun = Instant::now();
        loop {
            let left = expected.saturating_sub(self.counts.heard.load(Ordering::Relaxed));
            if left == 0 || begun.elapsed() > Duration::from_secs(10) {
                return left;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Time until every host follows a server again that was killed and started anew.
    async fn lose_the_server(&mut self, figures: &mut Figures) -> Outcome<()> {
        let listen = self.server.up.address.to_string();
        let store = self.folder.path().join("store");
        self.server.kill().await?;
        while self.hosts.iter().any(|host| host.is_following()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let begun = Instant::now();
        self.server = Server::start(&listen, &store).await?;
        while self.hosts.iter().any(|host| !host.is_following()) {
            if begun.elapsed() > PATIENCE {
                return Err("not all hosts come back".into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        figures.back_s = begun.elapsed().as_secs_f64();
        figures.back_processor_s = self.server.processor()?;
        Ok(())
    }
}

fn admin(server: &Server, key: String) -> Outcome<Client> {
    let url = format!("https://{}", server.up.address);
    Ok(Client::new(
        &url,
        Trust::Ca(server.up.ca.clone()),
        Identity::Key(key),
    )?)
}

/// A network that is large enough, and a token.
async fn prepare(admin: &Client) -> Outcome<String> {
    let path = "/v1/projects/default/networks/ros";
    let network: api::Network = admin.get(path).await?;
    let edit = json!({
        "revision": network.meta.revision,
        "spec": {"subnet": "10.64.0.0/10", "block_prefix": 24, "encapsulation": "vxlan"},
    });
    let _: Value = admin.put(path, &edit).await?;
    let token: api::Token = admin
        .post("/v1/projects/default/tokens", &json!({"name": "bench"}))
        .await?;
    Ok(token.status.token.ok_or("no token")?)
}

async fn connected(admin: &Client) -> Outcome<usize> {
    let (mut count, mut from) = (0, String::new());
    loop {
        let path = format!("/v1/projects/default/hosts?limit=1000{from}");
        let page: List<Known> = admin.get(&path).await?;
        let is_connected = |host: &&Known| host.status.state == HostState::Connected;
        count += page.items.iter().filter(is_connected).count();
        let Some(next) = page.next else {
            return Ok(count);
        };
        from = format!("&continue={next}");
    }
}

/// For people.
pub fn table(all: &[Figures]) {
    let line = |name: &str, of: &dyn Fn(&Figures) -> String| {
        let cells: String = all
            .iter()
            .map(|figures| format!("{:>12}", of(figures)))
            .collect();
        println!("{name:<44}{cells}");
    };
    println!();
    line("hosts, with 50 containers each", &|f| f.hosts.to_string());
    line("all have joined, s", &|f| format!("{:.1}", f.join_s));
    line("  joins and reports that had to be repeated", &|f| {
        format!("{}/{}", f.join_again, f.reports_again)
    });
    line("all containers are reported, s", &|f| {
        format!("{:.1}", f.reported_s)
    });
    line("all are connected, s", &|f| format!("{:.1}", f.connected_s));
    line("  processor for all of it, s", &|f| {
        format!("{:.1}", f.join_processor_s)
    });
    line("standing still: processor, % of one", &|f| {
        format!("{:.1}", f.still_processor_percent)
    });
    line("  memory, MiB", &|f| format!("{:.0}", f.memory_mib));
    line("  memory at its peak, MiB", &|f| {
        format!("{:.0}", f.memory_peak_mib)
    });
    line("  bytes a second to each host", &|f| {
        format!("{:.0}", f.still_bytes_per_host_s)
    });
    line("100 changes/s: processor, % of one", &|f| {
        format!("{:.1}", f.change_processor_percent)
    });
    line("  memory, MiB", &|f| format!("{:.0}", f.change_memory_mib));
    line("  bytes of a change to each host", &|f| {
        format!("{:.0}", f.bytes_per_change_per_host)
    });
    line("  frames a second to each host", &|f| {
        format!("{:.1}", f.frames_per_s)
    });
    line("  known everywhere, median ms", &|f| {
        format!("{:.1}", f.p50_ms)
    });
    line("  known everywhere, p99 ms", &|f| {
        format!("{:.1}", f.p99_ms)
    });
    line("  known everywhere, worst ms", &|f| {
        format!("{:.1}", f.max_ms)
    });
    line("  not heard of / out of order", &|f| {
        format!("{}/{}", f.lost, f.gaps)
    });
    line("server killed: all follow it again, s", &|f| {
        format!("{:.1}", f.back_s)
    });
    line("  processor for it, s", &|f| {
        format!("{:.1}", f.back_processor_s)
    });
    println!();
}
