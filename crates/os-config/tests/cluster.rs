//! The keys of `rancher.cluster`: every way to write them, what is wrong with others, and that the token stays a secret.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used)]

use os_config::emit::to_yaml;
use os_config::layers::{Owner, Privacy};
use os_config::store::{self, Place};
use os_config::types::{Cluster, ServerSettings};
use os_config::{cmdline, schema};
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn cluster(text: &str, line: &str) -> (Cluster, Vec<String>) {
    let root = tempfile::tempdir().unwrap();
    let place = Place::new(root.path());
    fs::create_dir_all(place.conf()).unwrap();
    fs::write(place.conf().join("cloud-config.yml"), text).unwrap();
    let loaded = store::load(&place, &cmdline::parse(line));
    let problems = loaded.problems.iter().map(ToString::to_string);
    (loaded.config.rancher.cluster, problems.collect())
}

fn well(text: &str) -> Cluster {
    let (cluster, problems) = cluster(text, "");
    assert_eq!(problems, Vec::<String>::new(), "{text}");
    cluster
}

#[test]
fn every_key() {
    let all = well(
        "rancher:\n  cluster:\n    join: [https://10.0.0.5, 'https://b.example:7000']\n    token: rosjoin.x\n    name: web-1\n    address: 192.0.2.7\n    labels: {zone: a, rack: 7}\n    server: {listen: '[::]:6440', names: [a.example, 10.0.0.5], data: /var/lib/rancher/server}\n",
    );
    assert_eq!(all.join, ["https://10.0.0.5", "https://b.example:7000"]);
    assert_eq!(all.token.reveal(), "rosjoin.x");
    assert_eq!(
        (all.name.as_deref(), all.address.as_deref()),
        (Some("web-1"), Some("192.0.2.7"))
    );
    assert_eq!(
        (all.labels["zone"].as_str(), all.labels["rack"].as_str()),
        ("a", "7")
    );
    let server = all.server.settings().unwrap();
    assert_eq!(server.listen.as_deref(), Some("[::]:6440"));
    assert_eq!(server.names, ["a.example", "10.0.0.5"]);
    assert!(!format!("{:?}", all.token).contains("rosjoin"));
}

#[test]
fn three_lines_are_enough() {
    let short = well("rancher:\n  cluster: {join: 'https://10.0.0.5:6440', token: t}\n");
    assert_eq!(short.join, ["https://10.0.0.5:6440"]);
    assert_eq!(short.server.settings(), None);
    let on = well("rancher:\n  cluster: {server: true}\n");
    assert_eq!(on.server.settings(), Some(ServerSettings::default()));
    assert_eq!(
        well("rancher:\n  cluster: {server: no}\n")
            .server
            .settings(),
        None
    );
    let etcd =
        well("rancher:\n  cluster: {server: {etcd: 'https://10.0.0.8:2379', names: a.example}}\n");
    let settings = etcd.server.settings().unwrap();
    assert_eq!(
        (settings.etcd, settings.names),
        (
            vec!["https://10.0.0.8:2379".to_owned()],
            vec!["a.example".to_owned()]
        )
    );
    assert_eq!(well(""), Cluster::default());
}

#[test]
fn the_kernel_line_gives_and_takes() {
    let text = "rancher:\n  cluster: {join: 'https://10.0.0.5', token: t}\n";
    let (given, problems) = cluster(
        "",
        "rancher.cluster.join=https://10.0.0.6:6440 rancher.cluster.token=k rancher.cluster.labels.zone=b rancher.cluster.server=true",
    );
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(
        (
            given.join,
            given.token.reveal(),
            given.labels["zone"].as_str()
        ),
        (vec!["https://10.0.0.6:6440".to_owned()], "k", "b")
    );
    assert!(given.server.settings().is_some());
    let (taken, _) = cluster(text, "rancher.cluster.join=");
    assert_eq!(taken.join, Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_said_and_costs_nothing_else() {
    let text = "\
rancher:
  cluster:
    server: {listen: 6440, nams: [a]}
    join: [10.0.0.5, https://10.0.0.6]
    name: Web_1
    address: here
    labels: [a]
    tokn: x
";
    let problems = schema::check_text(text.as_bytes(), "c.yml");
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "c.yml:3:22: rancher.cluster.server.listen: `6440` is not an address with port; write it like 10.0.0.5:6440 or \"[::]:6440\"",
            "c.yml:3:28: rancher.cluster.server.nams: Additional property nams is not allowed; did you mean `names`?",
            "c.yml:4:12: rancher.cluster.join.0: `10.0.0.5` is not the address of a server; write it like https://10.0.0.5 or https://cluster.example.com:6440",
            "c.yml:5:11: rancher.cluster.name: `Web_1` is not a name in a cluster; write at most 63 letters a-z, digits and `-`, the first and last no `-`",
            "c.yml:6:14: rancher.cluster.address: `here` is not an IP address; write it like 192.168.1.1 or fd00::1",
            "c.yml:7:13: rancher.cluster.labels: Invalid type. Expected: object, given: array; write `key: value` lines below it, indented and without `-`",
            "c.yml:8:5: rancher.cluster.tokn: Additional property tokn is not allowed; did you mean `token`?",
        ]
    );
    assert_eq!(cluster(text, "").0.join, ["https://10.0.0.6"]);
    let (wrong, problems) = cluster("rancher: {cluster: {server: maybe, join: {a: b}}}\n", "");
    assert_eq!((wrong, problems.len()), (Cluster::default(), 2));
}

#[test]
fn the_token_is_a_secret() {
    let root = tempfile::tempdir().unwrap();
    let place = Place::new(root.path());
    store::set(&place, "rancher.cluster.token", "SECRET").unwrap();
    store::set(&place, "rancher.cluster.join", "https://10.0.0.5").unwrap();
    let file = place.conf().join("cloud-config.yml");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let layers = store::read_layers(&place, &cmdline::parse(""));
    let export = |privacy| to_yaml(&layers.clone().export(Owner::User, privacy));
    let hidden = export(Privacy::Hidden);
    assert_eq!(hidden, "rancher:\n  cluster:\n    join: https://10.0.0.5\n");
    assert!(export(Privacy::Shown).contains("token: SECRET"));
}
