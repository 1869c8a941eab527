//! One run: hosts join, stand still, change, and come back after the server was killed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use api::Host as Known;
use api::host::HostState;
use api::list::List;
use client::{Client, Identity, Trust};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Outcome;
use crate::figures::Figures;
use crate::host::{Counts, Host};
use crate::process::{Server, own_processor};

/// Containers of a host.
const CONTAINERS: usize = 50;
/// Changes a second.
const RATE: u32 = 100;
/// How long changes go on after the server was killed.
const AFTER: Duration = Duration::from_secs(2);
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
        let (begun, before) = (Instant::now(), (server.processor()?, own_processor()?));
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
        bench.all_told().await?;
        figures.told_s = begun.elapsed().as_secs_f64();
        figures.join_processor_s = bench.server.processor()? - before.0;
        figures.join_simulation_s = own_processor()? - before.1;
        figures.join_bytes_per_host = bench.received() / bench.hosts.len() as f64;
        figures.join_streams = bench.counts.streams.load(Ordering::Relaxed);
        Ok(bench)
    }

    /// Until every host knows what any has reported.
    async fn all_told(&self) -> Outcome<()> {
        let (begun, all) = (Instant::now(), &self.hosts);
        let reported = self.counts.reported.load(Ordering::Relaxed);
        loop {
            let behind = all.iter().filter(|host| host.known() < reported).count();
            if behind == 0 {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("{behind} hosts do not know everything").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
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
        let (processor, bytes) = (self.processors()?, self.received());
        tokio::time::sleep(time).await;
        let seconds = time.as_secs_f64();
        (
            figures.still_processor_percent,
            figures.still_simulation_percent,
        ) = self.percents(processor, seconds)?;
        figures.still_bytes_per_host_s =
            (self.received() - bytes) / seconds / self.hosts.len() as f64;
        (figures.memory_mib, figures.memory_peak_mib) = self.server.memory()?;
        Ok(())
    }

    /// Seconds of processor time: the server's and the simulation's.
    fn processors(&self) -> Outcome<(f64, f64)> {
        Ok((self.server.processor()?, own_processor()?))
    }

    /// What both have taken since, in percent of one processor.
    fn percents(&self, before: (f64, f64), seconds: f64) -> Outcome<(f64, f64)> {
        let (server, simulation) = self.processors()?;
        let percent = |now: f64, before: f64| (now - before) / seconds * 100.0;
        Ok((percent(server, before.0), percent(simulation, before.1)))
    }

    fn received(&self) -> f64 {
        self.counts.received.load(Ordering::Relaxed) as f64
    }

    async fn change(&self, time: Duration, figures: &mut Figures) -> Outcome<()> {
        let counts = &self.counts;
        let (processor, bytes) = (self.processors()?, self.received());
        let frames = counts.frames.load(Ordering::Relaxed);
        let begun = Instant::now();
        figures.changes = self.make_changes(time).await?;
        let seconds = begun.elapsed().as_secs_f64();
        (
            figures.change_processor_percent,
            figures.change_simulation_percent,
        ) = self.percents(processor, seconds)?;
        figures.lost = self.all_heard(figures.changes).await;
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
        Ok(())
    }

    /// Changes names of containers, each to the time at which it is done; gives how many.
    async fn make_changes(&self, time: Duration) -> Outcome<u64> {
        let counts = &self.counts;
        counts.heard.store(0, Ordering::Relaxed);
        let begun = Instant::now();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
        let mut reporting = JoinSet::new();
        let mut number = 0;
        while begun.elapsed() < time {
            ticks.tick().await;
            let host = Arc::clone(&self.hosts[number % self.hosts.len()]);
            let place = number / self.hosts.len() % CONTAINERS;
            number += 1;
            let now = counts.now();
            reporting.spawn(async move {
                let changed = host.container(place, format!("chg-{now}"));
                host.report(false, vec![changed]).await
            });
        }
        while let Some(reported) = reporting.join_next().await {
            reported??;
        }
        Ok(number as u64)
    }

    /// How often a change was not heard of by a host.
    async fn all_heard(&self, changes: u64) -> u64 {
        let expected = changes * self.hosts.len() as u64;
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
        self.until_following(0).await?;
        let counts = Arc::clone(&self.counts);
        let (begun, simulation, bytes) = (Instant::now(), own_processor()?, self.received());
        let wholes = counts.wholes.load(Ordering::Relaxed);
        self.server = Server::start(&listen, &store).await?;
        self.until_following(self.hosts.len()).await?;
        figures.back_s = begun.elapsed().as_secs_f64();
        figures.back_processor_s = self.server.processor()?;
        figures.back_simulation_s = own_processor()? - simulation;
        figures.back_bytes_per_host = (self.received() - bytes) / self.hosts.len() as f64;
        figures.back_wholes = counts.wholes.load(Ordering::Relaxed) - wholes;
        let changes = self.make_changes(AFTER).await?;
        figures.back_lost = self.all_heard(changes).await;
        figures.gaps = counts.gaps.load(Ordering::Relaxed);
        Ok(())
    }

    /// Until so many hosts follow a server.
    async fn until_following(&self, wanted: usize) -> Outcome<()> {
        let (begun, all) = (Instant::now(), &self.hosts);
        loop {
            let count = all.iter().filter(|host| host.is_following()).count();
            if count == wanted {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("{count} hosts follow the server, not {wanted}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
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
