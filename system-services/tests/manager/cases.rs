//! What is asserted, in one run on one machine: each case begins where the one before ended.

use std::fs;

use crate::machine::{Machine, docker, ended, process, wait};
use crate::{cron, preload, requests};

/// `ntp` comes after `udev`, which is ready late; `once` is waited for; `vols` is a template; `gone` is switched off.
pub const CONFIG: &str = r#"
rancher:
  environment: {VERSION: v9, SUFFIX: ""}
  services_include: {gone: false}
  services:
    udev: {image: i:1, command: "sh -c 'sleep 1; echo > /run/test-udev-done; exec sleep 1000'", net: host, volumes: ['/run:/run', '/usr:/usr:ro'],
      restart: always, labels: {io.rancher.os.scope: system, io.rancher.os.shim: shared, io.rancher.os.ready: /run/test-udev-done}}
    ntp: {image: i:1, command: sleep 1000, net: host, volumes_from: [vols], restart: always, labels: {io.rancher.os.scope: system, io.rancher.os.after: udev}}
    once: {image: i:1, command: "sh -c 'sleep 1; echo did ${VERSION}'", net: host, volumes_from: [vols], labels: {io.rancher.os.scope: system, io.rancher.os.detach: false}}
    console: {image: i:1, command: "sh -c 'trap exit TERM; while :; do sleep 0.1; done'", net: host, volumes_from: [vols],
      labels: {io.rancher.os.scope: system, io.rancher.os.after: once, io.rancher.os.console: default, io.docker.compose.rebuild: always}}
    vols: {image: i:1, volumes: ['/usr:/usr:ro'], labels: {io.rancher.os.scope: system, io.rancher.os.createonly: true}}
    gone: {image: i:1, net: host, labels: {io.rancher.os.scope: system}}
    cloudy: {image: i:1, net: host, labels: {io.rancher.os.scope: system, io.rancher.os.condition: network-datasource}}
    bad: {image: i:1, ports: [http]}
"#;

pub fn run_all() {
    let mut machine = Machine::new(CONFIG);
    case("the project comes up in order", || comes_up(&machine));
    case("what ends is started again", restarts);
    case("the administrator's stop holds", stop_holds);
    case("a killed manager costs nothing", || {
        manager_is_killed(&mut machine)
    });
    case("a killed dockerd costs nothing", || {
        dockerd_is_killed(&mut machine)
    });
    case("a changed definition remakes that container only", || {
        definition_changes(&machine)
    });
    case("a container that Docker lost sight of runs again", || {
        is_lost(&mut machine)
    });
    requests::run_all(&mut machine);
    preload::run_all(&mut machine);
    cron::run_all(&mut machine);
    case("everything stops, the console last", everything_stops);
}

pub fn case(name: &str, run: impl FnOnce()) {
    run();
    println!("test {name} ... ok");
}

fn pids() -> Vec<Option<u32>> {
    ["udev", "ntp", "console"].map(process).to_vec()
}

fn comes_up(machine: &Machine) {
    machine.wait_for_log("RancherOS v9 started");
    let log = machine.log();
    let at = |line: &str| log.find(line).unwrap_or_else(|| panic!("no line {line:?}"));
    assert!(at("[once]: Started") < at("[console]: Starting"));
    assert!(at("[udev]: Started") < at("[ntp]: Starting"));
    assert!(log.contains("Failed loading service bad: rancher.services.bad.ports[0]"));
    assert!(log.contains("[gone]: left out: is disabled"));
    assert_eq!(docker(&["logs", "once"]), "did v9");
    let mut names: Vec<String> = docker(&["ps", "-a", "--format", "{{.Names}}"])
        .lines()
        .map(str::to_owned)
        .collect();
    names.sort();
    names.retain(|name| name != "vols");
    assert_eq!(names, ["console", "ntp", "once", "udev"]);
    wait("the template is made", || {
        docker(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).contains("vols created")
    });
    let began = |name: &str| docker(&["inspect", "-f", "{{.State.StartedAt}}", name]);
    assert!(
        ended("once") < began("console"),
        "the console did not wait for the blocking service"
    );
}

fn restarts() {
    let before = process("ntp");
    docker(&["kill", "ntp"]);
    wait("ntp runs again", || {
        process("ntp").is_some_and(|pid| Some(pid) != before)
    });
}

fn stop_holds() {
    fs::create_dir_all("/run/ros/services/stopped").unwrap();
    fs::write("/run/ros/services/stopped/ntp", "").unwrap();
    docker(&["stop", "-t", "0", "ntp"]);
    // Something else that the manager does afterwards, so that it has had its time.
    let before = process("udev");
    docker(&["kill", "udev"]);
    wait("udev runs again", || {
        process("udev").is_some_and(|pid| Some(pid) != before)
    });
    assert_eq!(process("ntp"), None);
    fs::remove_file("/run/ros/services/stopped/ntp").unwrap();
    docker(&["kill", "udev"]);
    wait("ntp runs again", || process("ntp").is_some());
    wait("udev runs again", || process("udev").is_some());
}

fn manager_is_killed(machine: &mut Machine) {
    let before = pids();
    machine.kill_manager();
    docker(&["kill", "ntp"]);
    wait("the new manager starts ntp", || process("ntp").is_some());
    let after = pids();
    assert_eq!(
        (before[0], before[2]),
        (after[0], after[2]),
        "containers were touched"
    );
    assert_ne!(before[1], after[1]);
    assert_eq!(machine.log().matches("RancherOS v9 started").count(), 1);
}

fn dockerd_is_killed(machine: &mut Machine) {
    let before = pids();
    machine.kill_dockerd();
    assert_eq!(pids(), before, "containers were touched");
    docker(&["kill", "ntp"]);
    wait("the manager goes on", || process("ntp").is_some());
}

fn definition_changes(machine: &Machine) {
    let before = pids();
    machine.configure(
        &CONFIG
            .replace("command: sleep 1000", "command: sleep 1001")
            .replace("after: udev", "after: 'udev,nobody'"),
    );
    wait("ntp has the new command", || {
        docker(&["ps", "--no-trunc", "--format", "{{.Names}} {{.Command}}"])
            .contains("ntp \"sleep 1001\"")
    });
    let after = pids();
    assert_eq!(
        (before[0], before[2]),
        (after[0], after[2]),
        "others were touched"
    );
    machine.wait_for_log("ntp comes after nobody, which does not exist: ignored");
}

fn is_lost(machine: &mut Machine) {
    let before = process("ntp");
    machine.lose("ntp");
    wait("ntp runs again", || {
        process("ntp").is_some_and(|pid| Some(pid) != before)
    });
}

fn everything_stops() {
    system_services::manager::stop_all().unwrap();
    assert_eq!(docker(&["ps", "-q"]), "");
    let console = ended("console");
    for other in ["udev", "ntp"] {
        assert!(ended(other) <= console, "{other} ended after the console");
    }
}
