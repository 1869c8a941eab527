//! One host: its file tree, its daemons, its Docker. Owns its namespaces and the processes that were started in them.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use qemu_tests::tool::{Tool, said};
use qemu_tests::wait::{Look, Patience, until};
use qemu_tests::{HarnessError, Result};

use crate::root::Root;
use crate::space::Space;
use crate::stage::Stage;

/// `$1` folder to mount on, `$2` tree, `$3` host name, `$4` the program `ros`. Everything written lies in memory and goes with the namespace.
/// pivot_root, because `docker exec` enters the mount namespace's own root.
const PREPARE: &str = r#"
hostname "$3"
mount -t tmpfs -o mode=755 host "$1"; cd "$1"; mkdir up work root data
mount -t overlay -o "lowerdir=$2,upperdir=up,workdir=work" overlay root; cd root
mount -t proc proc proc; mount -t sysfs sysfs sys; mount --rbind /sys/fs/cgroup sys/fs/cgroup; mount --rbind /dev dev
mount -t tmpfs run run; mount -t tmpfs tmp tmp; mkdir run/harness; mount --bind ../data var/lib/docker
[ -z "$4" ] || mount --bind "$4" usr/local/bin/ros
echo "127.0.1.1 $3" >> etc/hosts
ip link set lo up; echo 1 > /proc/sys/net/ipv4/ip_forward
pivot_root . oldroot; cd /; umount -l /oldroot
PATH=/usr/sbin:/usr/bin"#;
/// Enters the group `$0` and becomes the program that follows.
const IN_GROUP: &str = r#"
g=$(while read what where kind rest; do [ $kind = cgroup2 ] && echo $where; done < /proc/mounts)$0
mkdir -p $g && echo 0 > $g/cgroup.procs && exec "$@""#;
/// All processes but the first, the one that it waits for, and the two that do this; again, for what was being started.
const KILL_ALL: &str = r#"
for round in 1 2 3; do for process in /proc/[0-9]*; do
  p=${process#/proc/}; read name < $process/comm || continue
  case "$p $name" in "1 "* | "$$ "* | "$PPID "* | *" cat") ;; *) kill -9 $p ;; esac
done; done 2>/dev/null
true"#;
/// What the kernel and /run forget in a machine that is switched off, but for the link `eth0`.
const FORGET: &str = r#"
for l in $(ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/\1/'); do case $l in lo | eth0) ;; *) ip link del $l ;; esac; done 2>/dev/null
for f in iptables ip6tables; do for t in filter nat mangle raw; do $f -t $t -F; $f -t $t -X; done; $f -P FORWARD ACCEPT; $f -P INPUT ACCEPT; done
nft flush ruleset 2>/dev/null
ip addr flush dev lo scope link; ip rule flush; ip rule add pref 32766 table main; ip rule add pref 32767 table default
ip route flush table main proto static 2>/dev/null
grep -E '^[^ ]+ /(run|var/lib/docker)/' /proc/mounts | cut -d' ' -f2 | sort -r | while read m; do umount -l "$m"; done
find /run -mindepth 1 -maxdepth 1 ! -name harness -exec rm -rf {} +
true"#;
/// How long daemons may take to start and end on a busy machine.
const DAEMON: Patience = Patience::seconds(60).every(Duration::from_millis(50));

/// How a process is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// SIGTERM: it may tidy up.
    Asked,
    /// SIGKILL.
    Killed,
}

/// What a host is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its host name, at most 13 letters.
    pub name: String,
    /// Its file tree.
    pub root: Root,
    /// The program `ros`, if it has one.
    pub ros: Option<PathBuf>,
}

impl Plan {
    /// A host without `ros`.
    #[must_use]
    pub fn new(name: &str, root: Root) -> Self {
        Self {
            name: name.to_owned(),
            root,
            ros: None,
        }
    }
}

/// A host.
pub struct Node {
    /// Its host name.
    pub name: String,
    /// Its Docker.
    pub root: Root,
    /// Its address in the network between the hosts; unspecified before it is joined to one.
    pub address: Ipv4Addr,
    space: Space,
    cgroup: String,
    logs: PathBuf,
    daemons: Mutex<BTreeMap<String, Child>>,
}

impl Node {
    /// Makes the host; nothing runs on it yet, and its only link is `lo`.
    ///
    /// # Errors
    /// When its tree cannot be made or mounted.
    pub fn start(stage: &Stage, plan: &Plan) -> Result<Self> {
        let tree = plan.root.tree()?;
        let mount = stage.scratch().join(&plan.name);
        std::fs::create_dir_all(&mount).map_err(HarnessError::file("make folder", &mount))?;
        let (mount, tree) = (mount.to_string_lossy(), tree.to_string_lossy());
        let ros = plan.ros.as_ref().map(|file| file.to_string_lossy());
        let args = [&*mount, &*tree, &plan.name, ros.as_deref().unwrap_or("")];
        let log = stage.logs().join(format!("{}.log", plan.name));
        Ok(Self {
            name: plan.name.clone(),
            root: plan.root,
            address: Ipv4Addr::UNSPECIFIED,
            space: Space::hold(PREPARE, &args, &log)?,
            cgroup: format!("/{}/{}", stage.mark(), plan.name),
            logs: stage.logs(),
            daemons: Mutex::default(),
        })
    }

    /// Its namespaces.
    #[must_use]
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Runs a program and returns what it wrote, without blanks at the ends.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let output = self.space.inside(words).output()?;
        self.judge(words, &output)
            .map(|()| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The same for a line of sh.
    ///
    /// # Errors
    /// When it fails.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.run(&["sh", "-c", script])
    }

    /// Runs a program with `input` and returns what it wrote.
    ///
    /// # Errors
    /// When it fails.
    pub fn run_with(&self, words: &[&str], input: &[u8]) -> Result<String> {
        let output = self.space.inside(words).output_with_input(input)?;
        self.judge(words, &output).map(|()| said(&output))
    }

    fn judge(&self, words: &[&str], output: &Output) -> Result<()> {
        if output.status.success() {
            return Ok(());
        }
        Err(HarnessError::Guest {
            command: format!("{}: {}", self.name, words.join(" ")),
            status: output.status.to_string(),
            output: said(output).trim().to_owned(),
        })
    }

    /// A program whose failure is the caller's business.
    #[must_use]
    pub fn tool(&self, words: &[&str]) -> Tool {
        self.space.inside(words)
    }

    /// Runs `docker`.
    ///
    /// # Errors
    /// When it fails.
    pub fn docker(&self, args: &[&str]) -> Result<String> {
        self.run(&[&["docker"], args].concat())
    }

    /// Runs a program in a container.
    ///
    /// # Errors
    /// When it fails.
    pub fn in_container(&self, container: &str, words: &[&str]) -> Result<String> {
        self.docker(&[&["exec", container], words].concat())
    }

    /// Writes a file, and the folders on the way to it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let script = "mkdir -p \"$(dirname \"$1\")\" && cat > \"$1\"";
        self.run_with(&["sh", "-c", script, "sh", file], text.as_bytes())
            .map(drop)
    }

    /// Starts a daemon called `name`; what it says is added to its log.
    ///
    /// # Errors
    /// When the log cannot be written or nsenter is missing.
    pub fn spawn(&self, name: &str, words: &[&str]) -> Result<()> {
        let file = self.log_file(name);
        let log = File::options()
            .create(true)
            .append(true)
            .open(&file)
            .map_err(HarnessError::file("open log", &file))?;
        let errors = log
            .try_clone()
            .map_err(HarnessError::file("open log", &file))?;
        // Its number inside, to kill it by; exec, so that it stays the daemon's.
        let script = format!("echo $$ > /run/harness/{name}; exec \"$@\"");
        let child = Command::new("nsenter")
            .args(self.space.way_in())
            .args(["sh", "-c", &script, name])
            .args(words)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|source| HarnessError::Start {
                program: "nsenter".into(),
                source,
            })?;
        self.daemons().insert(name.to_owned(), child);
        Ok(())
    }

    /// Ends a daemon and waits until it has ended; nothing happens when it does not run.
    ///
    /// # Errors
    /// When it does not end.
    pub fn end(&self, name: &str, how: End) -> Result<()> {
        if !self.runs(name) {
            return Ok(());
        }
        let signal = match how {
            End::Asked => "TERM",
            End::Killed => "KILL",
        };
        let script = format!("kill -{signal} $(cat /run/harness/{name})");
        // It may have ended by itself meanwhile.
        drop(self.tool(&["sh", "-c", &script]).output()?);
        until(&format!("{name} to end"), DAEMON, || {
            Ok(if self.runs(name) {
                Look::NotYet("it runs".into())
            } else {
                Look::Seen(())
            })
        })
    }

    /// Whether a daemon runs.
    #[must_use]
    pub fn runs(&self, name: &str) -> bool {
        let mut daemons = self.daemons();
        let running = daemons
            .get_mut(name)
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)));
        if !running {
            daemons.remove(name);
        }
        running
    }

    /// What a daemon has said so far.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        let bytes = std::fs::read(self.log_file(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Starts containerd and dockerd; [`Node::wait_for_docker`] waits for them.
    ///
    /// # Errors
    /// When they cannot be started.
    pub fn start_docker(&self) -> Result<()> {
        if !self.runs("containerd") {
            self.spawn("containerd", &["containerd", "--log-level=warn"])?;
        }
        let cgroup = format!("--cgroup-parent={}", self.cgroup);
        // As systemd does it: a control group of the second version of its own, beside that of the containers.
        let own_group = format!("{}-engine", self.cgroup);
        let dockerd = [
            "sh",
            "-c",
            IN_GROUP,
            &own_group,
            "dockerd",
            "--containerd=/run/containerd/containerd.sock",
            "--exec-opt=native.cgroupdriver=cgroupfs",
            &cgroup,
        ];
        // What was killed leaves its number, and the next one may have the same.
        self.sh("rm -f /run/docker.pid")?;
        self.spawn("dockerd", &dockerd)
    }

    /// Waits until Docker answers.
    ///
    /// # Errors
    /// When it does not, or has ended.
    pub fn wait_for_docker(&self) -> Result<()> {
        until(&format!("docker on {}", self.name), DAEMON, || {
            let asked = self
                .tool(&["docker", "version", "--format", "{{.Server.Version}}"])
                .output()?;
            if asked.status.success() {
                return Ok(Look::Seen(()));
            }
            if self.runs("dockerd") {
                return Ok(Look::NotYet(said(&asked)));
            }
            Err(HarnessError::Ended {
                what: format!("docker on {}", self.name),
                status: tail(&self.log("dockerd"), 30),
            })
        })
    }

    /// Ends everything on the host and takes away what a start of the machine would: processes, links, addresses, rules, `/run`. What is on its
    /// disk stays.
    ///
    /// # Errors
    /// When a program fails.
    pub fn reboot(&self) -> Result<()> {
        self.sh(KILL_ALL)?;
        let names: Vec<String> = self.daemons().keys().cloned().collect();
        for name in names {
            self.end(&name, End::Killed)?;
        }
        self.sh(FORGET).map(drop)
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{}-{name}.log", self.name))
    }

    fn daemons(&self) -> MutexGuard<'_, BTreeMap<String, Child>> {
        self.daemons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The last lines of a text.
#[must_use]
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
