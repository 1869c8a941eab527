//! The servers, each a process of its own on loopback with the same names and addresses.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::Catalog;
use agent::dns::{Sockets, serve};
use api::Id;
use api::agent::ContainerFact;
use api::container::ContainerState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::NAMES;

pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    /// What every name ends with.
    pub zone: &'static str,
    /// The one that answers, which need not be the child.
    pid: u32,
    child: Child,
}

impl Server {
    /// Processor time until now.
    pub fn cpu(&self) -> Duration {
        cpu_of(self.pid)
    }

    /// Resident memory in MB.
    pub fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<f64>()
            .unwrap()
            / 1000.0
    }

    /// Waits until it answers.
    fn ready(self) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let begun = Instant::now();
        let query = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x02c0\0\0\x01\0\x01";
        loop {
            drop(socket.send_to(query, self.address));
            if socket.recv(&mut [0; 512]).is_ok() {
                return self;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{} does not answer",
                self.name
            );
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.pid != self.child.id() {
            drop(Command::new("kill").arg(self.pid.to_string()).status());
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Processor time of a process until now.
pub fn cpu_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit(')').next().unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = [11, 12].map(|at: usize| fields[at].parse::<u64>().unwrap());
    // A tick is 10 ms on every Linux that Rust runs on (USER_HZ).
    Duration::from_millis(10 * ticks.iter().sum::<u64>())
}

fn address_of(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 42, 0, 10)) + number)
}

fn free() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap()
}

fn is_installed(name: &str, program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        println!("{name:<13} is not installed: left out");
    }
    is_there
}

/// The catalog of [`ours`].
pub fn catalog() -> Catalog {
    let containers = (0..NAMES).map(|number| {
        let one = ContainerFact {
            id: Id::from_bits("c", number.into()),
            name: format!("c{number}"),
            host: Id::from_bits("h", u64::from(number / 50)),
            address: Some(address_of(number)),
            state: ContainerState::Running,
            docker_id: format!("{number:064x}"),
            hostname: format!("{:012x}", 0),
            mac: String::new(),
            labels: std::collections::BTreeMap::new(),
            host_network: false,
            ports: Vec::new(),
        };
        (one.id.clone(), one)
    });
    Catalog {
        containers: containers.collect(),
        ..Catalog::default()
    }
}

/// Serves in this process, for [`ours`]: tells where, and goes on until it is killed.
#[tokio::main]
pub async fn serve_ours() {
    let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", udp.local_addr().unwrap());
    let (_keep, told) = watch::channel(Arc::new(catalog()));
    serve(Sockets { udp, tcp }, told, CancellationToken::new()).await;
}

pub fn ours(_: &Path) -> Option<Server> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("serve")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let output = child.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut line).unwrap();
    let server = Server {
        name: "agent",
        address: line.trim().parse().unwrap(),
        zone: "rancher.internal",
        pid: child.id(),
        child,
    };
    Some(server.ready())
}

pub fn dnsmasq(folder: &Path) -> Option<Server> {
    if !is_installed("dnsmasq", "dnsmasq") {
        return None;
    }
    let hosts = folder.join("hosts");
    let mut text = String::new();
    for number in 0..NAMES {
        writeln!(text, "{} c{number}.rancher.internal", address_of(number)).unwrap();
    }
    fs::write(&hosts, text).unwrap();
    let address = free();
    let child = Command::new("dnsmasq")
        .args([
            "--keep-in-foreground",
            "--no-resolv",
            "--no-hosts",
            "--conf-file=/dev/null",
            "--pid-file=",
        ])
        .args([
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            "--local=/rancher.internal/",
            "--user=root",
        ])
        .arg(format!("--port={}", address.port()))
        .arg(format!("--addn-hosts={}", hosts.display()))
        .spawn()
        .unwrap();
    let server = Server {
        name: "dnsmasq",
        address,
        zone: "rancher.internal",
        pid: child.id(),
        child,
    };
    Some(server.ready())
}

/// It answers the network's own containers only: 127.0.0.1 is one of them.
pub fn aardvark(folder: &Path) -> Option<Server> {
    const PROGRAM: &str = "/usr/lib/podman/aardvark-dns";
    if !is_installed("aardvark-dns", PROGRAM) {
        return None;
    }
    let config = folder.join("aardvark");
    fs::create_dir(&config).unwrap();
    let mut text = String::from("127.0.0.1\n");
    writeln!(text, "{:064x} 127.0.0.1  load", u32::MAX).unwrap();
    for number in 0..NAMES {
        writeln!(text, "{number:064x} {}  c{number}", address_of(number)).unwrap();
    }
    fs::write(config.join("bench"), text).unwrap();
    let address = free();
    let child = Command::new(PROGRAM)
        .arg("--config")
        .arg(&config)
        .args(["--port", &address.port().to_string(), "run"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid_file = config.join("aardvark.pid");
    let begun = Instant::now();
    let pid = loop {
        let text = fs::read_to_string(&pid_file).unwrap_or_default();
        if let Ok(pid) = text.trim().parse() {
            break pid;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "aardvark-dns does not start"
        );
        std::thread::sleep(Duration::from_millis(10));
    };
    let server = Server {
        name: "aardvark-dns",
        address,
        zone: "dns.podman",
        pid,
        child,
    };
    Some(server.ready())
}
