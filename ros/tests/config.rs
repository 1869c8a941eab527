//! `ros config` as a user meets it: the built program, as root in a mount namespace of its own with a machine's files.
//! Without root, or without `unshare`, the tests say so and pass; with CI set that is a failure.

// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ROS: &str = env!("CARGO_BIN_EXE_ros");

/// Files of a machine, kept between calls.
struct Machine(TempDir);

impl Machine {
    /// `None`: not possible here.
    fn new() -> Option<Self> {
        let allowed = Command::new("unshare")
            .args(["--mount", "true"])
            .status()
            .is_ok_and(|status| status.success());
        if !allowed {
            assert!(
                std::env::var_os("CI").is_none(),
                "these tests need root and unshare"
            );
            eprintln!("skipped: needs root and unshare");
            return None;
        }
        let machine = Self(tempfile::tempdir().unwrap());
        machine.file("share/ros/os-config.yml", "rancher:\n  ssh: {port: 22}\n  services:\n    one: {image: x/a:1}\n    two: {image: x/b:1}\n");
        machine.file(
            "lib/rancher/conf/cloud-config.d/boot.yml",
            "#cloud-config\nhostname: web\nrancher:\n  modules: []\n",
        );
        machine.file(
            "cmdline",
            "quiet rancher.password=PW rancher.state.fstype=xfs -- rancher.environment.TOKEN=TK\n",
        );
        Some(machine)
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn shell(&self, script: &str) -> Output {
        let mounts = "mount --bind $D/share /usr/share && mount --bind $D/lib /var/lib && mount --bind $D/cmdline /proc/cmdline";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &format!("{mounts} && {script}")]);
        command
            .env("D", self.0.path())
            .env("ros", Path::new(ROS))
            .output()
            .unwrap()
    }

    /// Standard output, standard error and exit code of `ros config …`.
    #[track_caller]
    fn config(&self, arguments: &str, code: i32) -> (String, String) {
        let output = self.shell(&format!("$ros config {arguments}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments}\n{out}\n{err}"
        );
        (out, err)
    }

    #[track_caller]
    fn out(&self, arguments: &str) -> String {
        let (out, err) = self.config(arguments, 0);
        assert_eq!(err, "", "{arguments}");
        out
    }
}

#[test]
fn get() {
    let Some(machine) = Machine::new() else {
        return;
    };
    assert_eq!(machine.out("get"), "");
    assert_eq!(machine.out("get hostname"), "web\n");
    assert_eq!(machine.out("get rancher.state.fstype"), "xfs\n");
    assert_eq!(machine.out("get rancher.ssh"), "port: 22\n\n");
    assert_eq!(machine.out("get rancher.modules"), "[]\n\n");
    assert_eq!(machine.out("get ssh_authorized_keys"), "[]\n\n");
    assert_eq!(machine.out("get rancher.shutdown_timeout"), "60\n");
    assert_eq!(machine.out("get rancher.state.dev"), "\n");
    assert_eq!(machine.out("get rancher.password"), "\n");
    assert_eq!(
        machine.out("get rancher.environment.EXTRA_CMDLINE"),
        "/init rancher.environment.TOKEN=TK\n"
    );
    assert_eq!(
        machine.out("get rancher.services.one --format json"),
        "{\n  \"image\": \"x/a:1\"\n}\n"
    );
    let (out, err) = machine.config("get rancher.ssh.prot", 1);
    assert_eq!(
        (out.as_str(), err.as_str()),
        (
            "\n",
            "FATA[0000] rancher.ssh.prot: Additional property prot is not allowed; did you mean `port`?\n"
        )
    );
}

#[test]
fn set_and_merge() {
    let Some(machine) = Machine::new() else {
        return;
    };
    assert_eq!(machine.out("set rancher.modules '[a, b]'"), "");
    assert_eq!(machine.out("get rancher.modules"), "- a\n- b\n\n");
    let (_, err) = machine.config("set rancher.ssh.port many", 1);
    assert_eq!(
        err,
        "FATA[0000] value:1:1: rancher.ssh.port: Invalid type. Expected: integer, given: string; write a whole number without quotes\n"
    );
    assert_eq!(
        machine.out("merge < $D/lib/rancher/conf/cloud-config.d/boot.yml"),
        ""
    );
    assert_eq!(machine.out("get rancher.modules"), "[]\n\n");
    let (_, err) = machine.config("set rancher.modules", 2);
    assert!(err.contains("<VALUE>"), "{err}");
}

#[test]
fn export() {
    let Some(machine) = Machine::new() else {
        return;
    };
    assert_eq!(
        machine.out("export"),
        "hostname: web\nrancher:\n  modules: []\n  state:\n    fstype: xfs\n"
    );
    let full = machine.out("export --private --full -o $D/out && stat -c %a $D/out && cat $D/out");
    assert!(
        full.starts_with("400\n") && full.contains("x/a:1") && full.contains("TOKEN: TK"),
        "{full}"
    );
    assert!(!full.contains("PW"), "{full}");
}

#[test]
fn validate() {
    let Some(machine) = Machine::new() else {
        return;
    };
    assert_eq!(machine.out("validate"), "");
    machine.file("bad.yml", "#cloud-config\nbad_key: 1\nrancher:\n- a\n");
    let (out, err) = machine.config("validate -i bad.yml", 1);
    assert_eq!(
        (out.as_str(), err.contains("cannot read bad.yml")),
        ("", true),
        "{err}"
    );
    let (_, err) = machine.config("validate -i - < $D/bad.yml", 1);
    let expected = "ERRO[0000] standard input:2:1: bad_key: Additional property bad_key is not allowed; remove it, or look the key up in the documentation\n\
                    ERRO[0000] standard input:4:3: rancher: Invalid type. Expected: object, given: array; write `key: value` lines below it, indented and without `-`\n";
    assert_eq!(err, expected);
    machine.file("lib/rancher/conf/cloud-config.d/user.yml", "a: [\n");
    let (out, _) = machine.config("validate --format json", 1);
    let problems: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        problems[0]["file"],
        "/var/lib/rancher/conf/cloud-config.d/user.yml"
    );
    assert_eq!(machine.out("get hostname"), "web\n");
}

#[test]
fn validate_looks_into_services() {
    let Some(machine) = Machine::new() else {
        return;
    };
    // `volumes_from` names a service of this machine; its own mistakes are not this file's.
    machine.file(
        "web.yml",
        "rancher:\n  services:\n    web: {image: i, volumes_from: [one]}\n    bad: {image: i, ports: [none]}\n",
    );
    let (_, err) = machine.config("validate -i $D/web.yml", 1);
    let folder = machine.0.path().display();
    assert_eq!(
        err,
        format!(
            "ERRO[0000] {folder}/web.yml:4:29: rancher.services.bad.ports[0]: expected [[address:]host port:]container port, given `none`\n"
        )
    );
}

const OLD: &str = "\
#cloud-config
hostname: old
rancher:
  debug: 'true'
  console: alpine
  cloud_init: {datasources: [vmware, nocloud]}
  network:
    interfaces:
      eth0: {address: 10.0.0.5/24}
  registry_auths:
    r.example.com: {username: u, password: P4SS}
  services:
    web: {image: nginx, ports: [80:80], env_file: /etc/none, links: [db]}
    built: {build: .}
    tool: {image: 'rancher/os-base:v1.5.8', imag: x}
  services_include: {zfs: true}
";

#[test]
fn convert_gives_what_validate_takes() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.file("old.yml", OLD);
    let (out, err) = machine.config("convert $D/old.yml -o $D/new.yml", 1);
    let folder = machine.0.path().display().to_string();
    let err = err.replace(&folder, "");
    assert_eq!(out, "");
    for line in [
        "INFO[0000] /old.yml:4:10: rancher.debug: Written as true, without quotes\n",
        "WARN[0000] /old.yml:5:3: rancher.console: No effect here yet; ",
        "rancher.cloud_init.datasources: No effect here yet: datasource `vmware` is left out; ",
        "ERRO[0000] /old.yml:14:20: rancher.services.built.build: Cannot be used, and the service is left out: images are not built here: name one with `image`\n",
        "rancher.services.tool.imag: No effect here: unknown key: ignored\n",
        "INFO[0000] /old.yml: 3 changed, 2 with another meaning, 4 without effect, 0 not known, 1 refused; 7 of them to be looked after\n",
    ] {
        assert!(err.contains(line), "{line}\n{err}");
    }
    assert!(!err.contains("P4SS"), "{err}");
    let mode = machine.shell("stat -c %a $D/new.yml");
    assert_eq!(mode.stdout, b"400\n");
    // What refers to another file's service, or to a file of the machine, is not the conversion's to judge.
    let (_, err) = machine.config("validate -i $D/new.yml", 1);
    let errors: Vec<&str> = err
        .lines()
        .filter(|line| line.starts_with("ERRO"))
        .collect();
    assert!(
        matches!(errors[..], [only] if only.contains("/etc/none")),
        "{err}"
    );
    machine.shell("sed -i -e /env_file/d -e /links:/d -e /-.db/d $D/new.yml");
    machine.config("validate -i $D/new.yml", 0);
    let (again, _) = machine.config("convert $D/new.yml", 1);
    assert_eq!(
        again,
        fs::read_to_string(machine.0.path().join("new.yml")).unwrap()
    );
    machine.config("merge -i $D/new.yml", 0);
    assert_eq!(machine.out("get rancher.debug"), "true\n");
}

#[test]
fn convert_exits_and_prints_as_the_other_commands_do() {
    let Some(machine) = Machine::new() else {
        return;
    };
    machine.file(
        "good.yml",
        "#cloud-config\nhostname: a\nrancher: {ssh: {port: '22'}}\n",
    );
    let (out, err) = machine.config("convert < $D/good.yml", 0);
    assert_eq!(
        out,
        "#cloud-config\nhostname: a\nrancher:\n  ssh:\n    port: 22\n"
    );
    assert_eq!(
        err,
        "INFO[0000] standard input:3:23: rancher.ssh.port: Written as a number, without quotes\n\
         INFO[0000] standard input: 1 changed, 0 with another meaning, 0 without effect, 0 not known, 0 refused; 0 of them to be looked after\n"
    );
    let (out, err) = machine.config("convert -i - --format json < $D/good.yml", 0);
    let both: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (err.as_str(), &both["document"]["rancher"]["ssh"]["port"]),
        ("", &22.into())
    );
    assert_eq!(
        (&both["remarks"][0]["kind"], &both["remarks"][0]["line"]),
        (&"changed".into(), &3.into())
    );
    machine.file("bad.yml", "#cloud-config\nrancher:\n\tdebug: true\n");
    let (out, err) = machine.config("convert $D/bad.yml", 2);
    assert_eq!(out, "");
    assert!(
        err.starts_with("FATA[0000] ")
            && err.contains("bad.yml:3:1: A tab indents this line; indent with spaces"),
        "{err}"
    );
    let (_, err) = machine.config("convert -i $D/none.yml", 2);
    assert!(
        err.contains("cannot read ") && err.contains("none.yml"),
        "{err}"
    );
    machine.config("convert --input", 2);
    machine.config("convert a -i b", 2);
    machine.file("binary", "a\0b");
    machine.config("convert $D/binary", 2);
    let (_, err) = machine.config("convert $D/good.yml -o $D/none/x.yml", 1);
    assert!(err.starts_with("FATA[0000] "), "{err}");
    // Old files are looked at by anybody; the path of an output may be relative.
    let output = machine.shell("cd $D && $ros config convert good.yml -o here.yml && stat -c %a here.yml && setpriv --reuid=65534 $ros config convert < good.yml");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        out.starts_with("400\n#cloud-config\n"),
        "{out} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn images() {
    let Some(machine) = Machine::new() else {
        return;
    };
    assert_eq!(machine.out("images"), "x/a:1 x/b:1\n");
}

#[test]
fn get_is_quick() {
    let Some(machine) = Machine::new() else {
        return;
    };
    let services: String = (0..300)
        .map(|n| {
            format!("    s{n}: {{image: 'x/s:{n}', command: [a, b, c], labels: {{a: b, c: d}}}}\n")
        })
        .collect();
    machine.file(
        "lib/rancher/conf/cloud-config.yml",
        &format!("rancher:\n  services:\n{services}"),
    );
    // Best of several: the machine is shared. The limit is far above what a release build takes (2 ms).
    let best = (0..5)
        .map(|_| time(|| machine.out("get hostname")))
        .min()
        .unwrap();
    let bare = (0..5)
        .map(|_| time(|| machine.shell("true")))
        .min()
        .unwrap();
    assert!(
        best.saturating_sub(bare) < Duration::from_millis(100),
        "{best:?}, without ros {bare:?}"
    );
}

fn time<T>(action: impl FnOnce() -> T) -> Duration {
    let begun = Instant::now();
    drop(action());
    begun.elapsed()
}
