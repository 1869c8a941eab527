//! Services of the user beside ours: labels, order, templates, scope, and the `ros service` commands.

use std::path::Path;

use qemu_tests::Result;
use qemu_tests::config_drive::Form;
use qemu_tests::docker_archive;
use qemu_tests::error::HarnessError;
use qemu_tests::guest::Guest;
use qemu_tests::judge::{Judge, contains, ensure, equal};
use qemu_tests::stage::{load_image, on_stage};
use qemu_tests::wait::Patience;

const PROGRAM: &str = env!("CARGO_BIN_EXE_guest");

/// The base image is the one image with a shell that is always there.
const SERVICES: &str = r#"rancher:
  services:
    first:
      image: rancher/os-base:${VERSION}${SUFFIX}
      command: [sh, -c, "sleep 2; echo first >> /run/order"]
      volumes: ["/run:/run"]
      labels:
        io.rancher.os.scope: system
        io.rancher.os.detach: "false"
        io.rancher.os.before: second
    second:
      image: rancher/os-base:${VERSION}${SUFFIX}
      command: sh -c 'echo second >> /run/order; echo said-$$FLAVOUR; exec sleep 100000'
      environment: [FLAVOUR]
      volumes: ["/run:/run"]
      labels:
        io.rancher.os.scope: system
    third:
      image: rancher/os-base:${VERSION}${SUFFIX}
      command: [sh, -c, "echo third >> /run/order; exec sleep 100000"]
      volumes_from: [template]
      labels:
        - io.rancher.os.scope=system
        - io.rancher.os.after=second
    template:
      image: rancher/os-base:${VERSION}${SUFFIX}
      command: [sh, -c, "echo template >> /run/order"]
      volumes: ["/run:/run"]
      labels:
        io.rancher.os.scope: system
        io.rancher.os.createonly: "true"
    mistaken:
      image: rancher/os-base:${VERSION}${SUFFIX}
      no_such_key: 1
      labels:
        io.rancher.os.scope: system
    tick:
      image: rancher/os-base:${VERSION}${SUFFIX}
      command: [sh, -c, "echo tick >> /run/ticks"]
      volumes: ["/run:/run"]
      labels:
        io.rancher.os.scope: system
        io.rancher.os.createonly: "true"
        cron.schedule: "*/10 * * * * *"
    never:
      image: rancher/os-base:${VERSION}${SUFFIX}
      command: [sh, -c, "exec sleep 100000"]
      labels:
        io.rancher.os.scope: system
        cron.schedule: whenever
    mine:
      image: mine:1
      command: [http, "80", from-my-service]
      restart: always
  environment:
    FLAVOUR: vanilla
"#;

#[test]
fn labels_order_templates_and_commands() -> Result<()> {
    on_stage("services", &[], |stage| {
        let machine = stage
            .direct()?
            .with_config_drive(&stage.config_drive(Form::Iso, SERVICES)?);
        let guest = stage.boot(&machine)?;
        let mut judge = Judge::of(&stage.name);
        judge_order(&mut judge, &guest);
        judge_user_service(&mut judge, &guest);
        judge_commands(&mut judge, &guest);
        judge_removal(&mut judge, &guest);
        judge_preload(&mut judge, &guest);
        judge_schedule(&mut judge, &guest);
        judge_enable(&mut judge, &guest);
        judge.verdict(&guest.vm.console.tail(40))
    })
}

fn judge_order(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("before, after and detach order the start", || {
        ssh.wait_for("grep -q third /run/order", Patience::seconds(60))?;
        equal(ssh.ok("cat /run/order")?, "first\nsecond\nthird")
    });
    judge.check(
        "a createonly service lends its volumes and never runs",
        || {
            // `third` has /run from it, as the check before has shown.
            let names = ssh.ok("sudo system-docker ps --format '{{.Names}}'")?;
            ensure(!names.contains("template"), || names.clone())
        },
    );
    judge.check("variables come from rancher.environment", || {
        contains(&ssh.ok("sudo ros service logs second")?, "said-vanilla")
    });
    judge.check("log lines carry the service's name", || {
        contains(&ssh.ok("sudo ros service logs second")?, "second_1 | ")
    });
}

fn judge_user_service(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("a service without scope runs in the user's Docker", || {
        ssh.wait_for("docker version", Patience::seconds(90))?;
        load_image(guest, "mine:1", Path::new(PROGRAM))?;
        ssh.ok("sudo ros service up mine")?;
        contains(
            &ssh.ok("docker ps --format '{{.Names}} {{.Image}}'")?,
            "mine:1",
        )?;
        ensure(
            !ssh.ok("sudo system-docker ps --format '{{.Image}}'")?
                .contains("mine:1"),
            || "it runs in system-docker".into(),
        )
    });
}

fn judge_commands(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    let state = "sudo system-docker inspect -f '{{.State.Running}}' third";
    judge.check("stop, and it stays stopped", || {
        ssh.ok("sudo ros service stop third")?;
        equal(ssh.ok(state)?, "false")?;
        ssh.ok("sleep 5")?;
        equal(ssh.ok(state)?, "false")
    });
    judge.check("start", || {
        ssh.ok("sudo ros service start third")?;
        equal(ssh.ok(state)?, "true")
    });
    judge.check("restart is a new process", || {
        let pid = "sudo system-docker inspect -f '{{.State.Pid}}' third";
        let old = ssh.ok(pid)?;
        ssh.ok("sudo ros service restart third")?;
        let new = ssh.ok(pid)?;
        ensure(new != old && new != "0", || {
            format!("process {old} then {new}")
        })
    });
    judge.check("ps shows name and state", || {
        let text = ssh.ok("sudo ros service ps")?;
        contains(&text, "Name")?;
        contains(&text, "third")
    });
}

fn judge_removal(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    let there = || ssh.run("sudo system-docker inspect -f '{{.State.Status}}' third");
    judge.check("rm asks, and leaves alone what runs", || {
        let runs = ssh.run("sudo ros service rm third </dev/null")?;
        ensure(runs.code == 1, || format!("exit code {}", runs.code))?;
        contains(&runs.text(), "ros service stop third")?;
        ssh.ok("sudo ros service stop third")?;
        let no = ssh.run("echo n | sudo ros service rm third")?;
        contains(&no.text(), "Going to remove third")?;
        ensure(no.code == 1, || format!("exit code {}", no.code))?;
        equal(there()?.stdout.trim(), "exited")
    });
    judge.check("what is removed stays away until create and start", || {
        ssh.ok("echo y | sudo ros service rm third")?;
        ssh.ok("sleep 5")?;
        ensure(there()?.code != 0, || "it is there".into())?;
        ssh.ok("sudo ros service create third")?;
        equal(there()?.stdout.trim(), "created")?;
        ssh.ok("sudo ros service start third")?;
        equal(there()?.stdout.trim(), "running")
    });
    judge.check("kill, and restart brings back", || {
        let pid = "sudo system-docker inspect -f '{{.State.Pid}}' syslog";
        let old = ssh.ok(pid)?;
        ssh.ok("sudo ros service kill -s KILL syslog")?;
        ssh.wait_for(
            &format!("new=$({pid}) && [ $new != 0 ] && [ $new != {old} ]"),
            Patience::seconds(30),
        )?;
        let wrong = ssh.run("sudo ros service kill -s NOTHING syslog")?;
        ensure(wrong.code == 1, || format!("exit code {}", wrong.code))
    });
    judge.check("network and console come back when removed", || {
        let id = |name: &str| {
            ssh.ok(&format!(
                "sudo system-docker inspect -f '{{{{.Id}}}}' {name}"
            ))
        };
        let before = (id("network")?, id("console")?);
        contains(&ssh.ok("sudo ros service rm -f network")?, "made anew")?;
        // This login goes with the console.
        ssh.run("sudo ros service rm -f console").ok();
        ssh.drop_connection();
        ssh.wait_for_login(Patience::seconds(90), || Ok(()))?;
        let after = (id("network")?, id("console")?);
        ensure(before.0 != after.0 && before.1 != after.1, || {
            format!("{before:?} then {after:?}")
        })
    });
    judge.check("an image that cannot be had is an error", || {
        let file = "/var/lib/rancher/conf/far.yml";
        let text =
            "far:\n  image: 127.0.0.1:1/none:1\n  labels:\n    io.rancher.os.scope: system\n";
        ssh.ok_with_input(&format!("sudo tee {file} >/dev/null"), text.as_bytes())?;
        ssh.ok(&format!("sudo ros service enable {file}"))?;
        let answer = ssh.run("sudo ros service pull far")?;
        ensure(answer.code == 1, || format!("exit code {}", answer.code))?;
        contains(&answer.stderr, "Pulling far (127.0.0.1:1/none:1)...")?;
        contains(&answer.stderr, "rancher.registry_auths")?;
        let ignored = ssh.run("sudo ros service pull --ignore-pull-failures far")?;
        ensure(ignored.code == 0, || format!("exit code {}", ignored.code))?;
        ssh.ok(&format!("sudo ros service delete {file}")).map(drop)
    });
}

fn judge_preload(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check(
        "images on the disk are loaded, whatever else lies there",
        || {
            let folder = "/var/lib/rancher/preload/docker";
            let program = std::fs::read(PROGRAM).map_err(HarnessError::file("read", PROGRAM))?;
            let archive = docker_archive::image("packed:1", &program, "packed:1")?;
            ssh.ok(&format!(
                "sudo mkdir -p {folder}; echo no archive | sudo tee {folder}/bad.tar"
            ))?;
            ssh.ok_with_input(
                &format!("sudo tee {folder}/packed.tar >/dev/null"),
                &archive,
            )?;
            let file = "/var/lib/rancher/conf/packed.yml";
            let text = "packed:\n  image: packed:1\n  command: [http, '81', from-the-disk]\n";
            ssh.ok_with_input(&format!("sudo tee {file} >/dev/null"), text.as_bytes())?;
            ssh.ok(&format!("sudo ros service enable {file}"))?;
            ssh.ok("sudo ros service up packed")?;
            contains(
                &ssh.ok("docker ps --format '{{.Names}} {{.Image}}'")?,
                "packed packed:1",
            )?;
            let marks = ssh.ok(&format!("ls {folder}"))?;
            contains(&marks, "packed.tar.done")?;
            ensure(!marks.contains("bad.tar.done"), || marks.clone())
        },
    );
}

fn judge_schedule(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    let ticks = || -> Result<u32> {
        let count = ssh.ok("cat /run/ticks 2>/dev/null | wc -l")?;
        Ok(count.trim().parse().unwrap_or_default())
    };
    judge.check("a schedule starts its service again and again", || {
        let before = ticks()?;
        ssh.wait_for(
            &format!("[ $(cat /run/ticks | wc -l) -ge {} ]", before + 2),
            Patience::seconds(60),
        )?;
        ssh.ok("sudo ros service stop tick")?;
        let stopped = ticks()?;
        ssh.ok("sleep 12")?;
        equal(ticks()?, stopped)
    });
    judge.check("what is no schedule is named with its place", || {
        let said = ssh.run("sudo ros config validate")?.text();
        contains(
            &said,
            "rancher.services.never.labels.cron.schedule: `whenever` is no schedule",
        )?;
        contains(&said, ".yml:")
    });
}

fn judge_enable(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    let file = "/var/lib/rancher/conf/extra.yml";
    judge.check("enable a file, up, list, disable", || {
        let version = ssh.ok("sudo ros config get rancher.environment.VERSION")?;
        let text = format!(
            "extra:\n  image: rancher/os-base:{version}\n  command: [sleep, '100000']\n  labels:\n    io.rancher.os.scope: system\n"
        );
        ssh.ok_with_input(&format!("sudo tee {file} >/dev/null"), text.as_bytes())?;
        ssh.ok(&format!("sudo ros service enable {file}"))?;
        contains(&ssh.ok("sudo ros service list")?, &format!("enabled  {file}"))?;
        ssh.ok("sudo ros service up extra")?;
        contains(&ssh.ok("sudo system-docker ps --format '{{.Names}}'")?, "extra")?;
        ssh.ok(&format!("sudo ros service disable {file}"))?;
        contains(&ssh.ok("sudo ros service list")?, &format!("disabled {file}"))?;
        ssh.ok("sudo ros service rm -f extra")?;
        ssh.ok(&format!("sudo ros service delete {file}"))?;
        let list = ssh.ok("sudo ros service list")?;
        ensure(!list.contains(file), || list.clone())?;
        let again = ssh.run(&format!("sudo ros service delete {file}"))?;
        ensure(again.code == 1, || format!("exit code {}", again.code))
    });
    judge.check("a file elsewhere is refused", || {
        let answer = ssh.run("sudo ros service enable /tmp/extra.yml")?;
        ensure(answer.code != 0, || "exit code 0".into())?;
        contains(
            &answer.text(),
            "Service should be in path /var/lib/rancher/conf",
        )
    });
    judge.check("an unknown service is refused", || {
        let answer = ssh.run("sudo ros service up nowhere")?;
        ensure(answer.code != 0, || "exit code 0".into())?;
        contains(&answer.text(), "nowhere")
    });
}
