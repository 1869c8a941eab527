//! The files, the kernel command line and the metadata together: who wins, what a broken layer costs, what is written.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

use os_config::layers::{Layers, Owner, Privacy};
use os_config::store::{self, Error, Place};
use os_config::types::{Command, Mount};
use os_config::{Cmdline, Config, Loaded, Metadata, cmdline, emit::to_yaml};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

const DEFAULTS: &str = "usr/share/ros/os-config.yml";
const OEM: &str = "usr/share/ros/oem/oem-config.yml";
const CONF: &str = "var/lib/rancher/conf";

struct Machine {
    dir: TempDir,
    cmdline: Cmdline,
}

impl Machine {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            cmdline: Cmdline::default(),
        }
    }

    fn file(self, path: &str, text: &str) -> Self {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn conf(self, name: &str, text: &str) -> Self {
        self.file(&format!("{CONF}/{name}"), text)
    }

    fn boot(mut self, line: &str) -> Self {
        self.cmdline = cmdline::parse(line);
        self
    }

    fn place(&self) -> Place {
        Place::new(self.dir.path())
    }

    fn load(&self) -> Loaded {
        store::load(&self.place(), &self.cmdline)
    }

    fn config(&self) -> Config {
        let loaded = self.load();
        assert_eq!(loaded.problems, []);
        loaded.config
    }

    fn problems(&self) -> Vec<String> {
        let prefix = format!("{}/", self.dir.path().display());
        self.load()
            .problems
            .iter()
            .map(|problem| problem.to_string().replace(&prefix, ""))
            .collect()
    }

    fn saved(&self) -> String {
        fs::read_to_string(self.place().conf().join("cloud-config.yml")).unwrap()
    }

    fn export(&self, from: Owner, privacy: Privacy) -> String {
        to_yaml(&store::read_layers(&self.place(), &self.cmdline).export(from, privacy))
    }
}

#[test]
fn each_layer_overrides_the_one_below() {
    let set = |value: usize| {
        format!("rancher:\n  environment:\n    L{value}: '{value}'\n    WINNER: '{value}'\n")
    };
    let mut machine = Machine::new();
    let files = [
        DEFAULTS.to_owned(),
        OEM.to_owned(),
        format!("{CONF}/cloud-config.d/10-a"),
        format!("{CONF}/cloud-config.d/20-b.yml"),
        format!("{CONF}/cloud-config.yml"),
    ];
    for (index, path) in files.iter().enumerate() {
        machine = machine.file(path, &set(index));
        assert_eq!(
            machine.config().rancher.environment["WINNER"],
            index.to_string()
        );
    }
    let machine = machine.boot("rancher.environment.WINNER=kernel");
    assert_eq!(machine.config().rancher.environment["WINNER"], "kernel");
    let machine =
        machine.boot("rancher.environment.WINNER=kernel -- rancher.environment.WINNER=hidden");
    let environment = machine.config().rancher.environment;
    assert_eq!(environment["WINNER"], "hidden");
    assert_eq!(
        environment["EXTRA_CMDLINE"],
        "/init rancher.environment.WINNER=hidden"
    );
    assert!((0..5).all(|index| environment.contains_key(&format!("L{index}"))));
}

#[test]
fn maps_merge_and_lists_are_replaced() {
    let machine = Machine::new()
        .file(DEFAULTS, "rancher:\n  modules: [a, b]\n  services:\n    x: {image: a, privileged: true}\n    y: {image: y}\n")
        .conf("cloud-config.yml", "rancher:\n  modules: [c]\n  services:\n    z: {}\n    x: {image: b}\n");
    let rancher = machine.config().rancher;
    assert_eq!(rancher.modules, ["c"]);
    assert_eq!(rancher.services.keys().collect::<Vec<_>>(), ["x", "y", "z"]);
    assert_eq!(
        rancher.services["x"],
        serde_json::json!({"image": "b", "privileged": true})
    );
}

#[test]
fn dotfiles_and_directories_are_not_read() {
    let machine = Machine::new()
        .conf("cloud-config.d/.hidden.yml", "hostname: a\n")
        .conf("cloud-config.d/dir/a.yml", "hostname: b\n");
    assert_eq!(machine.config().hostname, None);
    assert_eq!(machine.config().host_name(), "rancher");
}

#[test]
fn a_bad_value_falls_back_to_the_layer_below_and_costs_nothing_else() {
    let machine = Machine::new()
        .file(DEFAULTS, "rancher:\n  ssh: {port: 2200}\n  modules: [x]\n")
        .conf(
            "cloud-config.d/boot.yml",
            "hostname: good\nmounts:\n- [a, b, c]\n- [a, b, c, d]\nrancher:\n  ssh: {port: none, listen_address: 1.2.3.4}\n  modules: {a: b}\n  shutdown_timeout: soon\n",
        )
        .boot("rancher.state.wait=perhaps");
    let Loaded { config, .. } = machine.load();
    assert_eq!(config.hostname.as_deref(), Some("good"));
    assert_eq!(config.rancher.ssh.port, 2200);
    assert_eq!(
        config.rancher.ssh.listen_address.as_deref(),
        Some("1.2.3.4")
    );
    assert_eq!(config.rancher.modules, ["x"]);
    assert_eq!(config.rancher.shutdown_timeout, 60);
    assert!(!config.rancher.state.wait);
    let [a, b, c, d] = ["a", "b", "c", "d"].map(String::from);
    assert_eq!(
        config.mounts,
        [Mount {
            device: a,
            target: b,
            fstype: c,
            options: d
        }]
    );
    let places: Vec<String> = machine
        .problems()
        .iter()
        .map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        places,
        [
            "var/lib/rancher/conf/cloud-config.d/boot.yml:3:3 mounts.0",
            "var/lib/rancher/conf/cloud-config.d/boot.yml:6:15 rancher.ssh.port",
            "var/lib/rancher/conf/cloud-config.d/boot.yml:7:12 rancher.modules",
            "var/lib/rancher/conf/cloud-config.d/boot.yml:8:21 rancher.shutdown_timeout",
            "kernel command line:1:1 rancher.state.wait",
        ]
    );
}

#[test]
fn a_file_that_is_not_yaml_is_skipped_alone() {
    let machine = Machine::new()
        .conf("cloud-config.d/boot.yml", "hostname: lost\nrancher: [\n")
        .conf("cloud-config.d/user.yml", "- a\n")
        .conf("cloud-config.yml", "rancher: {debug: on}\n");
    let loaded = machine.load();
    assert_eq!(loaded.config.hostname, None);
    assert!(loaded.config.rancher.debug);
    let expected = [
        "var/lib/rancher/conf/cloud-config.d/boot.yml:3:1: Not YAML: a value is missing here; check that every `[` and `{` is closed; the whole file is skipped",
        "var/lib/rancher/conf/cloud-config.d/user.yml:1:1: (root): Invalid type. Expected: object, given: array; write `key: value` lines below it, indented and without `-`; the whole file is skipped",
    ];
    assert_eq!(machine.problems(), expected);
}

#[test]
fn what_is_not_a_file_is_told() {
    let machine = Machine::new().conf("cloud-config.yml/x", "");
    let expected = "var/lib/rancher/conf/cloud-config.yml: Cannot be read: not a regular file; the whole file is skipped";
    assert_eq!(machine.problems(), [expected]);
}

#[test]
fn a_wrong_mode_becomes_the_strictest() {
    let machine = Machine::new().conf(
        "cloud-config.yml",
        "write_files: [{path: /a, permissions: rw}]\n",
    );
    assert_eq!(machine.load().config.write_files[0].permissions, "0600");
}

#[test]
fn an_empty_text_undoes_what_a_lower_layer_says() {
    let machine = Machine::new()
        .file(DEFAULTS, "rancher:\n  docker: {group: x}\n  state: {dev: LABEL=A, fstype: ext4}\n  environment: {A: b}\n")
        .boot("rancher.state.dev= rancher.state.fstype= rancher.docker.group= rancher.environment.A= cc.hostname=");
    let config = machine.config();
    assert_eq!(
        (
            config.rancher.state.dev,
            config.rancher.state.fstype.as_str()
        ),
        (None, "auto")
    );
    assert_eq!(
        (config.rancher.docker.group.as_deref(), config.hostname),
        (None, None)
    );
    assert_eq!(config.rancher.environment["A"], "");
}

#[test]
fn a_host_name_of_metadata_is_made_to_fit() {
    for (given, expected) in [
        ("web.example.com", "web.example.com"),
        (&format!("web.{}", "x".repeat(90)), "web"),
        ("a b", "rancher"),
    ] {
        let machine = Machine::new();
        let metadata = Metadata {
            hostname: given.to_owned(),
            ..Metadata::default()
        };
        store::write_metadata(&machine.place(), &metadata).unwrap();
        assert_eq!(machine.config().host_name(), expected);
    }
}

#[test]
fn debug_turns_on_the_daemons_debug() {
    let rancher = Machine::new()
        .conf("cloud-config.yml", "rancher: {debug: yes}\n")
        .config()
        .rancher;
    assert!(rancher.log);
    assert_eq!(
        [&rancher.docker, &rancher.system_docker].map(|block| block.debug),
        [Some(true); 2]
    );
    assert_eq!(Machine::new().config().rancher.docker.debug, None);
}

#[test]
fn digits_are_truth_on_the_kernel_line_only() {
    let machine = Machine::new().boot("rancher.recovery=1 rancher.ssh.daemon=0");
    let rancher = machine.config().rancher;
    assert!(rancher.recovery && !rancher.ssh.daemon);
    let machine = Machine::new().conf("cloud-config.yml", "rancher: {debug: 1}\n");
    assert!(machine.problems()[0].contains("Expected: boolean, given: integer"));
}

#[test]
fn metadata_fills_gaps_only() {
    let metadata = Metadata {
        hostname: "meta".into(),
        ssh_public_keys: [("b", "key-b"), ("a", "key-a")]
            .map(|(name, key)| (name.into(), key.into()))
            .into(),
        root_disk: "/dev/xvda".into(),
        private_ipv4: "10.0.0.1".into(),
        ..Metadata::default()
    };
    let machine = Machine::new().conf(
        "cloud-config.d/boot.yml",
        "ssh_authorized_keys: [own]\nrancher:\n  environment: {A: 'x$private_ipv4:$public_ipv4', B: '\\$private_ipv4', C: $HOME}\n",
    );
    store::write_metadata(&machine.place(), &metadata).unwrap();
    assert_eq!(store::read_metadata(&machine.place()), metadata);
    let config = machine.config();
    assert_eq!(config.host_name(), "meta");
    assert_eq!(config.ssh_authorized_keys, ["own", "key-a", "key-b"]);
    assert_eq!(config.rancher.resize_device.as_deref(), Some("/dev/xvda"));
    let environment: Vec<&str> = config
        .rancher
        .environment
        .values()
        .map(String::as_str)
        .collect();
    assert_eq!(environment, ["x10.0.0.1:", "$private_ipv4", "$HOME"]);
    let machine = machine.conf("cloud-config.yml", "hostname: own\n");
    assert_eq!(machine.config().host_name(), "own");
}

#[test]
fn scalars_keep_the_text_that_was_written() {
    let text = "write_files:\n- {path: /a, permissions: 0644}\nruncmd: [true, [echo, 1.10]]\nrancher:\n  sysctl: {a: 1, b: 0x10, c: 1.50}\n  environment: {V: 1.10, W: no, X: 010}\n  services:\n    a: {environment: {A: 1.10, B: 2, C: 1.5, D: true}, user: 0100}\n";
    let config = Machine::new().conf("cloud-config.yml", text).config();
    assert_eq!(config.write_files[0].permissions, "0644");
    assert_eq!(
        config.runcmd,
        [
            Command::Shell("true".into()),
            Command::Exec(vec!["echo".into(), "1.10".into()])
        ]
    );
    assert_eq!(
        config.rancher.sysctl.values().collect::<Vec<_>>(),
        ["1", "0x10", "1.50"]
    );
    assert_eq!(
        config.rancher.environment.values().collect::<Vec<_>>(),
        ["1.10", "no", "010"]
    );
    let expected = serde_json::json!({"environment": {"A": "1.10", "B": 2, "C": 1.5, "D": true}, "user": "0100"});
    assert_eq!(config.rancher.services["a"], expected);
}

#[test]
fn an_included_file_is_taken_out_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path());
    let include = b"rancher: {services_include: {/var/lib/rancher/conf/web.yml: true, ntp: false}}";
    store::merge(&place, include).unwrap();
    let key = "rancher.services_include.\"/var/lib/rancher/conf/web.yml\"";
    store::set(&place, key, "null").unwrap();
    let left = store::load(&place, &Cmdline::default()).config;
    let left: Vec<String> = left.rancher.services_include.keys().cloned().collect();
    assert_eq!(left, ["ntp"]);
}

#[test]
fn set_writes_one_key_and_keeps_the_rest_in_order() {
    let machine = Machine::new().conf(
        "cloud-config.yml",
        "rancher:\n  ssh: {port: 23}\n  debug: true\nhostname: a\nmine: 1\n",
    );
    let place = machine.place();
    store::set(&place, "hostname", "b").unwrap();
    store::set(&place, "rancher.modules", "[x, 'y z']").unwrap();
    store::set(&place, "rancher.sysctl.net.ipv4.ip_forward", "1").unwrap();
    store::set(&place, "rancher.network.interfaces.eth0.100.dhcp", "yes").unwrap();
    store::set(&place, "rancher.services.a.labels.b", "c").unwrap();
    store::set(&place, "rancher.debug", "null").unwrap();
    store::set(&place, "rancher.console", "").unwrap();
    let expected = "#cloud-config\nrancher:\n  ssh:\n    port: 23\n  modules:\n  - x\n  - y z\n  sysctl:\n    net.ipv4.ip_forward: 1\n  network:\n    interfaces:\n      eth0.100:\n        dhcp: true\n  services:\n    a:\n      labels:\n        b: c\n  console: ''\nhostname: b\nmine: 1\n";
    assert_eq!(machine.saved(), expected);
    assert_eq!(
        fs::metadata(place.conf().join("cloud-config.yml"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    let names: Vec<_> = fs::read_dir(place.conf())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["cloud-config.yml"]);
}

#[test]
fn set_refuses_what_is_wrong_and_writes_nothing() {
    let machine = Machine::new();
    for (key, value, expected) in [
        (
            "hostnam",
            "x",
            "hostnam: Additional property hostnam is not allowed; did you mean `hostname`?",
        ),
        (
            "rancher.ssh.prot",
            "1",
            "rancher.ssh.prot: Additional property prot is not allowed; did you mean `port`?",
        ),
        (
            "rancher.ssh.port",
            "x",
            "value:1:1: rancher.ssh.port: Invalid type. Expected: integer, given: string; write a whole number without quotes",
        ),
        (
            "rancher",
            "[a]",
            "value:1:1: rancher: Invalid type. Expected: object, given: array; write `key: value` lines below it, indented and without `-`",
        ),
        (
            "rancher",
            "{a: 1}",
            "value:1:2: rancher.a: Additional property a is not allowed; remove it, or look the key up in the documentation",
        ),
        (
            "rancher.password",
            "x",
            "rancher.password: Additional property password is not allowed; give it on the kernel command line: rancher.password=…",
        ),
        (
            "hostname.a",
            "x",
            "hostname: Invalid type. Expected: string, given: object; write one text, in quotes if it has special characters",
        ),
        (
            "hostname",
            "[a",
            "value:2:1: Not YAML: a `[` or `{` is not closed; check that every `[` and `{` is closed",
        ),
    ] {
        match store::set(&machine.place(), key, value) {
            Err(error @ Error::Invalid(_)) => assert_eq!(error.to_string(), expected),
            other => panic!("{key} {value}: {other:?}"),
        }
    }
    assert!(!machine.place().conf().exists());
}

#[test]
fn a_broken_file_is_never_rewritten() {
    let machine = Machine::new().conf("cloud-config.yml", "a: [\n");
    assert!(matches!(
        store::set(&machine.place(), "hostname", "x"),
        Err(Error::Invalid(_))
    ));
    assert!(matches!(
        store::merge(&machine.place(), b"hostname: x"),
        Err(Error::Invalid(_))
    ));
    assert_eq!(machine.saved(), "a: [\n");
}

#[test]
fn merge_takes_unknown_keys_and_refuses_wrong_types() {
    let machine = Machine::new();
    let told = store::merge(
        &machine.place(),
        b"#cloud-config\r\nhostname: x\r\nmine: {a: 1}\r\n",
    )
    .unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(matches!(
        store::merge(&machine.place(), b"rancher: [a]"),
        Err(Error::Invalid(_))
    ));
    store::merge(&machine.place(), b"mine: {b: 2}").unwrap();
    store::merge(&machine.place(), b"").unwrap();
    assert_eq!(
        machine.saved(),
        "#cloud-config\nhostname: x\nmine:\n  a: 1\n  b: 2\n"
    );
    let conf = machine.place().conf();
    assert_eq!(
        fs::metadata(conf).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn export_hides_what_is_secret() {
    let machine = Machine::new()
        .file(DEFAULTS, "rancher: {console: default}\n")
        .conf(
            "cloud-config.yml",
            "EXTRA_CMDLINE: x\nhostname: a\nrancher:\n  password: SECRET\n  ssh: {port: 22, keys: {rsa: SECRET, rsa-pub: p}}\n  docker: {ca_key: SECRET, server_key: SECRET, tls: true}\n  registry_auths: {r: {username: u, password: SECRET, auth: SECRET}}\n  network: {wifi_networks: {w: {psk: SECRET}}}\n",
        )
        .boot("rancher.password=SECRET rancher.autologin=tty1 -- rancher.environment.TOKEN=t");
    let hidden = machine.export(Owner::User, Privacy::Hidden);
    let expected = "hostname: a\nrancher:\n  ssh:\n    port: 22\n  docker:\n    tls: true\n  registry_auths:\n    r:\n      username: u\n";
    assert_eq!(hidden, expected);
    let shown = machine.export(Owner::User, Privacy::Shown);
    assert_eq!(shown.matches("SECRET").count(), 6, "{shown}");
    assert!(
        shown.contains("TOKEN: t") && shown.contains("EXTRA_CMDLINE: /init"),
        "{shown}"
    );
    assert!(!shown.contains("password: SECRET\n  ssh"));
    assert!(!shown.contains("console"));
    assert!(
        machine
            .export(Owner::System, Privacy::Hidden)
            .contains("console: default")
    );
}

#[test]
fn export_hides_what_was_meant_to_be_secret() {
    let machine = Machine::new().conf(
        "cloud-config.yml",
        "password: SECRET\nchpasswd: {list: 'a:SECRET'}\nother: {root_password: SECRET, list: [{a: 1, password: SECRET}]}\n",
    );
    let hidden = machine.boot("").export(Owner::User, Privacy::Hidden);
    let expected = "other:\n  list:\n  - a: 1\n";
    assert_eq!(hidden, expected);
    let hash = format!("$6$SECRET${}", "a".repeat(86));
    let of_users = format!(
        "users:\n- name: a\n  passwd: {hash}\n  hashed_passwd: {hash}\n  plain_text_passwd: SECRET\n  password: SECRET\n  uid: 1500\n"
    );
    let machine = Machine::new().conf("cloud-config.yml", &of_users).boot("");
    let hidden = machine.export(Owner::User, Privacy::Hidden);
    assert_eq!(hidden, "users:\n- name: a\n  uid: 1500\n");
    let shown = machine.export(Owner::User, Privacy::Shown);
    assert_eq!(shown.matches("SECRET").count(), 3, "{shown}");
}

#[test]
fn the_state_may_be_elsewhere() {
    let machine = Machine::new()
        .file(DEFAULTS, "rancher: {console: a}\n")
        .file(
            "state/var/lib/rancher/conf/cloud-config.yml",
            "hostname: x\n",
        );
    let place = machine
        .place()
        .with_state(&machine.dir.path().join("state"));
    let config = store::load(&place, &machine.cmdline).config;
    assert_eq!(
        (config.rancher.console.as_str(), config.hostname.as_deref()),
        ("a", Some("x"))
    );
}

#[test]
fn an_unknown_option_of_a_bond_costs_nothing_else() {
    let mut layers = Layers::default();
    let text = b"rancher: {network: {interfaces: {bond0: {address: 10.0.0.2/24, bond_opts: {mode: 1, typo: true, other: {a: b}}}}}}\n";
    layers.add_file(Owner::User, text, "f.yml");
    let loaded = layers.resolve();
    let bond = &loaded.config.rancher.network.interfaces["bond0"];
    assert_eq!(bond.address.as_deref(), Some("10.0.0.2/24"));
    assert_eq!(bond.bond_opts.get("mode").map(String::as_str), Some("1"));
    let told: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    assert!(told.iter().any(|line| line.contains("typo")), "{told:?}");
    assert!(
        !told.iter().any(|line| line.contains("Cannot be used")),
        "{told:?}"
    );
}
