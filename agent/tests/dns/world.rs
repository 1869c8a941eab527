//! What the tests stand on: our server on ports of the kernel's choice, a catalog to change, a real dnsmasq as the host's resolver. Answers are
//! read by hickory, which shares no line with ours.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::Catalog;
use agent::dns::{self, Files, Settings, Sockets, Stats};
use api::Id;
use api::agent::{ContainerFact, HostFact, NetworkFact};
use api::container::ContainerState;
use api::host::HostState;
use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Longer than any answer takes that comes at all, on a busy machine, too.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Our server.
pub struct Server {
    pub address: SocketAddr,
    pub tcp: SocketAddr,
    pub stats: Arc<Stats>,
    pub folder: tempfile::TempDir,
    catalog: watch::Sender<Arc<Catalog>>,
    stop: CancellationToken,
}

impl Server {
    /// One with `catalog` and a resolv.conf that names `upstream`.
    pub async fn start(catalog: Catalog, upstream: &[SocketAddr]) -> Self {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, tcp_address) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        let (catalog, told) = watch::channel(Arc::new(catalog));
        let settings = Settings::default();
        let server = Self {
            address,
            tcp: tcp_address,
            stats: Arc::clone(&settings.stats),
            folder: tempfile::tempdir().unwrap(),
            catalog,
            stop: CancellationToken::new(),
        };
        server.resolvers(upstream);
        let settings = Settings {
            files: Files {
                main: server.resolv_conf(),
                behind_stub: server.folder.path().join("none"),
            },
            ..settings
        };
        let stop = server.stop.clone();
        tokio::spawn(dns::serve_with(Sockets { udp, tcp }, told, settings, stop));
        server
    }

    fn resolv_conf(&self) -> PathBuf {
        self.folder.path().join("resolv.conf")
    }

    /// Writes the host's resolv.conf.
    pub fn resolvers(&self, upstream: &[SocketAddr]) {
        let lines: String = upstream
            .iter()
            .map(|one| format!("nameserver {one}\n"))
            .collect();
        fs::write(self.resolv_conf(), lines).unwrap();
    }

    pub fn change(&self, change: impl FnOnce(&mut Catalog)) {
        let mut catalog = Catalog::clone(&self.catalog.borrow());
        catalog.revision += 1;
        change(&mut catalog);
        self.catalog.send_replace(Arc::new(catalog));
    }

    pub async fn ask(&self, name: &str, kind: RecordType) -> Message {
        self.send(&query(name, kind)).await
    }

    /// Over UDP.
    pub async fn send(&self, query: &Message) -> Message {
        let answer = self.exchange(&query.to_vec().unwrap()).await;
        let answer = answer.unwrap_or_else(|| panic!("no answer to {query}"));
        let answer = Message::from_vec(&answer).unwrap();
        assert_eq!(answer.metadata.id, query.metadata.id);
        answer
    }

    /// Bytes for bytes. `None`: no answer.
    pub async fn exchange(&self, packet: &[u8]) -> Option<Vec<u8>> {
        self.exchange_from(Ipv4Addr::LOCALHOST, packet).await
    }

    /// The same from an address of our choice.
    pub async fn exchange_from(&self, from: Ipv4Addr, packet: &[u8]) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind((from, 0)).await.unwrap();
        socket.connect(self.address).await.unwrap();
        socket.send(packet).await.unwrap();
        let mut buffer = vec![0; 65_536];
        let length = tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await;
        let length = length.ok()?.unwrap();
        buffer.truncate(length);
        Some(buffer)
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.tcp).await.unwrap()
    }

    pub async fn send_tcp(&self, query: &Message) -> Message {
        let mut stream = self.connect().await;
        write_frame(&mut stream, &query.to_vec().unwrap()).await;
        Message::from_vec(&read_frame(&mut stream).await.unwrap()).unwrap()
    }

    /// Asks until the addresses are these.
    pub async fn until(&self, name: &str, expected: &[&str]) -> Duration {
        let begun = Instant::now();
        loop {
            let found = addresses(&self.ask(name, RecordType::A).await);
            if found == expected {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < PATIENCE, "{name} is still {found:?}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub async fn write_frame(stream: &mut TcpStream, packet: &[u8]) {
    let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
    let frame = [&length[..], packet].concat();
    stream.write_all(&frame).await.unwrap();
}

/// `None`: the connection has ended.
pub async fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = tokio::time::timeout(PATIENCE, stream.read_u16()).await;
    let length = length.expect("neither an answer nor the end").ok()?;
    let mut packet = vec![0; length.into()];
    stream.read_exact(&mut packet).await.unwrap();
    Some(packet)
}

pub fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    // hickory's own reading of a text lowers the case.
    let mut name = Name::from_str(name).unwrap();
    name.set_fqdn(true);
    message.add_query(Query::query(name, kind));
    message
}

pub fn with_edns(mut message: Message, size: u16) -> Message {
    let mut edns = Edns::new();
    edns.set_max_payload(size);
    message.set_edns(edns);
    message
}

/// The addresses of an answer, sorted.
pub fn addresses(message: &Message) -> Vec<String> {
    let mut found: Vec<String> = message
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(address.0.to_string()),
            _ => None,
        })
        .collect();
    found.sort();
    found
}

/// The owner of the SOA record among the authorities.
pub fn zone_of(message: &Message) -> Option<String> {
    let heads = message.authorities.iter();
    let mut heads = heads.filter(|record| record.record_type() == RecordType::SOA);
    heads.next().map(|record| record.name.to_string())
}

/// A catalog with the usual network and two hosts.
pub fn catalog() -> Catalog {
    let mut catalog = Catalog {
        revision: 7,
        ..Catalog::default()
    };
    let network = NetworkFact {
        id: Id::from_bits("n", 1),
        name: "ros".into(),
        spec: api::network::NetworkSpec::default(),
    };
    catalog.networks.insert(network.id.clone(), network);
    for bits in [1, 2] {
        let host = HostFact {
            id: Id::from_bits("h", bits),
            name: format!("h{bits}"),
            hostname: String::new(),
            address: None,
            block: None,
            public_key: None,
            labels: std::collections::BTreeMap::new(),
            state: HostState::Connected,
        };
        catalog.hosts.insert(host.id.clone(), host);
    }
    catalog
}

/// A running container on the host of that number, its address' third octet.
pub fn container(name: &str, host: u64, last: u8) -> ContainerFact {
    let bits = host << 8 | u64::from(last);
    let octet = u8::try_from(host).unwrap();
    ContainerFact {
        id: Id::from_bits("c", bits),
        name: name.into(),
        host: Id::from_bits("h", host),
        address: Some(Ipv4Addr::new(10, 42, octet, last)),
        state: ContainerState::Running,
        docker_id: format!("{bits:012x}{}", "0".repeat(52)),
        hostname: String::new(),
        mac: String::new(),
        labels: std::collections::BTreeMap::new(),
        ports: Vec::new(),
        host_network: false,
    }
}

pub fn in_compose(mut one: ContainerFact, service: &str, project: &str) -> ContainerFact {
    let labels = [("service", service), ("project", project)];
    let labels = labels.map(|(key, value)| (format!("com.docker.compose.{key}"), value.into()));
    one.labels.extend(labels);
    one
}

pub fn put(catalog: &mut Catalog, one: ContainerFact) {
    catalog.containers.insert(one.id.clone(), one);
}

/// A dnsmasq of our own.
pub struct Dnsmasq {
    pub address: SocketAddr,
    child: Child,
}

impl Dnsmasq {
    /// `None`: there is none on this machine, a skip.
    pub fn start(options: &[&str]) -> Option<Self> {
        let probe = Command::new("dnsmasq").arg("--version").output();
        if probe.is_err() {
            assert!(std::env::var_os("CI").is_none(), "missing: dnsmasq");
            eprintln!("skipped: without dnsmasq");
            return None;
        }
        let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut dnsmasq = Self {
            child: Self::run(address, options),
            address,
        };
        dnsmasq.wait();
        Some(dnsmasq)
    }

    fn run(address: SocketAddr, options: &[&str]) -> Child {
        Command::new("dnsmasq")
            .args([
                "--no-daemon",
                "--no-resolv",
                "--no-hosts",
                "--conf-file=/dev/null",
            ])
            .args([
                "--listen-address=127.0.0.1",
                "--bind-interfaces",
                "--pid-file=",
            ])
            .arg(format!("--port={}", address.port()))
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn wait(&mut self) {
        let begun = Instant::now();
        // It listens with TCP last.
        while std::net::TcpStream::connect(self.address).is_err() {
            assert!(begun.elapsed() < PATIENCE, "dnsmasq does not listen");
            assert_eq!(self.child.try_wait().unwrap(), None, "dnsmasq has ended");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
