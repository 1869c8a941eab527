//! Real etcd members on this machine (Debian's etcd-server), each with a folder and ports of its own.
// Each test file uses a part of it.
#![allow(dead_code)]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Members that end with it.
pub struct Cluster {
    members: Vec<Child>,
    /// What starts each, again and again.
    arguments: Vec<Vec<String>>,
    clients: Vec<u16>,
    _folder: tempfile::TempDir,
}

impl Cluster {
    /// Starts `count` members and waits until they answer. `None`: there is no etcd here, which is a failure where `CI` is set.
    pub fn start(count: usize) -> Option<Self> {
        if Command::new("etcd").arg("--version").output().is_err() {
            assert!(
                std::env::var_os("CI").is_none(),
                "these tests need etcd: install etcd-server"
            );
            eprintln!("skipped: there is no etcd; install etcd-server");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        // Held until all are known, so that they differ.
        let held: Vec<TcpListener> = (0..2 * count)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let ports: Vec<u16> = held
            .iter()
            .map(|one| one.local_addr().unwrap().port())
            .collect();
        drop(held);
        let (clients, peers) = ports.split_at(count);
        let all: Vec<String> = peers
            .iter()
            .enumerate()
            .map(|(n, port)| format!("m{n}=http://127.0.0.1:{port}"))
            .collect();
        let arguments: Vec<Vec<String>> = (0..count)
            .map(|n| {
                let (client, peer) = (clients[n], peers[n]);
                let data = folder.path().join(format!("m{n}"));
                vec![
                    format!("--name=m{n}"),
                    format!("--data-dir={}", data.display()),
                    format!("--listen-client-urls=http://127.0.0.1:{client}"),
                    format!("--advertise-client-urls=http://127.0.0.1:{client}"),
                    format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
                    format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
                    format!("--initial-cluster={}", all.join(",")),
                ]
            })
            .collect();
        let cluster = Self {
            members: arguments.iter().map(|one| member(one)).collect(),
            arguments,
            clients: clients.to_vec(),
            _folder: folder,
        };
        cluster.wait();
        Some(cluster)
    }

    /// Until all answer.
    pub fn wait(&self) {
        let begun = Instant::now();
        let health = |port: &u16| {
            let url = format!("127.0.0.1:{port}");
            Command::new("etcdctl")
                .env("ETCDCTL_API", "3")
                .args(["--endpoints", &url, "endpoint", "health"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        while !self.clients.iter().all(health) {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "etcd does not come up"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// As clients name them.
    pub fn endpoints(&self) -> Vec<String> {
        let url = |port: &u16| format!("http://127.0.0.1:{port}");
        self.clients.iter().map(url).collect()
    }

    /// Starts a member again that was killed, with what is on its disk.
    pub fn restart(&mut self, member: usize) {
        self.members[member] = self::member(&self.arguments[member]);
    }

    /// Kills a member with SIGKILL.
    pub fn kill(&mut self, member: usize) {
        self.members[member].kill().unwrap();
        self.members[member].wait().unwrap();
    }
}

fn member(arguments: &[String]) -> Child {
    Command::new("etcd")
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            // Killed ones are gone already.
            member.kill().ok();
            member.wait().ok();
        }
    }
}
