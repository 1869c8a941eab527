//! Services with a schedule, on the machine of `cases`: started at their times, by a manager that may be killed in between.

use std::fs;

use crate::cases::{CONFIG, case};
use crate::machine::{Machine, docker, try_docker, wait};

/// `tick` also starts like any other, `seldom` does not; `hourly` is only watched.
const SERVICES: &str = r#"
    tick: {image: i:1, command: "sh -c 'echo tick >> /run/ticks; exit 1'", net: host, volumes: ['/usr:/usr:ro', '/run:/run'],
      labels: {io.rancher.os.scope: system, cron.schedule: '*/2 * * * * *'}}
    seldom: {image: i:1, command: "sh -c 'echo seldom >> /run/seldom'", net: host, volumes: ['/usr:/usr:ro', '/run:/run'],
      labels: {io.rancher.os.scope: system, io.rancher.os.createonly: true, cron.schedule: '@every 6s'}}
    hourly: {image: i:1, command: sleep 900, net: host, volumes: ['/usr:/usr:ro'], stop_grace_period: 1,
      labels: {io.rancher.os.scope: system, io.rancher.os.createonly: true, cron.schedule: '@hourly'}}
    never: {image: i:1, command: sleep 901, net: host, volumes: ['/usr:/usr:ro'], stop_grace_period: 1,
      labels: {io.rancher.os.scope: system, cron.schedule: whenever}}
"#;

pub fn run_all(machine: &mut Machine) {
    machine.configure(&format!("{}{SERVICES}", CONFIG.trim_end()));
    case(
        "a schedule starts its service, and nothing else may",
        || starts(machine),
    );
    case("what is stopped has no turn", stopped);
    case("a killed manager forgets no turn", || killed(machine));
    machine.configure(CONFIG);
    for service in ["tick", "seldom", "hourly", "never"] {
        docker(&["rm", "-f", service]);
    }
}

fn lines(file: &str) -> usize {
    fs::read_to_string(file).unwrap_or_default().lines().count()
}

fn state(container: &str) -> Option<String> {
    try_docker(&["inspect", "-f", "{{.State.Status}}", container])
}

fn starts(machine: &Machine) {
    wait("seldom is made", || state("seldom").is_some());
    assert_eq!(lines("/run/seldom"), 0, "it was started before its time");
    wait("seldom had its turn", || lines("/run/seldom") == 1);
    // It fails at each turn, and is started at the next all the same.
    wait("tick had four turns", || lines("/run/ticks") >= 4);
    wait("hourly is made", || state("hourly").is_some());
    assert_eq!(state("hourly").as_deref(), Some("created"));
    machine.wait_for_log("rancher.services.never.labels.cron.schedule: `whenever` is no schedule");
    assert_eq!(state("never").as_deref(), Some("running"));
}

/// Waits for a turn of `seldom`, in which `tick` would have three.
fn let_time_pass() {
    let before = lines("/run/seldom");
    wait("seldom has another turn", || lines("/run/seldom") > before);
}

fn stopped() {
    fs::write("/run/ros/services/stopped/tick", "").unwrap();
    docker(&["stop", "tick"]);
    // A start that was under way.
    let_time_pass();
    let before = lines("/run/ticks");
    let_time_pass();
    assert_eq!(lines("/run/ticks"), before);
    fs::remove_file("/run/ros/services/stopped/tick").unwrap();
    wait("tick has turns again", || lines("/run/ticks") > before);
}

fn killed(machine: &mut Machine) {
    let since = || {
        let text = fs::read("/run/ros/services/cron.json").unwrap();
        let turns: serde_json::Value = serde_json::from_slice(&text).unwrap();
        turns["hourly"]["since"].clone()
    };
    let before = since();
    assert!(before.is_string());
    machine.kill_manager();
    let_time_pass();
    assert_eq!(since(), before);
    assert_eq!(machine.log().matches("RancherOS v9 started").count(), 1);
}
