//! Hosts as network namespaces on one switch, each with its own dockerd. Owns the namespaces and daemons that it starts, and removes them.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent::Catalog;
use agent::identity::Own;
use agent::overlay::{Network, Options, State, take_down};
use bollard::{API_DEFAULT_VERSION, Docker};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const PATIENCE: Duration = Duration::from_secs(30);

/// Whether this machine can run these tests. A laptop need not; CI must.
pub fn can_run() -> bool {
    let missing = ["ip", "dockerd", "iptables", "nsenter"]
        .into_iter()
        .find(|tool| which(tool).is_none());
    let why = match missing {
        Some(tool) => format!("{tool} is not installed"),
        None if !rustix::process::geteuid().is_root() => "not root".to_owned(),
        None => return true,
    };
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "these tests must run in CI: {why}"
    );
    eprintln!("SKIPPED: {why}");
    false
}

fn which(tool: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .map(|folder| Path::new(folder).join(tool))
        .find(|path| path.exists())
}

/// Runs a program; it must succeed.
pub fn run(line: &str) -> String {
    let mut words = line.split_whitespace();
    let output = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs `work` on a thread of its own in a network namespace.
pub fn within<T: Send + 'static>(space: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let file = File::open(format!("/run/netns/{space}")).unwrap();
    let thread = std::thread::spawn(move || {
        move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&file),
            Some(LinkNameSpaceType::Network),
        )
        .unwrap();
        work()
    });
    match thread.join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// A switch in a namespace of its own.
pub struct Switch {
    pub space: String,
    containers: Vec<String>,
}

impl Switch {
    pub fn new(name: &str) -> Self {
        let space = format!("{name}-sw");
        run(&format!("ip netns add {space}"));
        run(&format!("ip -n {space} link set lo up"));
        run(&format!("ip -n {space} link add sw type bridge"));
        run(&format!(
            "ip -n {space} address add 192.168.77.254/24 dev sw"
        ));
        run(&format!("ip -n {space} link set sw up"));
        Self {
            space,
            containers: Vec::new(),
        }
    }

    /// Something like a container: a namespace whose link is a port of the host's bridge.
    pub fn container(&mut self, host: &Host, address: &str) -> String {
        let (space, number) = (
            format!("{}-c{}", host.space, self.containers.len()),
            self.containers.len(),
        );
        let (gateway, mtu) = (host.gateway(), host.bridge_mtu());
        run(&format!("ip netns add {space}"));
        run(&format!("ip -n {space} link set lo up"));
        run(&format!(
            "ip -n {} link add vc{number} type veth peer name eth0 netns {space}",
            host.space
        ));
        run(&format!(
            "ip -n {} link set vc{number} master ros-br up mtu {mtu}",
            host.space
        ));
        run(&format!("ip -n {space} address add {address}/16 dev eth0"));
        run(&format!("ip -n {space} link set eth0 up mtu {mtu}"));
        run(&format!("ip -n {space} route add default via {gateway}"));
        self.containers.push(space.clone());
        space
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        for space in self.containers.iter().chain([&self.space]) {
            Command::new("ip")
                .args(["netns", "del", space])
                .status()
                .ok();
        }
    }
}

/// A host.
pub struct Host {
    pub space: String,
    pub own: Own,
    pub folder: tempfile::TempDir,
    number: u8,
    dockerd: Option<Child>,
}

impl Host {
    /// Number `number` on `switch`, with a running dockerd.
    pub fn new(switch: &Switch, number: u8) -> Self {
        let space = format!("{}{number}", switch.space);
        run(&format!("ip netns add {space}"));
        run(&format!("ip -n {space} link set lo up"));
        run(&format!(
            "ip -n {} link add p{number} type veth peer name eth0 netns {space}",
            switch.space
        ));
        run(&format!(
            "ip -n {} link set p{number} master sw up",
            switch.space
        ));
        run(&format!(
            "ip -n {space} address add 192.168.77.{number}/24 dev eth0"
        ));
        run(&format!("ip -n {space} link set eth0 up"));
        run(&format!(
            "ip -n {space} route add default via 192.168.77.254"
        ));
        let own = Own {
            host: api::Id::from_bits("h", number.into()),
            name: format!("h{number}"),
            project: api::Id::from_bits("p", 1),
            project_name: "default".into(),
        };
        let mut host = Self {
            space,
            own,
            folder: tempfile::tempdir().unwrap(),
            number,
            dockerd: None,
        };
        host.start_docker();
        host
    }

    pub fn gateway(&self) -> String {
        format!("10.42.{}.1", self.number)
    }

    pub fn bridge_mtu(&self) -> u32 {
        let text = within(&self.space, || run("ip -o link show ros-br"));
        let mut words = text.split_whitespace().skip_while(|word| *word != "mtu");
        words.nth(1).unwrap().parse().unwrap()
    }

    pub fn start_docker(&mut self) {
        let folder = self.folder.path();
        let log = File::create(folder.join("dockerd.log")).unwrap();
        let at = |name: &str| folder.join(name).display().to_string();
        let child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.space))
            .args([
                "dockerd",
                "--data-root",
                &at("data"),
                "--exec-root",
                &at("exec"),
                "--pidfile",
                &at("pid"),
            ])
            .args(["-H", &format!("unix://{}", at("docker.sock"))])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.dockerd = Some(child);
        let until = Instant::now() + PATIENCE;
        let socket = folder.join("docker.sock");
        while !socket.exists() || !self.on(async |docker| docker.ping().await.is_ok()) {
            let log = fs::read_to_string(folder.join("dockerd.log")).unwrap();
            assert!(Instant::now() < until, "dockerd does not answer: {log}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn stop_docker(&mut self) {
        let Some(mut child) = self.dockerd.take() else {
            return;
        };
        // SIGTERM: it ends its containerd, too.
        run(&format!("kill {}", child.id()));
        child.wait().unwrap();
        // As after a crash: the socket is there, and nobody behind it.
        drop(UnixListener::bind(self.folder.path().join("docker.sock")).unwrap());
    }

    fn docker(socket: &str) -> Docker {
        Docker::connect_with_unix(socket, 10, API_DEFAULT_VERSION).unwrap()
    }

    /// Does something with this host's Docker, in its namespace.
    pub fn on<T: Send + 'static>(&self, work: impl AsyncFnOnce(Docker) -> T + Send + 'static) -> T {
        let socket = self.folder.path().join("docker.sock").display().to_string();
        within(&self.space, move || {
            runtime().block_on(async {
                let docker = Self::docker(&socket);
                // One that does not answer is asked all the same.
                let docker = match docker.clone().negotiate_version().await {
                    Ok(negotiated) => negotiated,
                    Err(_) => docker,
                };
                work(docker).await
            })
        })
    }

    /// Sets up what `catalog` wants. Gives the steps that it took, too.
    pub fn settle(&self, catalog: &Catalog) -> (State, usize) {
        let (own, folder, catalog) = (
            self.own.clone(),
            self.folder.path().to_owned(),
            catalog.clone(),
        );
        self.on(async move |docker| {
            let options = Options {
                own,
                folder,
                docker,
            };
            let mut network = Network::new(options).unwrap();
            let state = network.settle(&catalog).await;
            (state, network.steps())
        })
    }

    /// Makes a container that Docker knows to be attached to the network; it never runs.
    pub fn attach(&self) {
        let folder = self.folder.path();
        let tar = folder.join("empty.tar");
        fs::write(&tar, [0; 10_240]).unwrap();
        let docker = format!("docker -H unix://{}", folder.join("docker.sock").display());
        run(&format!("{docker} import {} empty", tar.display()));
        run(&format!(
            "{docker} create --network ros --name attached empty /nothing"
        ));
    }

    pub fn take_down(&self) {
        let folder = self.folder.path().to_owned();
        self.on(async move |docker| take_down(Some(&docker), &folder).await.unwrap());
    }

    /// Runs a program in this host's namespace.
    pub fn run(&self, line: &str) -> String {
        let line = line.to_owned();
        within(&self.space, move || run(&line))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut child) = self.dockerd.take() {
            Command::new("kill")
                .arg(child.id().to_string())
                .status()
                .ok();
            child.wait().ok();
        }
        Command::new("ip")
            .args(["netns", "del", &self.space])
            .status()
            .ok();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Address that `server` sees a TCP connection of `client` come from; `Err`: it does not come through.
pub fn connect(client: &str, server: &str, address: &str) -> Result<Ipv4Addr, String> {
    let address: SocketAddr = format!("{address}:7777").parse().unwrap();
    let listener = within(server, move || TcpListener::bind("0.0.0.0:7777").unwrap());
    listener.set_nonblocking(true).unwrap();
    let connected = within(client, move || {
        TcpStream::connect_timeout(&address, Duration::from_secs(3))
            .map_err(|error| error.to_string())
    });
    connected?;
    match listener.accept().unwrap().1 {
        SocketAddr::V4(from) => Ok(*from.ip()),
        SocketAddr::V6(from) => panic!("{from}"),
    }
}

/// What a question of `client` to `to` (UDP) is answered, when `server` answers on `at`.
pub fn ask(client: &str, to: &str, server: &str, at: &str) -> Option<String> {
    let (to, at) = (to.to_owned(), at.to_owned());
    let listener = within(server, move || UdpSocket::bind(at).unwrap());
    listener
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let asker = within(client, || UdpSocket::bind("0.0.0.0:0").unwrap());
    asker
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    within(client, move || {
        asker.send_to(b"who?", to).unwrap();
        let mut buffer = [0; 64];
        let (length, from) = listener.recv_from(&mut buffer).ok()?;
        assert_eq!(&buffer[..length], b"who?");
        listener
            .send_to(from.ip().to_string().as_bytes(), from)
            .unwrap();
        let length = asker.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    })
}
