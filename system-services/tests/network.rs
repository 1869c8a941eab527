//! The network service against the kernel: real links in network namespaces, dhcpcd and dnsmasq from Debian.
//!
//! Needs root, `ip`, `dnsmasq` and `dhcpcd`; without them a visible skip, or an error where `CI` is set.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests; clippy knows only functions marked #[test]"
)]

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
use system_services::network::{Paths, reload, serve};
use tokio::sync::oneshot;

static NUMBER: AtomicU32 = AtomicU32::new(0);

fn run(program: &str, arguments: &[&str]) -> String {
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
struct World {
    machine: String,
    outside: String,
    servers: Vec<Child>,
    folder: tempfile::TempDir,
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
    fn new() -> Option<Self> {
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

    fn outside(&self, arguments: &[&str]) -> String {
        run("ip", &[&["-n", &self.outside], arguments].concat())
    }

    fn machine(&self, arguments: &[&str]) -> String {
        run("ip", &[&["-n", &self.machine], arguments].concat())
    }

    /// Plugs a card called `name` in, its cable in the world's bridge.
    fn plug(&self, name: &str, mac: &str) {
        let cable = format!("c-{name}");
        let peer = ["type", "veth", "peer", "name", name, "netns", &self.machine];
        let own = ["link", "add", &cable];
        self.outside(&[&own[..], &peer[..]].concat());
        self.machine(&["link", "set", name, "address", mac]);
        self.outside(&["link", "set", &cable, "master", "lan", "up"]);
    }

    fn dhcp_server(&mut self) {
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
struct Service {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    folder: PathBuf,
    paths: Paths,
}

impl Service {
    fn start(world: &World, config: Config) -> Self {
        Self::start_with(world, Arc::new(Mutex::new(config)))
    }

    fn start_with(world: &World, config: Arc<Mutex<Config>>) -> Self {
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

    fn stop(mut self) {
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

    fn is_done(&self) -> bool {
        self.folder.join("network-done").exists()
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join("etc").join(name)).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits until `look` shows something that `holds`; panics with the last thing seen.
fn until(what: &str, look: impl Fn() -> String, holds: impl Fn(&str) -> bool) -> String {
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

fn config(entries: Vec<(&str, Interface)>) -> Config {
    let mut config = Config::default();
    config.rancher.network.dhcp_timeout = 15;
    for (name, interface) in entries {
        let interfaces = &mut config.rancher.network.interfaces;
        interfaces.insert(name.to_owned(), interface);
    }
    config
}

fn dhcp() -> Interface {
    Interface {
        dhcp: Some(true),
        ..Interface::default()
    }
}

fn fixed(address: &str, gateway: Option<&str>) -> Interface {
    Interface {
        address: Some(address.into()),
        gateway: gateway.map(str::to_owned),
        ..Interface::default()
    }
}

#[test]
fn a_lease_brings_address_route_and_name_servers_quickly() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:77:00:01");
    world.dhcp_server();
    let start = Instant::now();
    let service = Service::start(&world, config(vec![("eth*", dhcp())]));
    until(
        "network-done",
        || service.is_done().to_string(),
        |seen| seen == "true",
    );
    let took = start.elapsed();
    let addresses = world.machine(&["-4", "addr", "show", "dev", "eth0"]);
    assert!(addresses.contains("inet 10.77.0.1"), "{addresses}");
    let routes = world.machine(&["route"]);
    assert_eq!(
        routes.matches("default via 10.77.0.1 dev eth0").count(),
        1,
        "{routes}"
    );
    until(
        "resolv.conf",
        || service.file("resolv.conf"),
        |text| text.ends_with("search lan.test\nnameserver 10.77.0.53\n"),
    );
    assert!(service.file("hosts").contains("127.0.1.1\trancher\n"));
    // No random delay, no ARP probe, no waiting for udev.
    assert!(took < Duration::from_secs(8), "the lease took {took:?}");

    // Stopping the service, as a restart of its container does, leaves the network up.
    service.stop();
    let addresses = world.machine(&["-4", "addr", "show", "dev", "eth0"]);
    assert!(addresses.contains("inet 10.77.0.1"), "{addresses}");
}

#[test]
fn the_users_own_client_arguments_are_used_and_its_leases_count() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:77:07:01");
    world.plug("eth1", "52:54:00:77:07:02");
    world.dhcp_server();
    let own = Interface {
        dhcp_args: Some("dhcpcd -MA4 --clientid=chosen --noipv4ll".into()),
        ..dhcp()
    };
    let service = Service::start(&world, config(vec![("eth0", own), ("eth1", dhcp())]));
    for link in ["eth0", "eth1"] {
        until(
            "a lease",
            || world.machine(&["-4", "addr", "show", "dev", link]),
            |seen| seen.contains("inet 10.77.0.1"),
        );
    }
    until(
        "network-done",
        || service.is_done().to_string(),
        |seen| seen == "true",
    );
    let leases = fs::read_to_string(world.folder.path().join("dns")).unwrap();
    // "chosen", as dnsmasq writes client ids.
    assert!(leases.contains("00:63:68:6f:73:65:6e"), "{leases}");
}

#[test]
fn static_and_dhcp_links_side_by_side_have_ordered_default_routes() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:77:01:01");
    world.plug("eth1", "52:54:00:77:01:02");
    world.dhcp_server();
    let mut settings = config(vec![
        ("eth*", dhcp()),
        (
            "mac:52:54:00:77:01:02",
            fixed("10.78.0.2/24", Some("10.78.0.1")),
        ),
    ]);
    settings.rancher.network.dns.nameservers = vec!["1.1.1.1".into()];
    settings.hostname = Some("web.example.org".into());
    let service = Service::start(&world, settings);
    until(
        "network-done",
        || service.is_done().to_string(),
        |seen| seen == "true",
    );
    let eth1 = world.machine(&["-4", "-o", "addr", "show", "dev", "eth1"]);
    assert_eq!(
        eth1.matches("inet ").count(),
        1,
        "no second address: {eth1}"
    );
    assert!(eth1.contains("10.78.0.2/24"), "{eth1}");
    let routes = until(
        "two default routes",
        || world.machine(&["route", "show", "default"]),
        |seen| seen.lines().count() == 2,
    );
    let first = routes.lines().next().unwrap();
    assert!(
        first.starts_with("default via 10.78.0.1 dev eth1"),
        "{routes}"
    );
    assert!(
        service
            .file("resolv.conf")
            .ends_with("\nnameserver 1.1.1.1\n")
    );
    assert!(
        service
            .file("hosts")
            .contains("127.0.1.1\tweb.example.org web\n")
    );
}

#[test]
fn a_card_plugged_in_later_is_set_up() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.dhcp_server();
    let service = Service::start(
        &world,
        config(vec![
            ("eth*", dhcp()),
            ("eth1", fixed("10.78.0.3/24", None)),
        ]),
    );
    std::thread::sleep(Duration::from_millis(300));
    assert!(!service.is_done(), "done without any link");
    world.plug("eth1", "52:54:00:77:02:02");
    until(
        "the static address",
        || world.machine(&["-4", "addr", "show", "dev", "eth1"]),
        |seen| seen.contains("10.78.0.3/24"),
    );
    world.plug("eth0", "52:54:00:77:02:01");
    until(
        "the lease",
        || world.machine(&["-4", "addr", "show", "dev", "eth0"]),
        |seen| seen.contains("inet 10.77.0.1"),
    );
    until(
        "network-done",
        || service.is_done().to_string(),
        |seen| seen == "true",
    );
}

#[test]
fn a_restart_with_another_configuration_leaves_nothing_behind() {
    let Some(world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:77:03:01");
    let first = Service::start(
        &world,
        config(vec![("eth0", fixed("10.78.0.5/24", Some("10.78.0.1")))]),
    );
    until(
        "network-done",
        || first.is_done().to_string(),
        |seen| seen == "true",
    );
    first.stop();
    world.machine(&["addr", "add", "10.99.0.1/24", "dev", "eth0"]);

    let second = Service::start(
        &world,
        config(vec![("eth0", fixed("10.78.0.6/24", Some("10.78.0.254")))]),
    );
    until(
        "network-done",
        || second.is_done().to_string(),
        |seen| seen == "true",
    );
    let addresses = world.machine(&["-4", "-o", "addr", "show", "dev", "eth0"]);
    assert_eq!(addresses.matches("inet ").count(), 1, "{addresses}");
    assert!(addresses.contains("10.78.0.6/24"), "{addresses}");
    let routes = world.machine(&["route", "show", "default"]);
    assert_eq!(routes.lines().count(), 1, "{routes}");
    assert!(routes.contains("via 10.78.0.254"), "{routes}");
}

#[test]
fn a_changed_configuration_is_taken_up_when_told() {
    let Some(world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:77:06:01");
    let settings = Arc::new(Mutex::new(config(vec![(
        "eth0",
        fixed("10.78.0.5/24", None),
    )])));
    let service = Service::start_with(&world, Arc::clone(&settings));
    until(
        "network-done",
        || service.is_done().to_string(),
        |seen| seen == "true",
    );
    {
        let mut settings = settings.lock().unwrap();
        *settings = config(vec![("eth0", fixed("10.78.0.9/24", None))]);
        settings.hostname = Some("renamed".into());
    }
    reload(&service.paths).unwrap();
    let addresses = until(
        "the new address",
        || world.machine(&["-4", "-o", "addr", "show", "dev", "eth0"]),
        |seen| seen.contains("10.78.0.9/24"),
    );
    assert!(!addresses.contains("10.78.0.5"), "{addresses}");
    until(
        "hosts",
        || service.file("hosts"),
        |text| text.contains("renamed"),
    );
}

#[test]
fn a_cable_pulled_and_put_back_heals() {
    let Some(mut world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:77:04:01");
    world.plug("eth1", "52:54:00:77:04:02");
    world.dhcp_server();
    let service = Service::start(
        &world,
        config(vec![
            ("eth0", dhcp()),
            ("eth1", fixed("10.78.0.7/24", Some("10.78.0.1"))),
        ]),
    );
    let routes = || world.machine(&["route", "show", "default"]);
    until("two default routes", routes, |seen| {
        seen.lines().count() == 2
    });
    for cable in ["c-eth0", "c-eth1"] {
        world.outside(&["link", "set", cable, "down"]);
    }
    std::thread::sleep(Duration::from_millis(500));
    for cable in ["c-eth0", "c-eth1"] {
        world.outside(&["link", "set", cable, "up"]);
    }
    until("both default routes again", routes, |seen| {
        seen.lines()
            .filter(|line| !line.contains("linkdown"))
            .count()
            == 2
    });
    drop(service);
}

#[test]
fn hooks_run_and_a_failing_one_stops_nothing() {
    let Some(world) = World::new() else {
        return;
    };
    world.plug("eth0", "52:54:00:77:05:01");
    let log = Arc::new(Mutex::new(world.folder.path().join("hooks")));
    let note = |text: &str| {
        let path = log.lock().unwrap().display().to_string();
        format!("sh -c 'echo {text} >> {path}'")
    };
    let mut interface = fixed("10.78.0.8/24", None);
    interface.mtu = 1400;
    interface.pre_up = vec![note("pre $iface"), "false".into()];
    interface.post_up = vec![note("post $iface")];
    let mut settings = config(vec![("eth0", interface)]);
    settings.rancher.network.pre_cmds = vec![note("first")];
    settings.rancher.network.post_cmds = vec!["/no/such/program".into(), note("last")];
    let service = Service::start(&world, settings);
    until(
        "network-done",
        || service.is_done().to_string(),
        |seen| seen == "true",
    );
    let text = fs::read_to_string(log.lock().unwrap().as_path()).unwrap();
    assert_eq!(text, "first\npre eth0\npost eth0\nlast\n");
    assert!(
        world
            .machine(&["link", "show", "eth0"])
            .contains("mtu 1400")
    );
}
