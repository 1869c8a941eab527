//! The world of these tests: network namespaces with cables between them, servers, and the service itself running in one of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use os_config::Config;
use os_config::types::Interface;
use system_services::network::{Paths, serve};
use tokio::sync::oneshot;

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    assert!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Two namespaces: the machine's, and the world's with a bridge that the machine's cables end at.
pub struct World {
    machine: String,
    outside: String,
    servers: Vec<Child>,
    pub folder: tempfile::TempDir,
}

/// What these tests need and the machine does not have.
fn missing() -> Vec<&'static str> {
    let runs = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let mut missing = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        missing.push("root");
    }
    missing.extend(
        ["ip", "dnsmasq", "dhcpcd"]
            .into_iter()
            .filter(|program| !runs(program)),
    );
    missing
}

impl World {
    /// `None`: a skip.
    pub fn new() -> Option<Self> {
        let missing = missing();
        if !missing.is_empty() {
            assert!(std::env::var_os("CI").is_none(), "missing: {missing:?}");
            eprintln!("skipped: without {missing:?}");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = |side: &str| format!("rostest-{side}-{}-{number}", std::process::id());
        let world = Self {
            machine: name("m"),
            outside: name("o"),
            servers: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
        };
        for space in [&world.machine, &world.outside] {
            run("ip", &["netns", "add", space]);
        }
        world.outside(&["link", "add", "lan", "type", "bridge"]);
        world.outside(&["addr", "add", "10.77.0.1/24", "dev", "lan"]);
        world.outside(&["link", "set", "lan", "up"]);
        Some(world)
    }

    pub fn outside(&self, arguments: &[&str]) -> String {
        run("ip", &[&["-n", &self.outside], arguments].concat())
    }

    pub fn machine(&self, arguments: &[&str]) -> String {
        run("ip", &[&["-n", &self.machine], arguments].concat())
    }

    /// Whether `ip` succeeds in the machine.
    pub fn tries(&self, arguments: &[&str]) -> bool {
        let output = Command::new("ip")
            .args(["-n", &self.machine])
            .args(arguments)
            .output();
        output.is_ok_and(|output| output.status.success())
    }

    /// Plugs a card called `name` in, its cable in the world's bridge.
    pub fn plug(&self, name: &str, mac: &str) {
        let cable = format!("c-{name}");
        let peer = ["type", "veth", "peer", "name", name, "netns", &self.machine];
        let own = ["link", "add", &cable];
        self.outside(&[&own[..], &peer[..]].concat());
        self.machine(&["link", "set", name, "address", mac]);
        self.outside(&["link", "set", &cable, "master", "lan", "up"]);
    }

    pub fn dhcp_server(&mut self) {
        let leases = format!(
            "--dhcp-leasefile={}",
            self.folder.path().join("dns").display()
        );
        let server = Command::new("ip")
            .args(["netns", "exec", &self.outside, "dnsmasq", "--no-daemon"])
            .args(["--port=0", "--conf-file=/dev/null", "--no-ping", &leases])
            .args(["--interface=lan", "--bind-interfaces"])
            .args(["--dhcp-range=10.77.0.100,10.77.0.150,5m"])
            .args(["--dhcp-option=option:router,10.77.0.1"])
            .args(["--dhcp-option=option:dns-server,10.77.0.53"])
            .args(["--dhcp-option=option:domain-name,lan.test"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("dnsmasq is needed");
        self.servers.push(server);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for server in &mut self.servers {
            server.kill().ok();
            server.wait().ok();
        }
        for space in [&self.machine, &self.outside] {
            let pids = run("ip", &["netns", "pids", space]);
            for pid in pids.split_whitespace() {
                Command::new("kill").args(["-9", pid]).status().ok();
            }
            run("ip", &["netns", "del", space]);
        }
    }
}

/// The service running inside the machine's namespace.
pub struct Service {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    folder: PathBuf,
    pub paths: Paths,
}

impl Service {
    pub fn start(world: &World, config: Config) -> Self {
        Self::start_with(world, Arc::new(Mutex::new(config)))
    }

    pub fn start_with(world: &World, config: Arc<Mutex<Config>>) -> Self {
        let folder = world.folder.path().to_path_buf();
        let paths = Paths {
            folder: folder.join("network"),
            etc: folder.join("etc"),
            run: folder.clone(),
            dhcp_hook: Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("base/root/usr/lib/ros/dhcp-hook"),
        };
        fs::create_dir_all(&paths.etc).unwrap();
        fs::remove_file(folder.join("network-done")).ok();
        let space = fs::File::open(format!("/run/netns/{}", world.machine)).unwrap();
        let (stop, stopped) = oneshot::channel();
        let kept = paths.clone();
        let thread = std::thread::spawn(move || {
            // Of this thread only, and of the programs it starts.
            setns(&space, CloneFlags::CLONE_NEWNET).unwrap();
            unshare(CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWNS).unwrap();
            kernel::mount::make_private_recursively("/").unwrap();
            for own in ["/run/dhcpcd", "/var/lib/dhcpcd"] {
                fs::create_dir_all(own).unwrap();
                kernel::mount::tmpfs(own, kernel::mount::Flags::empty(), "mode=0755").unwrap();
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let stop = async {
                stopped.await.ok();
            };
            runtime
                .block_on(serve(&paths, || config.lock().unwrap().clone(), stop))
                .unwrap();
        });
        Self {
            stop: Some(stop),
            thread: Some(thread),
            folder,
            paths: kept,
        }
    }

    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let (Some(stop), Some(thread)) = (self.stop.take(), self.thread.take()) {
            stop.send(()).ok();
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the service failed"
            );
        }
    }

    pub fn is_done(&self) -> bool {
        self.folder.join("network-done").exists()
    }

    pub fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join("etc").join(name)).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits until `look` shows something that `holds`; panics with the last thing seen.
pub fn until(what: &str, look: impl Fn() -> String, holds: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let seen = look();
        if holds(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}; last seen:\n{seen}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn config(entries: Vec<(&str, Interface)>) -> Config {
    let mut config = Config::default();
    config.rancher.network.dhcp_timeout = 15;
    for (name, interface) in entries {
        let interfaces = &mut config.rancher.network.interfaces;
        interfaces.insert(name.to_owned(), interface);
    }
    config
}

pub fn dhcp() -> Interface {
    Interface {
        dhcp: Some(true),
        ..Interface::default()
    }
}

pub fn fixed(address: &str, gateway: Option<&str>) -> Interface {
    Interface {
        address: Some(address.into()),
        gateway: gateway.map(str::to_owned),
        ..Interface::default()
    }
}
