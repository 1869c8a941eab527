//! `convert` over files as people of RancherOS 1.x have them: what comes out, and every word that is said.
//! After a change on purpose: `UPDATE=1 cargo test -p os-config --test convert`, and read the difference.

// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

use os_config::convert::{Abilities, Conversion, Error, Flaw, Harm, Kind, convert};
use os_config::merge::put;
use os_config::node::Node;
use os_config::schema::{self, ROOT, Schema, check_text};
use os_config::{Severity, emit, path, yaml};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};

const SAMPLES: [&str; 4] = ["cloud-vm", "bare-metal", "registry", "before-1.0"];

fn is_datasource(name: &str) -> bool {
    ["configdrive", "nocloud", "cmdline", "ec2"].contains(&name) || name.starts_with("url:")
}

fn no_flaws(_: &Value) -> Vec<Flaw> {
    Vec::new()
}

fn converted_by(text: &[u8], services: &dyn Fn(&Value) -> Vec<Flaw>) -> Result<Conversion, Error> {
    let abilities = Abilities {
        datasource: &is_datasource,
        services,
    };
    convert(text, "f.yml", &abilities)
}

#[track_caller]
fn converted(text: &str) -> Conversion {
    converted_by(text.as_bytes(), &no_flaws).unwrap()
}

/// Remarks as the command prints them.
fn remarks(conversion: &Conversion) -> Vec<String> {
    let remarks = conversion.remarks.iter();
    remarks
        .map(|remark| {
            let act = if remark.act { "!" } else { "" };
            format!("{:?}{act} {}", remark.kind, remark.problem)
        })
        .collect()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/convert")
        .join(name)
}

fn sample(name: &str) -> String {
    std::fs::read_to_string(file(&format!("{name}.yml"))).unwrap()
}

#[test]
fn samples_come_out_as_they_should() {
    for name in SAMPLES {
        let conversion = converted(&sample(name));
        let said = remarks(&conversion).join("\n");
        let found = format!("{}\n# Remarks\n{said}\n", conversion.text());
        let expected = file(&format!("{name}.expected"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&expected, &found).unwrap();
        }
        let expected = std::fs::read_to_string(expected).unwrap_or_default();
        assert_eq!(found, expected, "{name}\n{found}");
        assert!(conversion.needs_hands());
    }
}

#[test]
fn what_comes_out_has_no_errors_and_stays_as_it_is() {
    for name in SAMPLES {
        let text = converted(&sample(name)).text();
        let errors: Vec<_> = check_text(text.as_bytes(), "out.yml")
            .into_iter()
            .filter(|problem| problem.severity == Severity::Error)
            .collect();
        assert_eq!(errors, [], "{text}");
        let again = converted(&text);
        assert_eq!(again.text(), text);
        let kinds = [Kind::Changed, Kind::Unknown, Kind::Refused];
        let made = again
            .remarks
            .iter()
            .filter(|remark| kinds.contains(&remark.kind));
        assert_eq!(
            made.collect::<Vec<_>>(),
            Vec::<&os_config::convert::Remark>::new()
        );
    }
}

#[test]
fn secrets_are_in_no_remark() {
    for name in SAMPLES {
        let conversion = converted(&sample(name));
        for remark in remarks(&conversion) {
            assert!(
                !remark.contains("s3cret") && !remark.contains("aHViOm"),
                "{remark}"
            );
        }
    }
    let whole = converted(&sample("registry")).text();
    assert!(whole.contains("auth-s3cret"), "{whole}");
}

/// Paths of what `export` hides, and of maps of text, which hold passwords as often.
fn secret_paths(schema: &'static Schema, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match schema {
        Schema::Object(keys) | Schema::Switch(keys) => {
            for key in *keys {
                path.push(key.name.to_owned());
                if key.kind == schema::Kind::Private {
                    found.push(path.clone());
                }
                secret_paths(&key.schema, path, found);
                path.pop();
            }
        }
        Schema::Map(item) => {
            path.push("x".into());
            secret_paths(item, path, found);
            path.pop();
        }
        Schema::Secret | Schema::Text => found.push(path.clone()),
        _ => {}
    }
}

#[test]
fn no_value_that_may_be_secret_is_in_a_remark() {
    let mut paths = Vec::new();
    secret_paths(&ROOT, &mut Vec::new(), &mut paths);
    let has = |dotted: &str| paths.contains(&path::segments(dotted));
    assert!(has("rancher.docker.ca_key") && has("rancher.environment.x") && has("EXTRA_CMDLINE"));
    let extra = [
        "rancher.password",
        "rancher.user_docker.ca_key",
        "rancher.docker.args",
        "wrong.key",
        "rancher.wrong",
    ];
    paths.extend(extra.map(path::segments));
    for path in paths {
        for value in [
            "m4rker",
            "[m4rker]",
            "{a: m4rker}",
            "[{a: m4rker}]",
            "[[m4rker], m4rker, m4rker]",
            "'true m4rker'",
        ] {
            let mut tree = Node::default();
            put(
                &mut tree,
                &path,
                yaml::parse(value.as_bytes(), "v").unwrap().root,
            );
            let conversion = converted(&emit::to_yaml(&tree));
            let said = remarks(&conversion).join("\n");
            assert!(!said.contains("m4rker"), "{path:?}: {value}\n{said}");
        }
    }
}

#[test]
fn a_file_of_this_release_has_nothing_to_say() {
    let text = "#cloud-config\nhostname: a\nrancher:\n  cloud_init:\n    datasources:\n    - configdrive\n  services:\n    web:\n      image: nginx\n  \
                ssh:\n    port: 2222\n";
    let conversion = converted(text);
    assert_eq!(remarks(&conversion), [""; 0]);
    assert_eq!(conversion.text(), text);
    assert!(!conversion.needs_hands());
}

#[test]
fn changes_alone_ask_for_nothing() {
    let conversion = converted(
        "#cloud-config\nrancher:\n  debug: 'true'\n  console: default\n  user_docker: {tls: 'on'}\n",
    );
    assert!(!conversion.needs_hands(), "{:?}", remarks(&conversion));
    assert_eq!(
        conversion.text(),
        "#cloud-config\nrancher:\n  debug: true\n  docker:\n    tls: true\n"
    );
}

#[test]
fn cards_that_are_not_named_stay_alone() {
    let interfaces = |text: &str| {
        let text = format!("#cloud-config\nrancher: {{network: {{interfaces: {text}}}}}\n");
        converted(&text).value()["rancher"]["network"]["interfaces"].clone()
    };
    let expect = |given: &str, eth: &str| {
        let eth: Value = serde_json::from_str(eth).unwrap();
        assert_eq!(interfaces(given)["eth*"], eth, "{given}");
    };
    expect("{eth0: {address: 10.0.0.1/8}}", r#"{"dhcp": false}"#);
    expect(
        "{eth*: {address: 10.0.0.1/8}}",
        r#"{"address": "10.0.0.1/8", "dhcp": false}"#,
    );
    expect(
        "{eth*: {dhcp: true, mtu: 1460}}",
        r#"{"dhcp": true, "mtu": 1460}"#,
    );
    expect(
        "{e*: {dhcp: true, mtu: 1460}}",
        r#"{"dhcp": true, "mtu": 1460}"#,
    );
    expect(
        "{all: {match: '*', mtu: 1460}}",
        r#"{"mtu": 1460, "dhcp": false}"#,
    );
    expect("{lo: {mtu: 1460}}", "null");
    expect("{}", "null");
}

#[test]
fn arguments_of_docker_stay_in_their_order_and_number() {
    let arguments = |given: &str| {
        let text = format!("#cloud-config\nrancher: {{docker: {{extra_args: {given}}}}}\n");
        let conversion = converted(&text);
        let value = &conversion.value()["rancher"]["docker"]["extra_args"];
        (value.to_string(), remarks(&conversion).join("\n"))
    };
    let (value, said) = arguments("[--label, a=b, --label, c=d, --experimental]");
    assert_eq!(
        value,
        r#"["--label","a=b","--label","c=d","--experimental"]"#
    );
    assert_eq!(said, "");
    let (value, said) = arguments(
        "[-s, aufs, --storage-opt=dm.basesize=20G, -D, --storage-driver=devicemapper, --cluster-store, x, -g, /d, -s, btrfs]",
    );
    assert_eq!(value, r#"["-D","--data-root","/d","-s","btrfs"]"#);
    for word in [
        "`-s aufs`",
        "`--storage-opt dm.…`",
        "`--storage-driver devicemapper`",
        "`--cluster-store`",
        "`-g` is called `--data-root`",
    ] {
        assert!(said.contains(word), "{word}\n{said}");
    }
}

#[test]
fn commands_that_stand_there_twice_run_twice() {
    let text = "#cloud-config\nruncmd:\n- sleep 1\n- date\n- sleep 1\nrancher:\n  network:\n    pre_cmds:\n    - sleep 1\n    - ip link\n    - sleep 1\n";
    let conversion = converted(text);
    assert_eq!(remarks(&conversion), [""; 0]);
    assert_eq!(conversion.text(), text);
}

#[test]
fn variables_that_the_images_of_the_release_have_in_their_names() {
    let environment = |given: &str| {
        let text = format!("#cloud-config\nrancher: {{environment: {{{given}}}}}\n");
        let conversion = converted(&text);
        let value = conversion.value()["rancher"]["environment"].to_string();
        (value, remarks(&conversion).join("\n"))
    };
    let (value, said) = environment("VERSION: v1.5.8, SUFFIX: '', REGISTRY_DOMAIN: docker.io");
    assert_eq!(value, r#"{"REGISTRY_DOMAIN":"docker.io"}"#);
    assert!(!said.contains('!'), "{said}");
    let (value, said) = environment("VERSION: '3'");
    assert_eq!(value, "null");
    assert!(
        said.starts_with("NoEffect! f.yml:2:25: rancher.environment.VERSION: Left out: "),
        "{said}"
    );
    let (value, said) = environment("REGISTRY_DOMAIN: r.example.com");
    assert_eq!(value, r#"{"REGISTRY_DOMAIN":"r.example.com"}"#);
    assert!(said.starts_with("Different! "), "{said}");
}

#[test]
fn datasources_that_are_none_leave_no_empty_list() {
    let conversion =
        converted("#cloud-config\nrancher: {cloud_init: {datasources: [vmware]}, debug: true}\n");
    assert_eq!(
        conversion.text(),
        "#cloud-config\nrancher:\n  debug: true\n"
    );
    assert!(conversion.needs_hands());
}

/// Whatever the schema says of them.
#[test]
fn keys_that_the_old_release_passed_over_are_told() {
    for (key, value) in [("users", "[{name: alice}]"), ("ntp", "{enabled: true}")] {
        let conversion = converted(&format!("#cloud-config\n{key}: {value}\n"));
        let stays = conversion.value().get(key).is_some();
        assert_eq!(stays, schema::child(&ROOT, key).is_some());
        let kind = if stays { "Different!" } else { "Unknown!" };
        let said = remarks(&conversion);
        assert!(
            said[0].starts_with(&format!("{kind} f.yml:2:1: {key}: ")),
            "{said:?}"
        );
    }
}

#[test]
fn what_is_no_cloud_config_is_refused_with_what_to_do() {
    let told = |bytes: &[u8]| converted_by(bytes, &no_flaws).unwrap_err().to_string();
    assert_eq!(
        told(b"#cloud-config\nhostname: [\n"),
        "f.yml:3:1: Not YAML: a value is missing here; check that every `[` and `{` is closed; mend the file and convert it again"
    );
    assert_eq!(
        told(b"#cloud-config\n- a\n"),
        "f.yml:2:1: A cloud-config is a map, this is: array; write `key: value` lines, such as `hostname: web-1`; mend the file and convert it again"
    );
    assert_eq!(
        told(b"#!/bin/sh\n"),
        "f.yml: a script (`#!`), not a cloud-config; it is run as it is, so give it to the machine unchanged"
    );
    assert_eq!(told(b"\x1f\x8bx"), "cannot unpack f.yml");
}

#[test]
fn other_kinds_of_user_data() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"#cloud-config\nhostname: a\n").unwrap();
    let conversion = converted_by(&packed.finish().unwrap(), &no_flaws).unwrap();
    assert_eq!(conversion.text(), "#cloud-config\nhostname: a\n");

    let compose = converted("#compose\nweb: {image: nginx}\n");
    assert_eq!(
        compose.text(),
        "#cloud-config\nrancher:\n  services:\n    web:\n      image: nginx\n"
    );
    assert_eq!(compose.remarks.len(), 1);
    assert_eq!(converted("").text(), "#cloud-config\n{}\n");
    let windows = converted("#cloud-config\r\nhostname: a\r\n");
    assert_eq!(windows.text(), "#cloud-config\nhostname: a\n");
    assert!(!windows.needs_hands());
}

#[test]
fn services_that_cannot_run_are_taken_out_and_told() {
    let text = "#cloud-config\nrancher:\n  services:\n    bad:\n      image: i\n      command: sh -c 'p4ss\n    good:\n      image: i\n      imag: i\n      volumes_from: [elsewhere]\n    user-volumes:\n      volumes: [/a:/a]\n";
    let flaws = |document: &Value| {
        let services = &document["rancher"]["services"];
        assert_eq!(services["good"].get("volumes_from"), None);
        assert_eq!(services["user-volumes"]["image"], "image");
        let flaw = |service: &str, key: &str, what: &str, harm| Flaw {
            service: service.into(),
            key: key.into(),
            what: what.into(),
            harm,
        };
        vec![
            flaw(
                "bad",
                "command",
                "a quote is not closed in `sh -c 'p4ss`",
                Harm::Service,
            ),
            flaw("good", "imag", "unknown key: ignored", Harm::Key),
        ]
    };
    let conversion = converted_by(text.as_bytes(), &flaws).unwrap();
    let said = remarks(&conversion);
    assert_eq!(
        said,
        [
            "Refused! f.yml:6:16: rancher.services.bad.command: Cannot be used, and the service is left out: a quote is not closed",
            "NoEffect! f.yml:9:13: rancher.services.good.imag: No effect here: unknown key: ignored",
            "Different! f.yml:10:22: rancher.services.good.volumes_from: Service elsewhere is not in this file; without it the service does not start: bring it along",
            "Different! f.yml:11:5: rancher.services.user-volumes: Changes a service of the OS, which is defined otherwise here; its lists are replaced whole; compare with `ros config get rancher.services.user-volumes` on the machine",
        ]
    );
    let value = yaml::parse(conversion.text().as_bytes(), "out")
        .unwrap()
        .root
        .to_value();
    assert_eq!(
        value["rancher"]["services"]["good"]["volumes_from"][0],
        "elsewhere"
    );
    assert_eq!(value["rancher"]["services"].get("bad"), None);
}

#[test]
fn json_says_kind_and_place() {
    let conversion = converted("#cloud-config\nrancher:\n  log: true\n  debug: maybe\n");
    let json = serde_json::to_value(&conversion.remarks).unwrap();
    assert_eq!(
        json[0],
        serde_json::json!({
            "kind": "no_effect", "act": false, "severity": "notice", "file": "f.yml", "line": 3, "column": 3,
            "key": "rancher.log", "what": "No effect here yet", "advice": "`ros service logs NAME` shows them",
        })
    );
    assert_eq!(
        (&json[1]["kind"], &json[1]["severity"]),
        (&"refused".into(), &"error".into())
    );
}
