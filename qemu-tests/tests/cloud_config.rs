//! What a cloud-config makes of the machine: files, commands, mounts, kernel settings; and what a broken one does not stop.

use qemu_tests::Result;
use qemu_tests::config_drive::{ConfigDrive, Content, Form};
use qemu_tests::disk::{Disk, FileSystem, STATE_LABEL};
use qemu_tests::error::HarnessError;
use qemu_tests::guest::Guest;
use qemu_tests::judge::{Judge, contains, ensure, equal};
use qemu_tests::stage::on_stage;
use qemu_tests::wait::Patience;

const KEYS: &str = r##"hostname: configured
write_files:
  - path: /home/rancher/plain
    content: plain text
    permissions: "0640"
    owner: rancher:docker
  - path: /opt/deep/folder/encoded
    encoding: base64
    content: aGVsbG8=
  - path: /home/rancher/zipped
    encoding: gz+base64
    content: H4sIAAAAAAACA8vIBACsKpPYAgAAAA==
bootcmd:
  - echo boot-$(ls /run/docker-done 2>/dev/null) > /run/bootcmd-ran
runcmd:
  - echo string > /home/rancher/runcmd-string
  - [sh, -c, "echo list $0", "with spaces"]
  - [touch, "/home/rancher/runcmd list"]
mounts:
  - [LABEL=extra, /mnt/extra, ext4, ""]
  - [/mnt/extra, /home/rancher/bound, none, bind]
rancher:
  sysctl:
    vm.swappiness: 7
    net.ipv4.ip_forward: 1
  modules: [dummy]
  environment:
    FLAVOUR: vanilla
  ssh:
    listen_address: 0.0.0.0
"##;

#[test]
fn all_keys() -> Result<()> {
    on_stage("cloud-config", &[], |stage| {
        let state = stage.disk("state.img", 4096, FileSystem::Ext4, STATE_LABEL)?;
        let extra = stage.disk("extra.img", 64, FileSystem::Ext4, "extra")?;
        let machine = stage
            .direct()?
            .with_disk(&state)
            .with_disk(&extra)
            .with_config_drive(&stage.config_drive(Form::Iso, KEYS)?)
            .with_word(format!("rancher.state.dev=LABEL={STATE_LABEL}"));
        let guest = stage.boot(&machine)?;
        let mut judge = Judge::of(&stage.name);
        judge_nothing_pending(&mut judge, &guest);
        judge_files(&mut judge, &guest);
        judge_commands(&mut judge, &guest);
        judge_settings(&mut judge, &guest);
        judge_apply(&mut judge, &guest);
        judge_ros_config(&mut judge, &guest);
        judge.verdict(&guest.vm.console.tail(40))
    })
}

fn judge_files(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("write_files: content, permissions, owner", || {
        let text = ssh.ok("stat -c '%a %U %G' /home/rancher/plain; cat /home/rancher/plain")?;
        equal(text, "640 rancher docker\nplain text")
    });
    judge.check("write_files: base64 and folders", || {
        equal(
            ssh.ok("cat /opt/deep/folder/encoded; stat -c ' %a' /opt/deep/folder/encoded")?,
            "hello 644",
        )
    });
    judge.check("write_files: gzip in base64", || {
        equal(ssh.ok("cat /home/rancher/zipped")?, "hi")
    });
    judge.check("authorized_keys is the user's own", || {
        equal(
            ssh.ok("stat -c '%a %U' ~/.ssh/authorized_keys")?,
            "600 rancher",
        )
    });
}

fn judge_commands(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("bootcmd ran before Docker", || {
        equal(ssh.ok("cat /run/bootcmd-ran")?, "boot-")
    });
    judge.check("runcmd with a string", || {
        equal(ssh.ok("cat ~/runcmd-string")?, "string")
    });
    judge.check("runcmd with a list", || {
        ssh.ok("ls -l '/home/rancher/runcmd list'").map(drop)
    });
    judge.check("mounts by label and bind", || {
        let text = ssh.ok("grep -c -E ' (/mnt/extra|/home/rancher/bound) ext4' /proc/mounts")?;
        equal(text, "2")
    });
    judge.check("the user's Docker sees the mount", || {
        ssh.ok("echo seen | sudo tee /mnt/extra/file >/dev/null")?;
        let root =
            ssh.ok("sudo cat /proc/$(pidof dockerd | tr ' ' '\\n' | head -1)/root/mnt/extra/file")?;
        equal(root, "seen")
    });
}

fn judge_settings(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("sysctl", || {
        equal(ssh.ok("cat /proc/sys/vm/swappiness")?, "7")
    });
    judge.check("modules", || {
        ssh.ok("grep -q '^dummy ' /proc/modules || test -d /sys/module/dummy")
            .map(drop)
    });
    judge.check("hosts file names the host", || {
        contains(&ssh.ok("cat /etc/hosts")?, "configured")
    });
}

fn judge_ros_config(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("ros config get reads the merged value", || {
        equal(
            ssh.ok("sudo ros config get rancher.environment.FLAVOUR")?,
            "vanilla",
        )
    });
    judge.check("ros config set is read back", || {
        ssh.ok("sudo ros config set rancher.log true")?;
        equal(ssh.ok("sudo ros config get rancher.log")?, "true")
    });
    judge.check("ros config set refuses a wrong type", || {
        let answer = ssh.run("sudo ros config set rancher.ssh.port [1,2]")?;
        ensure(answer.code != 0, || {
            format!("exit code 0: {}", answer.text())
        })
    });
    judge.check("ros config merge", || {
        ssh.ok_with_input(
            "sudo ros config merge",
            b"rancher:\n  environment:\n    MERGED: yes\n",
        )?;
        equal(
            ssh.ok("sudo ros config get rancher.environment.MERGED")?,
            "yes",
        )
    });
    judge.check(
        "ros config export holds the user's keys and no private one",
        || {
            let text = ssh.ok("sudo ros config export")?;
            contains(&text, "vanilla")?;
            ensure(!text.contains("PRIVATE KEY"), || {
                "a private key is exported".into()
            })
        },
    );
    judge.check("ros config validate is content", || {
        ssh.ok("sudo ros config validate").map(drop)
    });
    judge.check("ros config validate names a bad key and fails", || {
        let answer = ssh.run_with_input(
            "sudo ros config validate -i /dev/stdin",
            b"rancher:\n  bad_key: 1\n",
        )?;
        ensure(answer.code != 0, || "exit code 0".into())?;
        contains(&answer.text(), "bad_key")
    });
    judge.check("configuration files are for root alone", || {
        let mode = ssh.ok("sudo stat -c %a /var/lib/rancher/conf/cloud-config.yml")?;
        equal(mode, "600")
    });
}

/// Line 3 is not YAML; `sysctl` in the other file has a value of the wrong type on line 3.
const BROKEN: &str = "#cloud-config\nhostname: broken\n  wrong: indent\nruncmd: [a\n";
const WRONG_TYPE: &str =
    "#cloud-config\nrancher:\n  ssh: [not, a, map]\n  environment:\n    STILL: here\n";

/// After a boot everybody acts by the configuration as it is.
fn judge_nothing_pending(judge: &mut Judge, guest: &Guest) {
    judge.check("after the boot nothing is left to apply", || {
        guest
            .ssh
            .wait_for("docker version", Patience::seconds(60))?;
        equal(
            guest.ssh.ok("sudo ros config apply --dry-run")?,
            "Nothing has changed.",
        )
    });
}

/// A change of everything that can be applied in another way.
const CHANGES: &str = "hostname: applied
ssh_authorized_keys: [KEY, another]
write_files:
  - {path: /home/rancher/applied, content: written later}
  - {path: /etc/chrony/extra, content: x, container: ntp}
runcmd: [echo again > /home/rancher/runcmd-again]
ntp: {servers: [192.0.2.9]}
rancher:
  sysctl: {vm.swappiness: 9}
  modules: [dummy, loop]
  docker: {log_driver: local}
  ssh: {listen_address: 0.0.0.0, port: 22}
";

fn judge_apply(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("ros config apply --dry-run says what would be done", || {
        let key = ssh.ok("sudo ros config get ssh_authorized_keys | head -n1 | cut -c3-")?;
        let changes = CHANGES.replace("KEY", &format!("'{key}'"));
        ssh.ok_with_input("sudo ros config merge", changes.as_bytes())?;
        let told = ssh.ok("sudo ros config apply --dry-run")?;
        for line in [
            "hostname now",
            "rancher.modules reboot",
            "rancher.docker.log_driver restart of docker; containers keep running",
            "write_files now",
            "ntp.servers restart of ntp",
        ] {
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_told = told
                .lines()
                .any(|said| said.split_whitespace().eq(words.iter().copied()));
            ensure(is_told, || format!("no `{line}` in\n{told}"))?;
        }
        ensure(!told.contains("rancher.ssh"), || told.clone())?;
        equal(ssh.ok("hostname")?, "configured")
    });
    judge.check("ros config apply does it", || {
        let daemon = ssh.ok("sudo cat /run/ros/docker/dockerd.pid")?;
        let told = ssh.run("sudo ros config apply 2>&1")?;
        equal(told.code, 0)?;
        for said in ["rancher.modules: `sudo reboot`", "ros service restart ntp"] {
            contains(&told.stdout, said)?;
        }
        ssh.wait_for("hostname | grep -x applied", Patience::seconds(30))?;
        equal(ssh.ok("cat /proc/sys/vm/swappiness")?, "9")?;
        equal(ssh.ok("cat /home/rancher/applied")?, "written later")?;
        equal(ssh.ok("cat /home/rancher/runcmd-again")?, "again")?;
        contains(&ssh.ok("cat ~/.ssh/authorized_keys")?, "another")?;
        ssh.wait_for("docker version", Patience::seconds(60))?;
        equal(
            ssh.ok("docker info --format '{{.LoggingDriver}}'")?,
            "local",
        )?;
        ensure(
            ssh.ok("sudo cat /run/ros/docker/dockerd.pid")? != daemon,
            || "dockerd was not started again".into(),
        )?;
        contains(
            &ssh.ok("sudo system-docker exec ntp cat /etc/chrony/sources.d/cloud-config.sources")?,
            "192.0.2.9",
        )
    });
    judge.check("what is left is for the reboot", || {
        let left = ssh.ok("sudo ros config apply --dry-run --format json")?;
        let left: String = left.split_whitespace().collect();
        equal(
            left.as_str(),
            r#"[{"by":["boot"],"key":"rancher.modules"}]"#,
        )
    });
    judge.check("Docker on the network takes whoever has a certificate, and nobody else", || {
        ssh.ok("sudo ros tls generate --server -H docker.example.com")?;
        ssh.ok("sudo ros tls generate")?;
        ssh.ok("sudo ros config set rancher.docker.tls true && sudo ros config apply")?;
        let version = |options: &str| {
            format!("docker {options} -H tcp://127.0.0.1:2376 version --format '{{{{.Server.Version}}}}'")
        };
        ssh.wait_for(&version("--tlsverify"), Patience::seconds(60))?;
        let own = "ip -4 -o addr show eth0 | awk '{print $4}' | cut -d/ -f1";
        ssh.ok(&format!("docker --tlsverify -H tcp://$({own}):2376 version"))?;
        // The daemon's certificate is good for no client.
        let nobody = "--tlsverify --tlscacert /home/rancher/.docker/ca.pem";
            let server = format!("{nobody} --tlscert /etc/docker/tls/server-cert.pem --tlskey /etc/docker/tls/server-key.pem");
        for stranger in [nobody, &server] {
            let refused = ssh.run(&format!("sudo {} 2>&1", version(stranger)))?;
            ensure(refused.code != 0, || refused.text())?;
            contains(&refused.stdout, "certificate")?;
        }
        equal(ssh.ok("stat -c '%a %U' ~/.docker/key.pem")?, "600 rancher")?;
        let exported = ssh.ok("sudo ros config export")?;
        ensure(!exported.contains("PRIVATE KEY"), || "a key is exported".into())
    });
    judge.check("a restart of the console puts its keys into effect", || {
        let started = "sudo system-docker inspect --format '{{.State.StartedAt}}' console";
        let before = ssh.ok(started)?;
        ssh.ok("sudo ros config set rancher.disable '[autologin]'")?;
        contains(
            &ssh.ok("sudo ros config apply --dry-run")?,
            "restart of console; ends logins",
        )?;
        // The connection ends with the console.
        drop(ssh.run("sudo ros config apply"));
        ssh.drop_connection();
        ssh.wait_for(
            &format!(
                "test \"$({started})\" != '{before}' && ! sudo ros config apply --dry-run | grep disable"
            ),
            Patience::seconds(60),
        )
        .map(drop)
    });
}

#[test]
fn broken_files_are_named_and_do_not_stop_the_boot() -> Result<()> {
    on_stage("broken-yaml", &[], |stage| {
        let tree = stage.scratch().join("tree");
        let folder = tree.join("var/lib/rancher/conf/cloud-config.d");
        std::fs::create_dir_all(&folder).map_err(HarnessError::file("make folder", &folder))?;
        for (name, text) in [("10-broken.yml", BROKEN), ("20-wrong-type.yml", WRONG_TYPE)] {
            let file = folder.join(name);
            std::fs::write(&file, text).map_err(HarnessError::file("write config", &file))?;
        }
        let disk = Disk::ext4_with(&stage.scratch().join("state.img"), 2048, STATE_LABEL, &tree)?;
        // The user data is broken too, so the key comes with the meta data.
        let content = Content {
            user_data: "#cloud-config\nrunc md:\n\t- tab\n".into(),
            meta_data: serde_json::json!({"public_keys": {"a": stage.key()?.public()}}).to_string(),
        };
        let drive = ConfigDrive::create(stage.scratch(), Form::Iso, &content)?;
        let machine = stage
            .direct()?
            .with_disk(&disk)
            .with_config_drive(&drive)
            .with_word(format!("rancher.state.dev=LABEL={STATE_LABEL}"));
        let guest = stage.boot(&machine)?;
        let mut judge = Judge::of(&stage.name);
        judge_complaints(&mut judge, &guest);
        judge.verdict(&guest.vm.console.tail(40))
    })
}

fn judge_complaints(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("the console names file and line", || {
        let lines = guest.vm.console.lines(Default::default());
        for part in ["10-broken.yml:3", "20-wrong-type.yml:3"] {
            ensure(lines.iter().any(|line| line.text.contains(part)), || {
                format!("no console line with {part}")
            })?;
        }
        Ok(())
    });
    judge.check(
        "ros config validate names files, lines and key and fails",
        || {
            let answer = ssh.run("sudo ros config validate")?;
            ensure(answer.code != 0, || {
                format!("exit code 0: {}", answer.text())
            })?;
            let text = answer.text();
            ["10-broken.yml:3", "20-wrong-type.yml:3", "rancher.ssh"]
                .iter()
                .try_for_each(|part| contains(&text, part))
        },
    );
    judge.check("the good part of a file with a wrong value is kept", || {
        equal(
            ssh.ok("sudo ros config get rancher.environment.STILL")?,
            "here",
        )
    });
    judge.check("docker works all the same", || {
        ssh.wait_for("docker version", Patience::seconds(90))
            .map(drop)
    });
}
