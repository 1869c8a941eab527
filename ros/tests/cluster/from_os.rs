//! The agent of a RancherOS: joins by itself as the configuration says. It runs in a mount namespace of its own, where `/var/lib/rancher` is a
//! folder of the test.

use std::fs;
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
exec \"$PROGRAM\" agent run --config-from-os --docker /nonexistent --status \"$STATE/status.json\"";

struct Machine {
    state: PathBuf,
    log: PathBuf,
    agent: Child,
}

impl Machine {
    fn start(person: &Person, config: &str) -> Self {
        let (state, log) = (person.path("state"), person.path("log"));
        fs::create_dir_all(state.join("conf")).unwrap();
        fs::write(state.join("conf/cloud-config.yml"), config).unwrap();
        let agent = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT])
            .env("STATE", &state)
            .env("PROGRAM", ROS)
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { state, log, agent }
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
        let pid = Pid::from_raw(i32::try_from(self.agent.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        self.agent.wait().unwrap().code()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.agent.kill().ok();
        self.agent.wait().ok();
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
    let machine = Machine::start(&person, &config(&token));
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
