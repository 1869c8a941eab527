//! The server under test, in a process of its own, and what the kernel says of it.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use control_plane::server::{self, Options, StoreOptions};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::Outcome;

/// Set for the process that is to be the server: the file of its store.
pub const STORE: &str = "BENCH_STORE";
/// Where it listens.
const LISTEN: &str = "BENCH_LISTEN";

/// What the server says when it has come up.
#[derive(Debug, Serialize, Deserialize)]
pub struct Up {
    /// Where it listens.
    pub address: SocketAddr,
    /// The administrator's key, in a new store.
    pub key: Option<String>,
    /// The CA's certificate, PEM.
    pub ca: String,
}

/// In the server's process: serves until it is killed.
pub async fn serve(store: &Path) -> Outcome<()> {
    let options = Options {
        listen: std::env::var(LISTEN)?.parse()?,
        names: vec!["127.0.0.1".into()],
        store: StoreOptions::File(store.to_owned()),
    };
    let started = server::start(options, CancellationToken::new()).await?;
    let up = Up {
        address: started.address,
        key: started.admin_key.clone(),
        ca: started.server.authority.certificate().to_owned(),
    };
    println!("{}", serde_json::to_string(&up)?);
    started.ended.await?;
    Ok(())
}

/// A running server; killed when it is dropped.
pub struct Server {
    child: Child,
    /// What it has said.
    pub up: Up,
}

impl Server {
    /// Starts it at `listen` with the store's file `store`.
    pub async fn start(listen: &str, store: &Path) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .env(STORE, store)
            .env(LISTEN, listen)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no output")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        let up = serde_json::from_str(&line.ok_or("the server does not come up")?)?;
        Ok(Self { child, up })
    }

    /// Ends it as a crash would.
    pub async fn kill(&mut self) -> Outcome<()> {
        Ok(self.child.kill().await?)
    }

    fn file(&self, name: &str) -> Outcome<String> {
        let pid = self.child.id().ok_or("the server has ended")?;
        Ok(std::fs::read_to_string(format!("/proc/{pid}/{name}"))?)
    }

    /// Seconds of processor time that it has taken.
    pub fn processor(&self) -> Outcome<f64> {
        seconds(&self.file("stat")?)
    }

    /// Resident memory, now and at most, MiB.
    pub fn memory(&self) -> Outcome<(f64, f64)> {
        let status = self.file("status")?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib: Option<f64> =
                line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            kib.map(|kib| kib / 1024.0).ok_or("status")
        };
        Ok((of("VmRSS:")?, of("VmHWM:")?))
    }
}

/// Seconds of processor time that the simulation has taken.
pub fn own_processor() -> Outcome<f64> {
    seconds(&std::fs::read_to_string("/proc/self/stat")?)
}

fn seconds(stat: &str) -> Outcome<f64> {
    // After the name in brackets: fields 14 and 15 of proc(5), in ticks of 10 ms.
    let rest = stat.rsplit_once(')').ok_or("stat")?.1;
    let ticks: u64 = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap_or(0))
        .sum();
    Ok(ticks as f64 / 100.0)
}
