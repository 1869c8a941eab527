//! Whole definitions, from YAML to what Docker is told.

use serde_json::Value;

use super::*;

fn read(yaml: &str) -> Project {
    let definitions: IndexMap<String, Value> = serde_yaml::from_str(yaml).unwrap();
    let variables = Variables::default();
    let read_file = |path: &Path| match path.to_str() {
        Some("/env") => Ok("A=file\nB=file\n".to_owned()),
        _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
    };
    let sources = Sources {
        variables: &variables,
        read_file: &read_file,
    };
    Project::read(
        definitions
            .iter()
            .map(|(name, value)| (name.as_str(), value)),
        &sources,
    )
}

fn host(project: &Project, name: &str) -> HostConfig {
    project.services[name].body.host_config.clone().unwrap()
}

#[test]
fn templates_are_inlined_through_templates() {
    let project = read("
        user-volumes: {image: i, labels: {io.rancher.os.createonly: true}, volumes: ['/home:/home', '/opt:/opt']}
        all-volumes: {image: i, labels: [io.rancher.os.createonly=true], volumes_from: [user-volumes], volumes: ['/x:/opt']}
        console: {image: i, volumes_from: [all-volumes]}
    ");
    assert_eq!(project.problems, []);
    assert_eq!(
        host(&project, "console").binds.unwrap(),
        ["/x:/opt", "/home:/home"]
    );
    assert_eq!(project.services["console"].needs, Vec::<String>::new());
    assert_eq!(
        project
            .runnable()
            .map(|service| service.name.as_str())
            .collect::<Vec<_>>(),
        ["console"]
    );
}

#[test]
fn a_circle_of_templates_is_reported() {
    let project = read("
        aa: {image: i, labels: {io.rancher.os.createonly: true}, volumes_from: [bb], volumes: ['/a:/a']}
        bb: {image: i, labels: {io.rancher.os.createonly: true}, volumes_from: [aa]}
        cc: {image: i, volumes_from: [bb]}
    ");
    assert_eq!(host(&project, "cc").binds.unwrap(), ["/a:/a"]);
    assert_eq!(
        project.problems[0].to_string(),
        "rancher.services.aa.volumes_from: aa -> bb -> aa is a circle: ignored"
    );
}

#[test]
fn other_services_are_needed_by_container_name() {
    let project = read(
        "
        db: {image: i, container_name: store}
        web: {image: i, volumes_from: ['db:ro'], links: ['db:database'], net: 'container:db'}
    ",
    );
    let web = host(&project, "web");
    assert_eq!(web.volumes_from.unwrap(), ["store:ro"]);
    assert_eq!(web.links.unwrap(), ["store:database"]);
    assert_eq!(web.network_mode.unwrap(), "container:store");
    assert_eq!(project.services["web"].needs, ["db", "db", "db"]);
}

#[test]
fn one_bad_service_is_skipped_and_named() {
    let project = read(
        "
        good: {image: i, colour: red}
        noimage: {command: x}
        ports: {image: i, ports: [http]}
        from: {image: i, volumes_from: [nobody]}
        ../up: {image: i}
    ",
    );
    assert_eq!(project.services.keys().collect::<Vec<_>>(), ["good"]);
    let said: Vec<String> = project.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "rancher.services.good.colour: unknown key: ignored",
            "Failed loading service noimage: rancher.services.noimage.image: missing",
            "Failed loading service ports: rancher.services.ports.ports[0]: expected [[address:]host port:]container port, given `http`",
            "Failed loading service ../up: rancher.services.../up: a name is two or more of letters, digits, `_`, `.` and `-`, and starts with a letter or digit",
            "Failed loading service from: rancher.services.from.volumes_from: there is no service `nobody`",
        ]
    );
}

#[test]
fn the_environment_wins_over_its_file() {
    let project = read("ss: {image: i, environment: {B: 1, C: true}, env_file: /env}");
    assert_eq!(
        project.services["ss"].body.env.as_ref().unwrap(),
        &["A=file", "B=1", "C=true"]
    );
}

#[test]
fn the_hash_changes_with_the_definition_only() {
    let hash =
        |yaml: &str| read(yaml).services["ss"].body.labels.as_ref().unwrap()[HASH_LABEL].clone();
    let (one, same) = (
        hash("ss: {image: i, labels: {a: 1, b: 2}, privileged: true}"),
        hash("ss: {privileged: 'true', labels: [b=2, a=1], image: i}"),
    );
    assert_eq!(one, same);
    for other in [
        "ss: {image: j, labels: {a: 1, b: 2}, privileged: true}",
        "ss: {image: i, labels: {a: 1, b: 2}}",
    ] {
        assert_ne!(one, hash(other), "{other}");
    }
}

#[test]
fn the_users_docker_restarts_its_services_itself() {
    let project = read(
        "web: {image: i, restart: 'on-failure:3'}\nntp: {image: i, restart: always, labels: {io.rancher.os.scope: system}}",
    );
    let policy = host(&project, "web").restart_policy.unwrap();
    assert_eq!(policy.name.unwrap().to_string(), "on-failure");
    assert_eq!(policy.maximum_retry_count, Some(3));
    assert_eq!(host(&project, "ntp").restart_policy, None);
}

#[test]
fn shared_shims_and_system_paths_reach_docker() {
    let project = read(
        "ss: {image: i, labels: {io.rancher.os.shim: shared}, security_opt: [systempaths=unconfined, no-new-privileges], cgroup: host}",
    );
    let host = host(&project, "ss");
    assert_eq!(
        host.annotations.unwrap()["io.containerd.runc.v2.group"],
        "ros-system"
    );
    assert_eq!(
        (host.masked_paths, host.readonly_paths),
        (Some(vec![]), Some(vec![]))
    );
    assert_eq!(host.security_opt.unwrap(), ["no-new-privileges"]);
}

/// Every definition that ships is read without a complaint.
#[test]
fn shipped_services_are_flawless() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut definitions: Vec<(String, Value)> = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Ok(text) = std::fs::read_to_string(path.join("service.yml")) else {
            continue;
        };
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        definitions.push((name, serde_yaml::from_str(&text).unwrap()));
    }
    assert!(definitions.len() >= 10, "found only {}", definitions.len());
    let config = os_config::Config {
        rancher: os_config::types::Rancher {
            environment: shipped_environment(),
            ..Default::default()
        },
        ..Default::default()
    };
    let variables = Variables::new(&config, "6.12");
    let sources = Sources {
        variables: &variables,
        read_file: &|_| Err(std::io::Error::other("no env_file in shipped services")),
    };
    let project = Project::read(
        definitions
            .iter()
            .map(|(name, value)| (name.as_str(), value)),
        &sources,
    );
    assert_eq!(project.problems, []);
    assert_eq!(project.services.len(), definitions.len());
}

fn shipped_environment() -> IndexMap<String, String> {
    [("VERSION", "v2"), ("SUFFIX", "")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}
