//! The services of a RancherOS in a cluster, which do as the configuration says: the agent joins by itself, the server keeps its secrets out of
//! the log. Each runs in a mount namespace of its own, where `/var/lib/rancher` is a folder of the test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Child;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::setup::{PATIENCE, Person, ROS, Server};

const SCRIPT: &str = "set -e
mount -t tmpfs tmpfs /var/lib
mkdir /var/lib/rancher
mount --bind \"$STATE\" /var/lib/rancher
exec \"$PROGRAM\" \"$@\"";

struct Machine {
    state: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Machine {
    /// Starts a service with this configuration; what it says goes to a file.
    fn start(person: &Person, config: &str, arguments: &[&str]) -> Self {
        let (state, log) = (person.path("state"), person.path("log"));
        fs::create_dir_all(state.join("conf")).unwrap();
        fs::write(state.join("conf/cloud-config.yml"), config).unwrap();
        let said = fs::File::create(&log).unwrap();
        let child = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount"])
            .args(["sh", "-c", SCRIPT, "sh"])
            .args(arguments)
            .env("STATE", &state)
            .env("PROGRAM", ROS)
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .spawn()
            .unwrap();
        Self { state, log, child }
    }

    fn configure(&self, config: &str) {
        fs::write(self.state.join("conf/cloud-config.yml"), config).unwrap();
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn wait_for(&self, part: &str) {
        let begun = Instant::now();
        while !self.said().contains(part) {
            assert!(
                begun.elapsed() < PATIENCE,
                "no `{part}` in: {}",
                self.said()
            );
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    fn stop(mut self) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_machine_joins_by_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), "127.0.0.1:0");
    let person = Person::admin(&server);
    let (address, token) = (
        server.address().to_owned(),
        server.words("ros agent join")[3].to_owned(),
    );
    let config = |token: &str| {
        format!(
            "rancher:\n  cluster:\n    join: [https://127.0.0.1:1, https://{address}]\n    token: {token}\n    name: web\n    labels: {{zone: a}}\n"
        )
    };

    // The server is not there yet.
    assert_eq!(server.stop(), Some(0));
    let status = person.path("status.json");
    let machine = Machine::start(
        &person,
        &config(&token),
        &[
            "agent",
            "run",
            "--config-from-os",
            "--docker=/nonexistent",
            "--status",
            status.to_str().unwrap(),
        ],
    );
    machine.wait_for("cannot join yet, and goes on trying");
    let _server = Server::start(folder.path(), &address);
    machine.wait_for("this host is `web` (h-");
    person.until(&["hosts"], |said| said.contains("web   connected"));
    let host = person.json(&["hosts", "show", "web"]);
    assert_eq!(host["labels"]["zone"], "a");
    assert_eq!(machine.said().matches("cannot join yet").count(), 1);

    // Who was removed does not come back with the token that it came with, but with another one.
    person.good(&["hosts", "remove", "web"]);
    machine.wait_for("joins again with another token");
    assert!(!person.good(&["hosts"]).contains("web"));
    let other = person.json(&["tokens", "create", "--name", "other"]);
    machine.configure(&config(other["status"]["token"].as_str().unwrap()));
    person.until(&["hosts"], |said| said.contains("web   connected"));

    assert!(!machine.said().contains(&token), "{}", machine.said());
    assert_eq!(machine.stop(), Some(0));
}

#[test]
fn a_server_keeps_its_secrets_out_of_the_log() {
    let person = Person::new();
    let config = "rancher:\n  cluster:\n    server: {listen: '127.0.0.1:0', names: a.example}\n";
    let machine = Machine::start(&person, config, &["server", "--config-from-os"]);
    machine.wait_for("Listening on 127.0.0.1:");
    let said = machine.said();
    assert!(
        said.contains("/var/lib/rancher/server/first-start.txt"),
        "{said}"
    );
    assert!(
        !said.contains("roskey.") && !said.contains("rosjoin."),
        "{said}"
    );
    let greeting = machine.state.join("server/first-start.txt");
    let mode = fs::metadata(&greeting).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let greeting = fs::read_to_string(greeting).unwrap();
    assert!(
        greeting.contains("ros agent join https://a.example:"),
        "{greeting}"
    );
    assert!(greeting.contains("  roskey."), "{greeting}");
    assert_eq!(machine.stop(), Some(0));

    let nothing = Machine::start(&person, "hostname: a\n", &["server", "--config-from-os"]);
    nothing.wait_for("`rancher.cluster.server` is not set");
}
