//! The metadata service over real sockets: formats and versions as the ancestor's, `self`, waiting, and what must not break it.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::identity::Own;
use agent::{Catalog, metadata};
use api::Id;
use api::agent::{ContainerFact, HostFact, NetworkFact};
use api::container::{ContainerState, Port};
use api::host::HostState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The containers of the tests have loopback addresses, so that a test may speak from them.
const WEB: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 21);
const ALONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 22);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 99);

fn container(number: u64, name: &str) -> ContainerFact {
    ContainerFact {
        id: Id::from_bits("c", number),
        name: name.into(),
        host: Id::from_bits("h", 1),
        address: None,
        state: ContainerState::Running,
        docker_id: format!("{number:064x}"),
        hostname: String::new(),
        mac: String::new(),
        labels: BTreeMap::new(),
        ports: Vec::new(),
        host_network: false,
    }
}

fn labels(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = all
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    owned.collect()
}

fn composed(number: u64, service: &str) -> ContainerFact {
    let count = number.to_string();
    ContainerFact {
        labels: labels(&[
            ("com.docker.compose.project", "Shop"),
            ("com.docker.compose.service", service),
            ("com.docker.compose.container-number", &count),
            ("tier", "front/1 a"),
            ("own", &count),
        ]),
        ..container(number, &format!("Shop-{service}-{number}"))
    }
}

fn own() -> Own {
    Own {
        host: Id::from_bits("h", 1),
        name: "one".into(),
        project: Id::from_bits("p", 1),
        project_name: "Default".into(),
    }
}

fn host(number: u64, name: &str) -> HostFact {
    HostFact {
        id: Id::from_bits("h", number),
        name: name.into(),
        hostname: format!("{name}.example"),
        address: Some(Ipv4Addr::new(192, 0, 2, u8::try_from(number).unwrap()).into()),
        block: None,
        public_key: None,
        labels: labels(&[("zone", "a")]),
        state: HostState::Connected,
    }
}

fn catalog() -> Catalog {
    let port = |host_ip: &str| Port {
        host_ip: host_ip.into(),
        public: 8080,
        private: 80,
        protocol: "tcp".into(),
    };
    let web = ContainerFact {
        address: Some(WEB),
        mac: "02:42:7f:00:00:15".into(),
        hostname: "web".into(),
        ports: vec![port("0.0.0.0"), port("::"), port("127.0.0.1")],
        ..composed(1, "Web")
    };
    let alone = ContainerFact {
        address: Some(ALONE),
        host: Id::from_bits("h", 2),
        ..container(9, "Alone")
    };
    // It had the address before, and is still known.
    let ended = ContainerFact {
        address: Some(ALONE),
        state: ContainerState::Stopped,
        ..container(8, "ended")
    };
    let db = ContainerFact {
        host_network: true,
        ..composed(3, "db")
    };
    let mut once = composed(7, "Web");
    once.labels
        .insert("com.docker.compose.oneoff".into(), "True".into());
    let network = NetworkFact {
        id: Id::from_bits("n", 1),
        name: "ros".into(),
        spec: api::network::NetworkSpec {
            subnet: "127.0.0.0/16".parse().unwrap(),
            ..Default::default()
        },
    };
    let all = [web, composed(2, "Web"), db, alone, ended, once];
    Catalog {
        store: "s".into(),
        revision: 41,
        networks: [(network.id.clone(), network)].into(),
        hosts: [host(1, "one"), host(2, "two")]
            .map(|one| (one.id.clone(), one))
            .into(),
        containers: all.map(|one| (one.id.clone(), one)).into(),
    }
}

struct Service {
    address: SocketAddr,
    catalog: watch::Sender<Arc<Catalog>>,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl Service {
    async fn start(catalog: Catalog) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (catalog, seen) = watch::channel(Arc::new(catalog));
        let stop = CancellationToken::new();
        let ended = tokio::spawn(metadata::serve(listener, own(), seen, stop.clone()));
        Self {
            address,
            catalog,
            stop,
            ended,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Catalog)) {
        self.catalog
            .send_modify(|catalog| change(Arc::make_mut(catalog)));
    }

    async fn connect(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Sends bytes as they are; all that comes back until the connection is closed.
    async fn raw(&self, from: Ipv4Addr, request: &[u8]) -> String {
        let mut stream = self.connect(from).await;
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        // A reset after the answer, because not all was read, is no failure.
        tokio::time::timeout(Duration::from_secs(20), read)
            .await
            .unwrap()
            .ok();
        String::from_utf8(answer).unwrap()
    }

    async fn ask(&self, from: Ipv4Addr, path: &str, accept: &str) -> (u16, String) {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: rancher-metadata\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        );
        let answer = self.raw(from, request.as_bytes()).await;
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("{path}: {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    async fn text(&self, path: &str) -> String {
        let (status, body) = self.ask(WEB, path, "*/*").await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Soon: an arranged catalog is good for a multiple of the time that it took to make.
    async fn becomes(&self, path: &str, wanted: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let last = self.text(path).await;
            if last == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{path}: {last}, not {wanted}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn json(&self, path: &str) -> serde_json::Value {
        let (status, body) = self.ask(WEB, path, "application/json").await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }
}

#[tokio::test]
async fn text_as_the_ancestor_writes_it() {
    let service = Service::start(catalog()).await;
    let lines = |lines: &[&str]| {
        lines
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    let versions = lines(&["2015-07-25", "2015-12-19", "2016-07-29", "latest"]);
    for path in ["/", "//"] {
        assert_eq!(service.text(path).await, versions);
    }
    let root = lines(&[
        "containers/",
        "environment_name",
        "environment_uuid",
        "hosts/",
        "networks/",
        "self/",
        "services/",
        "stacks/",
        "version",
    ]);
    for path in ["/latest", "/latest/", "/2015-07-25", "/2015-12-19//"] {
        assert_eq!(service.text(path).await, root, "{path}");
    }
    for (path, text) in [
        ("/latest/version", "41"),
        ("/latest/environment_name", "Default"),
        ("/latest/self/", "container/\nhost/\nservice/\nstack/\n"),
        ("/latest/self/container/name", "shop-web-1"),
        ("/2015-12-19/self/container/name", "Shop-Web-1"),
        ("/latest/self/container/primary_ip", "127.0.0.21"),
        ("/latest/self/container/ips", "0\n"),
        ("/latest/self/container/ips/0", "127.0.0.21"),
        ("/latest/self/container/health_state", ""),
        ("/latest/self/container/create_index", "1"),
        ("/latest/self/container/system", "false"),
        (
            "/latest/self/container/network_uuid",
            Id::from_bits("n", 1).as_str(),
        ),
        ("/latest/self/container/labels/tier", "front/1 a"),
        ("/latest/self/service/labels", "tier\n"),
        ("/latest/self/service/scale", "2"),
        (
            "/latest/self/service/containers",
            "0=shop-web-1\n1=shop-web-2\n",
        ),
        (
            "/2015-12-19/self/service/containers",
            "0=Shop-Web-1\n1=Shop-Web-2\n",
        ),
        ("/2015-07-25/self/service/containers", "0\n1\n"),
        ("/2015-07-25/self/service/containers/1", "Shop-Web-2"),
        ("/2015-07-25/stacks/Shop/services/0", "Web"),
        ("/latest/stacks", "0=shop\n"),
        ("/latest/stacks/shop/services", "0=web\n1=db\n"),
        (
            "/latest/stacks/shop/services/db/containers/0/service_index",
            "3",
        ),
        ("/latest/services", "0=web\n1=db\n"),
        ("/latest/services/compose:Shop:db/name", "db"),
        (
            "/latest/containers",
            "0=alone\n1=ended\n2=shop-db-3\n3=shop-web-1\n4=shop-web-2\n5=shop-web-7\n",
        ),
        ("/latest/containers/2/uuid", Id::from_bits("c", 3).as_str()),
        ("/latest/containers/SHOP-DB-3/state", "running"),
        (
            "/2015-12-19/containers/Alone/host_uuid",
            Id::from_bits("h", 2).as_str(),
        ),
        ("/latest/containers/alone/service_name", ""),
        ("/latest/containers/shop-db-3/primary_ip", "192.0.2.1"),
        ("/latest/hosts", "0=one\n1=two\n"),
        ("/latest/hosts/two/agent_ip", "192.0.2.2"),
        ("/latest/self/host/hostname", "one.example"),
        ("/latest/networks/ros/metadata/encapsulation", "wireguard"),
    ] {
        assert_eq!(service.text(path).await, text, "{path}");
    }
    let by_uuid = format!("/latest/containers/{}/name", Id::from_bits("c", 9));
    assert_eq!(service.text(&by_uuid).await, "alone");
    let keys = service.text("/latest/containers/0/").await;
    assert!(keys.contains("\nlabels/\nlinks/\nname\n"), "{keys}");
    service.stop.cancel();
    service.ended.await.unwrap();
}

#[tokio::test]
async fn versions_differ_as_the_ancestors() {
    let service = Service::start(catalog()).await;
    let ports = service.json("/latest/self/container/ports").await;
    assert_eq!(
        ports,
        serde_json::json!(["0.0.0.0:8080:80/tcp", "127.0.0.1:8080:80/tcp"])
    );
    for version in ["2015-07-25", "2015-12-19"] {
        let ports = service
            .json(&format!("/{version}/self/container/ports"))
            .await;
        assert_eq!(
            ports,
            serde_json::json!(["127.0.0.1:8080:80/tcp", "192.0.2.1:8080:80/tcp"]),
            "{version}"
        );
    }
    let latest = service.json("/latest").await;
    assert_eq!(latest, service.json("/2016-07-29").await);
    assert_eq!(latest["version"], "41");
    assert_eq!(
        latest["stacks"][0]["services"][0]["containers"][1]["stack_name"],
        "shop"
    );
    assert_eq!(latest["self"]["service"]["uuid"], "compose:Shop:Web");
    let names = service.json("/2015-07-25/services").await;
    assert_eq!(
        names[0]["containers"],
        serde_json::json!(["Shop-Web-1", "Shop-Web-2"])
    );
    let versions = service.json("/").await;
    assert_eq!(versions["2015-12-19"], "/2015-12-19");
    // YAML holds the same.
    let (_, yaml) = service
        .ask(WEB, "/latest", "application/yaml;q=0.9, text/html")
        .await;
    assert_eq!(
        serde_yaml::from_str::<serde_json::Value>(&yaml).unwrap(),
        latest
    );
    let (_, yaml) = service
        .ask(WEB, "/latest/self/container/labels", "text/yaml")
        .await;
    assert!(yaml.contains("tier: front/1 a\n"), "{yaml}");
}

#[tokio::test]
async fn who_asks_is_told_about_itself() {
    let service = Service::start(catalog()).await;
    let own = |from, path| service.ask(from, path, "text/plain");
    // A container of another host, and one that ended and had its address before.
    assert_eq!(
        own(ALONE, "/latest/self/container/name").await,
        (200, "alone".into())
    );
    assert_eq!(
        own(ALONE, "/latest/self/host/name").await,
        (200, "two".into())
    );
    assert_eq!(
        own(ALONE, "/latest/self").await,
        (200, "container/\nhost/\n".into())
    );
    assert_eq!(
        own(ALONE, "/latest/self/service").await,
        (404, "Not found\n".into())
    );
    // Who is no container of the project.
    assert_eq!(own(STRANGER, "/latest/self").await, (200, "host/\n".into()));
    assert_eq!(
        own(STRANGER, "/latest/self/host/name").await,
        (200, "one".into())
    );
    assert_eq!(own(STRANGER, "/latest/self/container").await.0, 404);
    // Before a server has told anything, this host is known by what it joined with.
    let empty = Service::start(Catalog::default()).await;
    assert_eq!(
        empty.ask(STRANGER, "/latest/self/host/name", "").await,
        (200, "one".into())
    );
    assert_eq!(
        empty.ask(STRANGER, "/latest/containers", "").await,
        (200, String::new())
    );
}

#[tokio::test]
async fn refusals() {
    let service = Service::start(catalog()).await;
    for (path, status, body) in [
        ("/latest/nothing", 404, "Not found\n"),
        ("/latest/version/deeper", 404, "Not found\n"),
        ("/latest/containers/6", 404, "Not found\n"),
        ("/latest/containers/-1", 404, "Not found\n"),
        (
            "/latest/containers/99999999999999999999",
            404,
            "Not found\n",
        ),
        ("/latest/../latest", 404, "Not found\n"),
        ("/2014-01-01/self", 404, "Invalid version\n"),
        ("/favicon.ico", 404, "Invalid version\n"),
        ("/latest/%zz", 400, "invalid URL escape \"%zz\"\n"),
        ("/latest/%ff", 400, "invalid URL escape \"%ff\"\n"),
    ] {
        assert_eq!(
            service.ask(WEB, path, "").await,
            (status, body.into()),
            "{path}"
        );
    }
    let (status, body) = service
        .ask(WEB, "/latest/nothing", "application/json")
        .await;
    assert_eq!(
        (status, body.as_str()),
        (
            404,
            "{\"code\":404,\"message\":\"Not found\",\"type\":\"error\"}\n"
        )
    );

    let head = service
        .raw(
            WEB,
            b"HEAD /latest/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        )
        .await;
    let (head, body) = head.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 200") && head.contains("content-length: 2") && body.is_empty(),
        "{head} {body}"
    );
    assert!(head.contains("access-control-allow-origin: *"), "{head}");
    assert!(head.contains("content-type: text/plain"), "{head}");
    let post = service
        .raw(
            WEB,
            b"POST /latest HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert!(
        post.starts_with("HTTP/1.1 405") && post.to_ascii_lowercase().contains("allow: get, head"),
        "{post}"
    );

    // A name alone is an address without a path (RFC 9112, 3.2.3), so it asks for the versions.
    // What is not HTTP, or too much of it, ends its own connection only.
    let long = format!("GET /latest/{} HTTP/1.1\r\n\r\n", "a".repeat(100_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    for (request, statuses) in [
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".as_slice(),
            &["400"][..],
        ),
        (b"GET / HTTP/9.9\r\n\r\n", &["400", "505"]),
        (
            b"GET nonsense HTTP/1.1\r\nConnection: close\r\n\r\n",
            &["200"],
        ),
        (b"\r\n\r\n\0\0\0\0\r\n\r\n", &["400"]),
        (long.as_bytes(), &["431", "414"]),
        (many.as_bytes(), &["431"]),
    ] {
        let answer = service.raw(WEB, request).await;
        let status = answer.split(' ').nth(1).unwrap_or("none");
        assert!(statuses.contains(&status), "{statuses:?}: {answer:?}");
    }
    assert_eq!(service.text("/latest/version").await, "41");
}

/// Time is the test's: it goes on by itself to the next moment that somebody waits for.
#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_closed() {
    let service = Service::start(catalog()).await;
    for begun in [b"".as_slice(), b"GET /latest HTTP/1.1\r\nHost: x\r\n"] {
        let before = tokio::time::Instant::now();
        let mut stream = service.connect(WEB).await;
        stream.write_all(begun).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        let after = before.elapsed();
        assert!(after <= Duration::from_secs(31), "{after:?}");
    }
    // Nor is a connection kept for ever after an answer.
    let mut stream = service.connect(WEB).await;
    stream
        .write_all(b"GET /latest/version HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("\r\n\r\n41"), "{answer}");
}

#[tokio::test]
async fn waiting_ends_with_a_change() {
    let service = Arc::new(Service::start(catalog()).await);
    // Another value than the known one is answered at once.
    let begun = Instant::now();
    assert_eq!(
        service
            .text("/latest/version?wait=true&value=40&maxWait=30")
            .await,
        "41"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    // Nobody waits longer than wished.
    let begun = Instant::now();
    assert_eq!(
        service
            .text("/latest/version?wait=true&value=41&maxWait=1")
            .await,
        "41"
    );
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );

    let waiting = |path: &'static str, accept: &'static str| {
        let service = Arc::clone(&service);
        tokio::spawn(async move { service.ask(WEB, path, accept).await })
    };
    let version = waiting("/latest/version?wait=true&value=41", "");
    let quoted = waiting(
        "/latest/version?wait=true&value=%2241%22",
        "application/json",
    );
    let bare = waiting("/latest/version?wait=true&value=41", "application/json");
    let coming = waiting("/latest/containers/new/name?wait=true&value=", "");
    let folder = waiting("/latest/stacks?wait=true&value=0=shop", "");
    let other = waiting("/latest/containers/alone/state?wait=true&value=running", "");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(
        !version.is_finished() && !folder.is_finished(),
        "they must wait"
    );
    let begun = Instant::now();
    service.change(|catalog| {
        catalog.revision = 42;
        let new = container(50, "new");
        catalog.containers.insert(new.id.clone(), new);
    });
    assert_eq!(version.await.unwrap(), (200, "42".into()));
    assert_eq!(quoted.await.unwrap(), (200, "\"42\"".into()));
    assert_eq!(bare.await.unwrap(), (200, "\"42\"".into()));
    assert_eq!(coming.await.unwrap(), (200, "new".into()));
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    // The change was none of these.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(
        !other.is_finished() && !folder.is_finished(),
        "they must wait"
    );
    service.change(|catalog| {
        let all: Vec<_> = catalog.containers.values().cloned().collect();
        for mut one in all {
            one.state = ContainerState::Stopped;
            one.labels.clear();
            catalog.containers.insert(one.id.clone(), one);
        }
    });
    assert_eq!(other.await.unwrap(), (200, "stopped".into()));
    assert_eq!(folder.await.unwrap(), (200, String::new()));

    // What this host sees by itself, while no server tells of it, is a change, too.
    service.becomes("/latest/version", "42.1").await;
    service.change(|catalog| catalog.containers = Default::default());
    service.becomes("/latest/version", "42.2").await;
    service.change(|catalog| catalog.revision = 43);
    service.becomes("/latest/version", "43").await;
    service.change(|catalog| catalog.revision = 42);

    // The end of the service ends those who wait.
    let last = waiting("/latest/version?wait=true&value=42", "");
    tokio::time::sleep(Duration::from_millis(300)).await;
    service.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), last)
        .await
        .unwrap()
        .ok();
}

#[tokio::test]
async fn one_container_cannot_wait_for_all() {
    let service = Arc::new(Service::start(catalog()).await);
    let mut held = Vec::new();
    for _ in 0..128 {
        let mut stream = service.connect(WEB).await;
        let request = b"GET /latest/version?wait=true&value=41 HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request).await.unwrap();
        held.push(stream);
    }
    let path = "/latest/version?wait=true&value=41&maxWait=1";
    let deadline = Instant::now() + Duration::from_secs(20);
    while service.ask(WEB, path, "").await.0 != 503 {
        assert!(Instant::now() < deadline, "nobody is refused");
    }
    assert_eq!(service.ask(ALONE, path, "").await, (200, "41".into()));
    assert_eq!(
        service.ask(WEB, "/latest/version", "").await,
        (200, "41".into())
    );
    // Who goes away makes room.
    drop(held);
    while service.ask(WEB, path, "").await.0 == 503 {
        assert!(Instant::now() < deadline, "still refused");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_at_once_while_it_changes() {
    let service = Arc::new(Service::start(large()).await);
    let changing = {
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            loop {
                service.change(|catalog| catalog.revision += 1);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..500_u64 {
        let service = Arc::clone(&service);
        tasks.spawn(async move {
            let path = format!("/latest/containers/c{number}/uuid");
            let answer = service.ask(WEB, &path, "").await;
            assert_eq!(answer, (200, Id::from_bits("c", number).to_string()));
        });
    }
    let all = async {
        while let Some(done) = tasks.join_next().await {
            done.unwrap()
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .unwrap();
    changing.abort();
}

#[tokio::test]
async fn who_reads_nothing_holds_little() {
    let service = Service::start(large()).await;
    let whole = service
        .ask(WEB, "/latest", "application/json")
        .await
        .1
        .len();
    // More than all may hold together, were it not for the share of each.
    let count = (64 << 20) / whole + 8;
    let request = b"GET /latest HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = service.connect(WEB).await;
        stream.write_all(request).await.unwrap();
        stream.readable().await.unwrap();
        held.push(stream);
    }
    let refused = service.ask(WEB, "/latest", "application/json").await;
    assert_eq!(refused.0, 503, "{}", refused.1);
    assert!(refused.1.contains("not read"), "{}", refused.1);
    assert_eq!(
        service.ask(ALONE, "/latest", "application/json").await.0,
        200
    );
    // Who goes away makes room.
    drop(held);
    let deadline = Instant::now() + Duration::from_secs(20);
    while service.ask(WEB, "/latest", "application/json").await.0 == 503 {
        assert!(Instant::now() < deadline, "still refused");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn large() -> Catalog {
    let all = (0..10_000).map(|number| container(number, &format!("C{number}")));
    Catalog {
        containers: all.map(|one| (one.id.clone(), one)).collect(),
        ..catalog()
    }
}

#[tokio::test]
async fn a_leaf_of_a_large_project_is_quick() {
    let service = Service::start(large()).await;
    let mut stream = service.connect(WEB).await;
    let mut times = Vec::new();
    for number in 0..300 {
        let path = format!("/latest/containers/c{}/name", number * 33);
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let begun = Instant::now();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut buffer = [0; 2048];
        let length = stream.read(&mut buffer).await.unwrap();
        times.push(begun.elapsed());
        let answer = String::from_utf8_lossy(&buffer[..length]);
        assert!(
            answer.ends_with(&format!("\r\n\r\nc{}", number * 33)),
            "{answer}"
        );
    }
    times.sort_unstable();
    let median = times[times.len() / 2];
    println!("median {median:?}, slowest {:?}", times[times.len() - 1]);
    assert!(
        median < Duration::from_millis(1),
        "median {median:?}, all {times:?}"
    );
}
