//! Archives of images on the disk, on the machine of `cases`: loaded once, before what waits for them, and a bad one harms no other.

use std::fs;
use std::path::Path;

use crate::cases::{CONFIG, case};
use crate::machine::{Machine, docker, process, run, try_docker, wait};

const FOLDER: &str = "/var/lib/rancher/preload/system-docker";
const OWN: &str = "/var/lib/rancher/conf/cloud-config.yml";
/// Not shipped, and so told to wait.
const SERVICES: &str = r#"#cloud-config
rancher:
  preload_wait: true
  services:
    late: {image: 'packed:1', command: sleep 700, net: host, volumes: ['/usr:/usr:ro'], labels: {io.rancher.os.scope: system}}
    patient: {image: 'i:1', command: sleep 800, net: host, volumes: ['/usr:/usr:ro'], labels: {io.rancher.os.scope: system}}
"#;

pub fn run_all(machine: &mut Machine) {
    fs::create_dir_all(FOLDER).unwrap();
    case(
        "images on the disk are loaded before what waits for them",
        || loaded(machine),
    );
    case("what was loaded is not loaded again", || once(machine));
    case("an archive that changed is loaded again", || again(machine));
    fs::remove_file(OWN).unwrap();
    fs::remove_dir_all(FOLDER).unwrap();
    machine.configure(CONFIG);
    docker(&["rm", "-f", "late", "patient"]);
}

/// The image `i:1` under another name, as an archive only.
fn pack(image: &str, file: &str) {
    docker(&["tag", "i:1", image]);
    docker(&["save", "-o", file, image]);
    docker(&["rmi", image]);
}

fn is_here(image: &str) -> bool {
    try_docker(&["image", "inspect", image]).is_some()
}

fn loaded(machine: &Machine) {
    pack("packed:1", &format!("{FOLDER}/c.tar"));
    run("gzip", &[&format!("{FOLDER}/c.tar")]);
    pack("more:1", &format!("{FOLDER}/a.tar"));
    fs::write(format!("{FOLDER}/b.tar"), "this is no archive").unwrap();
    fs::write(OWN, SERVICES).unwrap();
    machine.configure(CONFIG);
    wait("late and patient run", || {
        process("late").is_some() && process("patient").is_some()
    });
    assert!(is_here("more:1"));
    let log = machine.log();
    let at = |text: &str| {
        log.find(text)
            .unwrap_or_else(|| panic!("no {text:?} in the log"))
    };
    let last = at("Loaded packed:1 from");
    assert!(at("Loaded more:1 from") < at(&format!("cannot load {FOLDER}/b.tar: ")));
    assert!(last < at("[patient]: Starting"));
    assert!(
        !log.contains("Pulling late"),
        "an image that comes was pulled"
    );
    assert!(Path::new(&format!("{FOLDER}/a.tar.done")).exists());
    assert!(!Path::new(&format!("{FOLDER}/b.tar.done")).exists());
}

fn once(machine: &mut Machine) {
    docker(&["rmi", "more:1"]);
    let tries = |machine: &Machine| machine.log().matches("cannot load").count();
    let before = tries(machine);
    machine.kill_manager();
    wait("the new manager tries the bad archive", || {
        tries(machine) > before
    });
    assert!(!is_here("more:1"));
    assert_eq!(machine.log().matches("Loaded packed:1").count(), 1);
}

fn again(machine: &Machine) {
    pack("other:1", &format!("{FOLDER}/a.tar"));
    machine.configure(CONFIG);
    wait("the changed archive is loaded", || is_here("other:1"));
}
