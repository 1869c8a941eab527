//! Servers as processes of their own, which can be stopped and killed: the test's program again, told by the environment to serve.
//! A test file that uses this has a test `server_process`, which calls [`serve_if_asked`].
#![allow(dead_code)]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use control_plane::server::{self, Options, StoreOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

const MARK: &str = "SERVER ";

/// What a server says when it has come up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Up {
    pub name: String,
    pub address: String,
    pub admin_key: Option<String>,
    pub ca: String,
}

/// A server in a process of its own, which is killed when this is dropped.
pub struct Process {
    child: Child,
    pub up: Up,
}

impl Process {
    pub async fn start(listen: &str, store: &str) -> Self {
        let begun = std::time::Instant::now();
        loop {
            match Self::attempt(listen, store).await {
                Some(process) => return process,
                None => assert!(
                    begun.elapsed() < Duration::from_secs(30),
                    "no server comes up at {listen} on {store}"
                ),
            }
        }
    }

    async fn attempt(listen: &str, store: &str) -> Option<Self> {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server_process", "--nocapture"])
            .env("SERVER_LISTEN", listen)
            .env("SERVER_STORE", store)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some((_, up)) = line.split_once(MARK) {
                let up = serde_json::from_str(up).unwrap();
                return Some(Self { child, up });
            }
        }
        None
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.up.address)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().unwrap();
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    }

    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// In the process that is to be a server: serves until it is killed.
pub async fn serve_if_asked() {
    let Ok(listen) = std::env::var("SERVER_LISTEN") else {
        return;
    };
    let store = std::env::var("SERVER_STORE").unwrap();
    let store = match store.strip_prefix("etcd=") {
        Some(endpoints) => StoreOptions::Etcd {
            endpoints: endpoints.split(',').map(str::to_owned).collect(),
            certificates: None,
        },
        None => StoreOptions::File(Path::new(&store).to_owned()),
    };
    let options = Options {
        listen: listen.parse().unwrap(),
        names: vec!["127.0.0.1".into()],
        store,
    };
    let started = server::start(options, CancellationToken::new())
        .await
        .unwrap_or_else(|error| panic!("{}", api::problem::chain(&error)));
    let up = Up {
        name: started.server.name.clone(),
        address: started.address.to_string(),
        admin_key: started.admin_key.clone(),
        ca: started.server.authority.certificate().to_owned(),
    };
    println!("{MARK}{}", serde_json::to_string(&up).unwrap());
    started.ended.await.unwrap();
}
