//! The machine that the cases run on: containerd, the system's Docker, one image, the service manager. Lives in its own namespaces, so
//! that ending it ends everything.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const CONTAINERD: &str = "/run/containerd/containerd.sock";
const DOCKER: &str = "unix:///var/run/system-docker.sock";
const CONFIG: &str = "/usr/share/ros/os-config.yml";
const LOG: &str = "/run/manager.log";
const DEADLINE: Duration = Duration::from_secs(60);

pub struct Machine {
    containerd: Child,
    dockerd: Child,
    manager: Child,
}

impl Machine {
    /// Docker runs and has the image `i:1`, which uses this machine's programs; the manager is started with the configuration.
    pub fn new(config: &str) -> Self {
        fs::write(CONFIG, config).unwrap();
        fs::write(
            "/run/containerd.toml",
            "version = 2\nroot = \"/run/containerd/root\"\nstate = \"/run/containerd/state\"\n",
        )
        .unwrap();
        let containerd = start_containerd();
        let dockerd = start_dockerd();
        import_image();
        Self {
            containerd,
            dockerd,
            manager: start_manager(),
        }
    }

    pub fn kill_dockerd(&mut self) {
        self.dockerd.kill().unwrap();
        self.dockerd.wait().unwrap();
        self.dockerd = start_dockerd();
    }

    pub fn kill_manager(&mut self) {
        self.manager.kill().unwrap();
        self.manager.wait().unwrap();
        self.manager = start_manager();
    }

    /// Ends a container behind Docker's back: containerd, the container's shim and its process at once.
    pub fn lose(&mut self, container: &str) {
        let id = docker(&["inspect", "-f", "{{.Id}}", container]);
        let shim = shim_of(&id).expect("its shim runs");
        let pid = process(container).expect("it runs");
        self.containerd.kill().unwrap();
        self.containerd.wait().unwrap();
        run("kill", &["-9", &shim, &pid.to_string()]);
        self.containerd = start_containerd();
    }

    /// Gives the manager another configuration.
    pub fn configure(&self, config: &str) {
        self.write(config);
        run("kill", &["-HUP", &self.manager.id().to_string()]);
    }

    /// Writes another configuration, and tells nobody.
    pub fn write(&self, config: &str) {
        fs::write(CONFIG, config).unwrap();
    }

    pub fn log(&self) -> String {
        fs::read_to_string(LOG).unwrap_or_default()
    }

    /// Waits until the log holds the text.
    pub fn wait_for_log(&self, text: &str) {
        wait(&format!("the log says {text:?}"), || {
            self.log().contains(text)
        });
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the manager's log\n{}", self.log());
        }
        for child in [&mut self.manager, &mut self.dockerd, &mut self.containerd] {
            child.kill().ok();
        }
    }
}

fn start_containerd() -> Child {
    spawn(
        "containerd",
        &["--config", "/run/containerd.toml", "--address", CONTAINERD],
    )
}

/// Process id of the shim that was started for a container.
fn shim_of(id: &str) -> Option<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().into_string().ok());
    numbers.find(|pid| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("containerd-shim") && line.contains(id)
    })
}

fn spawn(program: &str, arguments: &[&str]) -> Child {
    let log = File::create(format!("/run/{program}.log")).unwrap();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    command
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn start_dockerd() -> Child {
    let arguments = [
        "--live-restore",
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--data-root=/var/lib/system-docker",
        "--exec-root=/run/system-docker",
        "--pidfile=/run/system-docker.pid",
        "--cgroup-parent=/ros-manager-test",
        "--containerd-namespace=system",
        &format!("--containerd={CONTAINERD}"),
        &format!("--host={DOCKER}"),
    ];
    wait("containerd listens", || Path::new(CONTAINERD).exists());
    let dockerd = spawn("dockerd", &arguments);
    wait("system-docker answers", || {
        try_docker(&["version"]).is_some()
    });
    dockerd
}

fn start_manager() -> Child {
    let log = File::options().append(true).create(true).open(LOG).unwrap();
    let program = std::env::current_exe().unwrap();
    // Named as on a real machine: `ros service` looks for it by name.
    let mut command = Command::new(program);
    command
        .arg("ros-sysinit")
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    command.spawn().unwrap()
}

/// An image without any file: its containers bind this machine's `/usr`.
fn import_image() {
    fs::create_dir_all("/run/image/usr").unwrap();
    for name in ["bin", "sbin", "lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{name}"), format!("/run/image/{name}")).ok();
    }
    run(
        "sh",
        &[
            "-c",
            &format!("tar -C /run/image -c . | docker -H {DOCKER} import - i:1"),
        ],
    );
}

/// Runs a program that must end well.
pub fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What the docker command prints; `None` when it fails.
pub fn try_docker(arguments: &[&str]) -> Option<String> {
    let output = Command::new("docker")
        .args(["-H", DOCKER])
        .args(arguments)
        .stderr(Stdio::null())
        .output()
        .unwrap();
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What the docker command prints.
pub fn docker(arguments: &[&str]) -> String {
    try_docker(arguments).unwrap_or_else(|| panic!("docker {arguments:?} failed"))
}

/// Id of the process of a running container.
pub fn process(container: &str) -> Option<u32> {
    let pid = try_docker(&["inspect", "-f", "{{.State.Pid}}", container])?
        .parse()
        .ok()?;
    (pid > 0).then_some(pid)
}

/// When the container ended, in nanoseconds; it must have.
pub fn ended(container: &str) -> String {
    docker(&["inspect", "-f", "{{.State.FinishedAt}}", container])
}

/// Waits until it is so; says what was waited for when it does not come.
pub fn wait(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(
            begun.elapsed() < DEADLINE,
            "not within {DEADLINE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
