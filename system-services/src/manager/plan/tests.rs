//! Golden plans: what is planned, in which order, and why.

use std::path::PathBuf;

use super::*;
use crate::compose::{Condition, HASH_LABEL};
use crate::manager::observe::Host;
use crate::manager::testing::project;

const SYSTEM: &str = "io.rancher.os.scope: system";

/// A machine that a test changes step by step.
struct Machine {
    desired: Desired,
    observed: Observed,
    history: History,
    busy: BTreeSet<String>,
    now: Duration,
}

impl Machine {
    /// All images are here, nothing has been made.
    fn new(yaml: &str) -> Self {
        let project = project(&yaml.replace("SYSTEM", SYSTEM));
        let graph = super::super::graph::Graph::new(&project);
        let images = [("i:latest".to_owned(), "sha256:i".to_owned())].into();
        Self {
            desired: Desired {
                project,
                graph,
                ..Desired::default()
            },
            observed: Observed {
                system: Host {
                    images,
                    ..Host::default()
                },
                boot: "now".into(),
                processors: MANY_PROCESSORS,
                ..Observed::default()
            },
            history: History::default(),
            busy: BTreeSet::new(),
            now: HEAD_START,
        }
    }

    fn plan(&self) -> Plan {
        plan(
            &self.desired,
            &self.observed,
            &self.history,
            &self.busy,
            self.now,
        )
    }

    fn text(&self) -> Vec<String> {
        let plan = self.plan();
        let steps = plan.steps.iter().map(ToString::to_string);
        steps
            .chain(
                plan.standing
                    .iter()
                    .map(|(name, standing)| format!("{name} {standing}")),
            )
            .collect()
    }

    fn container(&self, service: &str, state: State) -> Container {
        let definition = &self.desired.project.services[service];
        Container {
            id: format!("{service}-id"),
            state,
            image_id: "sha256:i".into(),
            hash: definition.body.labels.as_ref().unwrap()[HASH_LABEL].clone(),
            boot: "now".into(),
            console: definition.os.console.clone(),
        }
    }

    /// The service has been started in this boot and is in `state`.
    fn started(&mut self, service: &str, state: State) -> &mut Container {
        self.observed
            .marks
            .ran
            .insert(service.into(), format!("{service}-id"));
        self.there(service, state)
    }

    /// The service has a container.
    fn there(&mut self, service: &str, state: State) -> &mut Container {
        let container = self.container(service, state);
        self.observed
            .system
            .containers
            .entry(service.into())
            .insert_entry(container)
            .into_mut()
    }
}

#[test]
fn what_is_independent_starts_at_once_and_what_people_wait_for_first() {
    let mut machine = Machine::new(
        "
        udev: {image: i, labels: {SYSTEM}}
        ntp: {image: i, labels: {SYSTEM, io.rancher.os.after: udev}}
        syslog: {image: i, labels: {SYSTEM}}
        network: {image: i, labels: {SYSTEM}}
        console: {image: i, labels: {SYSTEM}}
        docker: {image: i, labels: {SYSTEM, io.rancher.os.ready: /run/docker-done}}
        web: {image: i}
    ",
    );
    machine.now = Duration::ZERO;
    machine.observed.processors = 2;
    let web = "web waiting: waits until docker answers";
    let ntp = "ntp waiting: waits until udev has started";
    assert_eq!(
        machine.text(),
        [
            "create docker: has no container",
            ntp,
            web,
            "network waiting: lets docker start first",
            "console waiting: lets docker start first",
            "udev waiting: lets docker start first",
            "syslog waiting: lets docker start first",
        ]
    );
    assert!(!machine.plan().up);

    machine.started("docker", State::Running);
    let held = [
        "create network: has no container",
        "create console: has no container",
        ntp,
        "docker well",
        web,
        "udev waiting: lets network start first",
        "syslog waiting: lets network start first",
    ];
    assert_eq!(machine.text(), held);

    machine.started("network", State::Running);
    machine.started("console", State::Running);
    let syslog = "syslog waiting: lets docker start first".to_owned();
    assert!(machine.text().contains(&syslog));
    machine.observed.ready.insert("/run/docker-done".into());
    machine.observed.fresh.insert("/run/docker-done".into());
    assert!(machine.text().contains(&syslog));
    machine.observed.fresh.clear();
    assert_eq!(machine.text()[0], "create udev: has no container");
    let syslog = "syslog waiting: lets others start first".to_owned();
    assert!(machine.text().contains(&syslog));
    machine.busy.insert("udev".into());
    assert!(machine.text().contains(&syslog));
    assert_eq!(machine.plan().steps, []);

    machine.busy.clear();
    machine.observed.ready.clear();
    assert_eq!(machine.plan().wake, Some(HEAD_START));
    let all = [
        "create udev: has no container",
        "create syslog: has no container",
    ];
    machine.now = HEAD_START;
    assert_eq!(machine.text()[..2], all);
}

#[test]
fn with_many_processors_nothing_waits_for_one() {
    let mut machine = Machine::new(
        "
        syslog: {image: i, labels: {SYSTEM}}
        docker: {image: i, labels: {SYSTEM, io.rancher.os.ready: /run/docker-done}}
        acpid: {image: i, labels: {SYSTEM}}
    ",
    );
    machine.now = Duration::ZERO;
    machine.observed.processors = 2;
    assert_eq!(machine.plan().steps.len(), 1);
    machine.observed.processors = MANY_PROCESSORS;
    assert_eq!(
        machine.text(),
        [
            "create docker: has no container",
            "create syslog: has no container",
            "create acpid: has no container",
        ]
    );
}

#[test]
fn readiness_files_release_what_comes_after() {
    let mut machine = Machine::new(
        "
        network: {image: i, labels: {SYSTEM, io.rancher.os.ready: /run/network-done}}
        ntp: {image: i, labels: {SYSTEM, io.rancher.os.after: network}}
    ",
    );
    machine.started("network", State::Running);
    machine.history.started("network", Duration::from_secs(5));
    assert_eq!(
        machine.text(),
        ["network well", "ntp waiting: waits until network is ready"]
    );
    assert_eq!(machine.plan().wake, Some(Duration::from_secs(125)));

    machine.now = Duration::from_secs(125);
    assert_eq!(
        machine.text(),
        ["create ntp: has no container", "network well"]
    );

    machine.now = Duration::from_secs(6);
    machine
        .observed
        .ready
        .insert(PathBuf::from("/run/network-done"));
    assert_eq!(
        machine.text(),
        ["create ntp: has no container", "network well"]
    );
}

#[test]
fn a_blocking_service_is_waited_for_until_it_ends() {
    let mut machine = Machine::new("
        once: {image: i, labels: {SYSTEM, io.rancher.os.detach: false, io.rancher.os.reloadconfig: true}}
        next: {image: i, labels: {SYSTEM, io.rancher.os.after: once}}
    ");
    machine.started("once", State::Running);
    assert_eq!(machine.plan().reload_after, Vec::<String>::new());
    assert_eq!(
        machine.text(),
        ["once well", "next waiting: waits until once has finished"]
    );
    machine.started("once", State::Exited { code: 3 });
    assert_eq!(
        machine.text(),
        [
            "create next: has no container",
            "once failed: ended with code 3"
        ]
    );
    machine.started("once", State::Exited { code: 0 });
    assert_eq!(
        machine.text(),
        ["create next: has no container", "once well"]
    );
    assert_eq!(machine.plan().reload_after, ["once"]);
}

#[test]
fn containers_of_an_earlier_boot_are_started_again() {
    let mut machine = Machine::new("
        ntp: {image: i, labels: {SYSTEM}}
        console: {image: i, labels: {SYSTEM, io.rancher.os.console: default, io.docker.compose.rebuild: always}}
    ");
    machine.there("ntp", State::Exited { code: 0 }).boot = "before".into();
    machine.there("console", State::Exited { code: 0 }).boot = "before".into();
    assert_eq!(
        machine.text(),
        [
            "recreate console: is made anew at each boot",
            "start ntp: was not started in this boot"
        ]
    );
}

#[test]
fn a_changed_definition_or_image_makes_the_container_anew() {
    let mut machine = Machine::new(
        "
        hash: {image: i, labels: {SYSTEM}}
        image: {image: i, labels: {SYSTEM}}
        never: {image: i, labels: {SYSTEM, io.docker.compose.rebuild: 'false'}}
        console: {image: i, labels: {SYSTEM, io.rancher.os.console: default}}
        forced: {image: i, labels: {SYSTEM}}
    ",
    );
    machine.started("hash", State::Running).hash = "other".into();
    machine.started("image", State::Running).image_id = "sha256:other".into();
    machine.started("never", State::Running).hash = "other".into();
    machine.started("console", State::Running).hash = "other".into();
    machine.started("forced", State::Running);
    machine.observed.marks.recreate.insert("forced".into());
    assert_eq!(
        machine.text(),
        [
            "recreate hash: its definition changed",
            "recreate image: its image changed",
            "recreate forced: is to be made anew",
            "never well",
            "console well",
        ]
    );
    machine.started("console", State::Running).console = Some("alpine".into());
    assert!(
        machine
            .text()
            .contains(&"recreate console: another console was chosen".to_owned())
    );
}

#[test]
fn what_ended_is_restarted_by_its_policy_and_not_too_soon() {
    let mut machine = Machine::new(
        "
        always: {image: i, restart: always, labels: {SYSTEM}}
        failing: {image: i, restart: 'on-failure:2', labels: {SYSTEM}}
        plain: {image: i, labels: {SYSTEM}}
    ",
    );
    for service in ["always", "failing", "plain"] {
        machine.started(service, State::Exited { code: 1 });
        machine.history.started(service, Duration::ZERO);
    }
    machine
        .history
        .note_exits(&machine.observed, Duration::from_secs(1));
    machine.now = Duration::from_secs(1);
    let plain = "plain failed: ended with code 1";
    assert_eq!(
        machine.text(),
        [
            "always failed: ended with code 1",
            "failing failed: ended with code 1",
            plain
        ]
    );
    assert_eq!(machine.plan().wake, Some(Duration::from_millis(1200)));

    machine.now = Duration::from_millis(1200);
    assert_eq!(
        machine.text(),
        [
            "start always: ended with code 1",
            "start failing: ended with code 1",
            plain
        ]
    );

    for second in [2, 3] {
        machine.history.started("failing", machine.now);
        machine
            .history
            .note_exits(&machine.observed, Duration::from_secs(second));
    }
    machine.now = Duration::from_secs(60);
    assert_eq!(
        machine.text(),
        [
            "start always: ended with code 1",
            "failing failed: ended with code 1",
            plain
        ]
    );
}

#[test]
fn a_container_without_its_process_is_settled() {
    let mut machine = Machine::new("ntp: {image: i, restart: always, labels: {SYSTEM}}");
    machine.started("ntp", State::Lost);
    assert_eq!(
        machine.text(),
        ["settle ntp: its process is gone, though Docker says that it runs"]
    );
}

#[test]
fn the_administrators_stop_holds_and_blocks_nobody() {
    let mut machine = Machine::new(
        "
        ntp: {image: i, restart: always, labels: {SYSTEM}}
        next: {image: i, labels: {SYSTEM, io.rancher.os.after: ntp}}
    ",
    );
    machine.started("ntp", State::Exited { code: 0 });
    machine.observed.marks.stopped.insert("ntp".into());
    assert_eq!(
        machine.text(),
        [
            "create next: has no container",
            "ntp out: was stopped by the administrator"
        ]
    );
}

#[test]
fn a_disabled_service_is_left_alone_and_blocks_nobody() {
    let mut machine = Machine::new(
        "
        ntp: {image: i, restart: always, labels: {SYSTEM}}
        next: {image: i, labels: {SYSTEM, io.rancher.os.after: ntp}}
    ",
    );
    machine.desired.disabled.insert("ntp".into());
    assert_eq!(
        machine.text(),
        ["create next: has no container", "ntp out: is disabled"]
    );
}

#[test]
fn a_missing_image_waits_for_the_network_and_blocks_nobody() {
    let mut machine = Machine::new(
        "
        network: {image: i, labels: {SYSTEM, io.rancher.os.ready: /run/network-done}}
        agent: {image: far/away, labels: {SYSTEM}}
        next: {image: i, labels: {SYSTEM, io.rancher.os.after: agent}}
    ",
    );
    machine.started("network", State::Running);
    let waits = "next waiting: waits until agent has started";
    assert_eq!(
        machine.text(),
        [
            "network well",
            "agent waiting: image far/away is not here; waits until network is ready",
            waits
        ]
    );

    machine
        .observed
        .ready
        .insert(PathBuf::from("/run/network-done"));
    assert_eq!(
        machine.text(),
        [
            "pull agent: image far/away is not here",
            "network well",
            waits
        ]
    );

    machine
        .history
        .failed("agent", machine.now, "no route".into());
    assert_eq!(
        machine.text(),
        [
            "create next: has no container",
            "network well",
            "agent failed: no route"
        ]
    );
}

#[test]
fn a_missing_image_with_the_right_container_is_not_fetched() {
    let mut machine = Machine::new("agent: {image: far/away, labels: {SYSTEM}}");
    machine.there("agent", State::Exited { code: 0 });
    assert_eq!(
        machine.text(),
        ["start agent: was not started in this boot"]
    );
}

#[test]
fn hard_dependencies_are_waited_for_though_they_fail() {
    let mut machine = Machine::new(
        "
        base: {image: far/away, labels: {SYSTEM}}
        side: {image: i, net: 'container:base', labels: {SYSTEM}}
    ",
    );
    machine
        .history
        .failed("base", machine.now, "no route".into());
    assert_eq!(
        machine.text(),
        [
            "base failed: no route",
            "side waiting: waits until base has started"
        ]
    );
}

#[test]
fn services_of_the_user_go_to_the_users_docker_and_stay_with_it() {
    let mut machine = Machine::new(
        "
        docker: {image: i, labels: {SYSTEM}}
        web: {image: i, restart: always}
    ",
    );
    machine.started("docker", State::Running);
    let images = machine.observed.system.images.clone();
    machine.observed.user = Some(Host {
        images,
        ..Host::default()
    });
    assert_eq!(
        machine.text(),
        ["create web: has no container", "docker well"]
    );

    let container = machine.container("web", State::Exited { code: 1 });
    machine
        .observed
        .user
        .as_mut()
        .unwrap()
        .containers
        .insert("web".into(), container);
    assert_eq!(
        machine.text(),
        ["start web: was not started in this boot", "docker well"]
    );
    machine
        .observed
        .marks
        .ran
        .insert("web".into(), "web-id".into());
    assert_eq!(machine.text(), ["docker well", "web well"]);
}

#[test]
fn without_a_docker_of_their_own_services_of_the_user_fail() {
    let mut machine = Machine::new(
        "
        docker: {image: i, labels: {SYSTEM}}
        web: {image: i}
    ",
    );
    machine.desired.disabled.insert("docker".into());
    assert_eq!(
        machine.text(),
        ["docker out: is disabled", "web failed: docker does not run"]
    );
    assert!(machine.plan().up);
}

#[test]
fn templates_are_made_one_by_one_when_all_is_ready() {
    let mut machine = Machine::new(
        "
        network: {image: i, labels: {SYSTEM, io.rancher.os.ready: /run/network-done}}
        one: {image: i, labels: {SYSTEM, io.rancher.os.createonly: true}}
        two: {image: i, labels: {SYSTEM, io.rancher.os.createonly: true}}
    ",
    );
    machine.started("network", State::Running);
    assert_eq!(machine.text(), ["network well"]);
    machine
        .observed
        .ready
        .insert(PathBuf::from("/run/network-done"));
    assert_eq!(
        machine.text(),
        ["prepare one: has no container", "network well"]
    );
    assert!(machine.plan().up);
    machine.there("one", State::Created);
    machine.there("two", State::Created).hash = "other".into();
    assert_eq!(
        machine.text(),
        ["prepare two: its definition changed", "network well"]
    );
}

#[test]
fn conditions_keep_services_out_with_a_reason() {
    let mut machine = Machine::new("
        cloud-init: {image: i, labels: {SYSTEM, io.rancher.os.condition: network-datasource, io.rancher.os.detach: false}}
        console: {image: i, labels: {SYSTEM, io.rancher.os.after: cloud-init}}
    ");
    assert_eq!(
        machine.text(),
        [
            "create console: has no container",
            "cloud-init out: no datasource needs the network"
        ]
    );
    machine
        .desired
        .conditions
        .insert(Condition::NetworkDatasource);
    assert_eq!(
        machine.text(),
        [
            "create cloud-init: has no container",
            "console waiting: waits until cloud-init has started"
        ]
    );
}

#[test]
fn a_machine_in_no_cluster_runs_none_of_it() {
    let mut machine = Machine::new(
        "
        agent: {image: i, labels: {SYSTEM, io.rancher.os.condition: cluster-agent}}
        control-plane: {image: i, labels: {SYSTEM, io.rancher.os.condition: cluster-server}}
    ",
    );
    assert_eq!(
        machine.text(),
        [
            "agent out: this machine is in no cluster and `rancher.cluster.join` names none",
            "control-plane out: `rancher.cluster.server` is not set"
        ]
    );
    machine.desired.conditions = [Condition::ClusterAgent, Condition::ClusterServer].into();
    assert_eq!(
        machine.text(),
        [
            "create agent: has no container",
            "create control-plane: has no container"
        ]
    );
}

#[test]
fn a_clock_that_is_left_alone_has_no_service() {
    let mut machine =
        Machine::new("ntp: {image: i, labels: {SYSTEM, io.rancher.os.condition: ntp}}");
    machine.desired.conditions.clear();
    assert_eq!(machine.text(), ["ntp out: `ntp.enabled` is false"]);
    machine.desired.conditions.insert(Condition::Ntp);
    assert_eq!(machine.text(), ["create ntp: has no container"]);
}

#[test]
fn nothing_is_started_while_the_machine_goes_down() {
    let mut machine = Machine::new("ntp: {image: i, labels: {SYSTEM}}");
    machine.observed.marks.stopping = true;
    assert_eq!(machine.plan(), Plan::default());
}

#[test]
fn a_service_in_hand_is_left_alone() {
    let mut machine = Machine::new("ntp: {image: i, labels: {SYSTEM}}");
    machine.busy.insert("ntp".into());
    assert_eq!(machine.text(), ["ntp waiting: is being worked on"]);
}

#[test]
fn a_stopped_service_is_made_when_asked_and_not_started() {
    let mut machine = Machine::new("web: {image: i, labels: {SYSTEM}}");
    machine.observed.marks.stopped.insert("web".into());
    let out = ["web out: was stopped by the administrator"];
    assert_eq!(machine.text(), out);
    machine.observed.marks.recreate.insert("web".into());
    let plan = machine.plan();
    assert_eq!(
        plan.steps[0].action,
        Action::Prepare { replace: None },
        "{plan:?}"
    );
    machine.there("web", State::Created);
    let replace = Some("web-id".to_owned());
    assert_eq!(machine.plan().steps[0].action, Action::Prepare { replace });
    machine.observed.system.images.clear();
    assert_eq!(machine.text(), ["pull web: image i is not here"]);
    machine.observed.marks.recreate.clear();
    assert_eq!(machine.text(), out);
}

#[test]
fn what_lies_on_the_disk_is_waited_for() {
    let mut machine = Machine::new(
        "
        udev: {image: i, labels: {SYSTEM}}
        web: {image: i, labels: {SYSTEM}}
        far: {image: other, labels: {SYSTEM}}
    ",
    );
    machine
        .observed
        .preloading
        .insert(crate::compose::Scope::System);
    let loaded = "waits until the images in /var/lib/rancher/preload/system-docker are loaded";
    let far = format!("far waiting: image other is not here; {loaded}");
    let create = |name: &str| format!("create {name}: has no container");
    assert_eq!(machine.text(), [create("udev"), create("web"), far.clone()]);
    // With `rancher.preload_wait`.
    machine.desired.after_preload = ["web", "far"].map(str::to_owned).into();
    let web = format!("web waiting: {loaded}");
    assert_eq!(machine.text(), [create("udev"), web, far]);
    machine.started("web", State::Running);
    assert!(machine.text().contains(&"web well".to_owned()));
    machine.observed.preloading.clear();
    let pull = "pull far: image other is not here".to_owned();
    assert!(machine.text().contains(&pull));
}

#[test]
fn a_schedule_starts_what_does_not_run() {
    let mut machine = Machine::new(
        "
        tick: {image: i, labels: {SYSTEM, cron.schedule: '@hourly'}}
        only: {image: i, labels: {SYSTEM, cron.schedule: '@hourly', io.rancher.os.createonly: true}}
        next: {image: i, labels: {SYSTEM, io.rancher.os.after: only}}
    ",
    );
    let prepare = Action::Prepare { replace: None };
    assert_eq!(machine.plan().steps[1].action, prepare);
    machine.started("next", State::Running);
    machine.started("tick", State::Exited { code: 1 });
    machine.there("only", State::Created);
    let rest = ["tick failed: ended with code 1", "only well", "next well"];
    assert_eq!(machine.text(), rest);
    assert!(machine.plan().passed.is_empty());
    machine.observed.due = ["tick", "only"].map(str::to_owned).into();
    // Its turn comes though it has just failed.
    machine.history.failed("tick", machine.now, "ended".into());
    let turns = [
        "start tick: its time has come",
        "start only: its time has come",
        "next well",
    ];
    assert_eq!(machine.text(), turns);
    machine.started("tick", State::Running);
    machine.observed.marks.stopped.insert("only".into());
    assert_eq!(machine.plan().passed, ["tick", "only"]);
    assert!(machine.plan().steps.is_empty());
    machine.observed.marks.stopped.clear();
    machine.there("only", State::Created).hash = "old".into();
    let replace = Some("only-id".to_owned());
    assert_eq!(machine.plan().steps[0].action, Action::Prepare { replace });
    machine.started("only", State::Exited { code: 0 });
    machine.observed.due.clear();
    assert!(machine.text().contains(&"only well".to_owned()));
}

#[test]
fn a_kept_container_stays_though_its_definition_changed() {
    let mut machine = Machine::new("web: {image: i, labels: {SYSTEM}}");
    machine.started("web", State::Running).hash = "old".into();
    let changed = ["recreate web: its definition changed"];
    assert_eq!(machine.text(), changed);
    let keep = &mut machine.observed.marks.keep;
    keep.insert("web".into(), "web-id".into());
    assert_eq!(machine.text(), ["web well"]);
    machine
        .observed
        .marks
        .keep
        .insert("web".into(), "another-id".into());
    assert_eq!(machine.text(), changed);
}
