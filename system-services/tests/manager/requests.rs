//! What `ros service` asks for, on the machine of `cases`: the manager carries it out or leaves alone what it is told to.

use std::error::Error;

use system_services::manager::control::{self, Control, Recreate, Removed, Volumes};

use crate::cases::{CONFIG, case};
use crate::machine::{Machine, docker, process, try_docker, wait};

/// Services of these cases: `job` ends by itself, `absent` has no image anywhere.
const SERVICES: &str = r#"
    web: {image: i:1, command: sleep 500, net: host, stop_grace_period: 1, volumes_from: [vols], labels: {io.rancher.os.scope: system}}
    job: {image: i:1, command: "true", net: host, volumes: ['/usr:/usr:ro', /scratch], labels: {io.rancher.os.scope: system}}
    network: {image: i:1, command: sleep 600, net: host, stop_grace_period: 1, volumes_from: [vols], restart: always, labels: {io.rancher.os.scope: system}}
    absent: {image: 'reg.invalid/none:1', net: host, labels: {io.rancher.os.scope: system}}
"#;

pub fn run_all(machine: &mut Machine) {
    machine.configure(&configuration());
    wait("the services of requests run", || {
        process("web").is_some() && process("network").is_some()
    });
    case("what is removed stays away until it is asked for", removed);
    case("what runs is only removed when that is said", seen_running);
    case("create makes and does not start", created);
    case("a signal reaches the process, and restart decides", killed);
    case(
        "what the machine cannot do without is made anew",
        indispensable,
    );
    case("a changed definition can wait", || kept(machine));
    case(
        "an image that cannot be had is an error with advice",
        not_pulled,
    );
    machine.configure(CONFIG);
    case("a service of no configuration can be removed", left_over);
}

fn configuration() -> String {
    format!("{}{SERVICES}", CONFIG.trim_end())
}

/// Asks as `ros service` does.
fn ask<T>(work: impl AsyncFnOnce(&Control) -> Result<T, control::Error>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let done = runtime.block_on(async { work(&Control::load()).await });
    done.map_err(|error| {
        let cause = error.source().map(|cause| format!(": {cause}"));
        format!("{error}{}", cause.unwrap_or_default())
    })
}

fn remove(name: &str, volumes: Volumes) -> Removed {
    let names = [name.to_owned()];
    let removed = ask(async |control| {
        let targets = control.targets(&names).await?;
        control.remove(&targets[0], volumes).await
    });
    removed.unwrap()
}

fn up(name: &str, recreate: Recreate) {
    let names = [name.to_owned()];
    ask(async |control| control.up(&control.select(&names)?, recreate).await).unwrap();
}

fn create(name: &str, recreate: Recreate) -> Result<(), String> {
    let names = [name.to_owned()];
    ask(async |control| control.create(&control.select(&names)?, recreate).await)
}

fn kill(name: &str, signal: &str) -> Result<(), String> {
    let names = [name.to_owned()];
    ask(async |control| control.kill(control.select(&names)?[0], signal).await)
}

fn id(container: &str) -> Option<String> {
    try_docker(&["inspect", "-f", "{{.Id}}", container])
}

fn state(container: &str) -> String {
    docker(&["inspect", "-f", "{{.State.Status}}", container])
}

/// Something that the manager does, so that it has had its time for anything else.
fn let_the_manager_work() {
    let before = process("udev");
    docker(&["kill", "udev"]);
    wait("udev runs again", || {
        process("udev").is_some_and(|pid| Some(pid) != before)
    });
}

fn removed() {
    let volumes = || docker(&["volume", "ls", "-q"]).lines().count();
    wait("job has ended", || state("job") == "exited");
    assert_eq!(volumes(), 1);
    assert_eq!(remove("job", Volumes::Remove), Removed::Gone);
    assert_eq!(volumes(), 0);
    assert_eq!(remove("web", Volumes::Keep), Removed::Gone);
    let_the_manager_work();
    assert_eq!((id("web"), id("job")), (None, None));
    up("web", Recreate::WhenChanged);
    assert!(process("web").is_some());
    let none = ask(async |control| control.targets(&["job".to_owned()]).await);
    assert!(none.unwrap().is_empty());
    let unknown = ask(async |control| control.targets(&["nothing".to_owned()]).await);
    let unknown = unknown.unwrap_err();
    assert!(
        unknown.starts_with("No such service: nothing; there are: "),
        "{unknown}"
    );
}

fn seen_running() {
    let names = ["web", "ntp"].map(str::to_owned);
    let running = || {
        let targets = ask(async |control| control.targets(&names).await).unwrap();
        targets.iter().filter(|target| target.running).count()
    };
    assert_eq!(running(), 2);
    let web = [names[0].clone()];
    ask(async |control| control.stop(control.select(&web)?[0], Some(0)).await).unwrap();
    assert_eq!(running(), 1);
}

fn created() {
    remove("web", Volumes::Keep);
    create("web", Recreate::WhenChanged).unwrap();
    assert_eq!(state("web"), "created");
    let first = id("web");
    create("web", Recreate::WhenChanged).unwrap();
    create("web", Recreate::Never).unwrap();
    assert_eq!(id("web"), first);
    create("web", Recreate::Always).unwrap();
    assert_ne!(id("web"), first);
    let_the_manager_work();
    assert_eq!(state("web"), "created");
    up("web", Recreate::WhenChanged);
    assert_eq!(state("web"), "running");
    // What runs and must be made anew goes on running.
    let before = id("web");
    create("web", Recreate::Always).unwrap();
    assert_ne!(id("web"), before);
    wait("web runs", || state("web") == "running");
    let gone = create("gone", Recreate::WhenChanged).unwrap_err();
    assert!(gone.starts_with("gone is disabled"), "{gone}");
    let absent = create("absent", Recreate::WhenChanged).unwrap_err();
    assert!(
        absent.starts_with("absent has no new container: failed: cannot pull reg.invalid/none:1"),
        "{absent}"
    );
}

fn killed() {
    let before = process("ntp");
    kill("ntp", "SIGKILL").unwrap();
    wait("ntp runs again", || {
        process("ntp").is_some_and(|pid| Some(pid) != before)
    });
    kill("web", "9").unwrap();
    wait("web has ended", || process("web").is_none());
    let_the_manager_work();
    assert_eq!(process("web"), None);
    let ended = kill("web", "hup").unwrap_err();
    assert!(ended.starts_with("web does not run"), "{ended}");
    let wrong = kill("web", "SIGNOTHING").unwrap_err();
    assert!(wrong.starts_with("SIGNOTHING is not a signal"), "{wrong}");
    up("web", Recreate::WhenChanged);
    assert!(process("web").is_some());
}

fn indispensable() {
    let before = (id("network"), id("console"));
    for name in ["network", "console"] {
        assert_eq!(remove(name, Volumes::Keep), Removed::MadeAnew);
        assert!(process(name).is_some(), "{name} does not run");
    }
    let after = (id("network"), id("console"));
    assert!(before.0 != after.0 && before.1 != after.1);
    kill("network", "KILL").unwrap();
    wait("network runs again", || process("network").is_some());
}

fn kept(machine: &Machine) {
    let before = id("web");
    // Nothing reads the configuration before it is asked.
    machine.write(&configuration().replace("sleep 500", "sleep 501"));
    up("web", Recreate::Never);
    let_the_manager_work();
    assert_eq!(id("web"), before);
    up("web", Recreate::WhenChanged);
    assert_ne!(id("web"), before);
    assert_eq!(docker(&["inspect", "-f", "{{.Args}}", "web"]), "[501]");
}

fn not_pulled() {
    let names = ["absent".to_owned()];
    let error = ask(async |control| control.pull(control.select(&names)?[0], |_| {}).await);
    let error = error.unwrap_err();
    assert!(error.contains("`rancher.registry_auths`"), "{error}");
    assert!(error.ends_with("cannot pull reg.invalid/none:1"), "{error}");
}

fn left_over() {
    assert!(process("web").is_some(), "it was to be left alone");
    assert_eq!(remove("web", Volumes::Keep), Removed::Forgotten);
    assert_eq!(id("web"), None);
}
