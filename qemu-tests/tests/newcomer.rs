//! What a newcomer does after `make run`, judged in one boot: log in, look around, run containers, power off.

use std::path::Path;
use std::time::Duration;

use qemu_tests::config_drive::Form;
use qemu_tests::disk::{FileSystem, STATE_LABEL};
use qemu_tests::guest::{Guest, free_port, user_nic};
use qemu_tests::judge::{Judge, contains, ensure, equal};
use qemu_tests::stage::{load_image, on_stage};
use qemu_tests::wait::Patience;
use qemu_tests::{HarnessError, Result, http};

const PROGRAM: &str = env!("CARGO_BIN_EXE_guest");
/// The services that the image ships and keeps running. `cloud-init` is there only where a data source needs the network.
const SERVICES: [&str; 7] = [
    "udev", "network", "ntp", "syslog", "acpid", "console", "docker",
];

#[test]
fn login_docker_run_and_power_off() -> Result<()> {
    on_stage("newcomer", &[], |stage| {
        let published = free_port()?;
        let disk = stage.disk("state.img", 8192, FileSystem::Ext4, STATE_LABEL)?;
        let mut machine = stage
            .direct()?
            .with_disk(&disk)
            .with_config_drive(&stage.config_drive(Form::Iso, "hostname: newcomer\n")?)
            .with_word(format!("rancher.state.dev=LABEL={STATE_LABEL}"));
        machine.nics = vec![user_nic(stage.ssh_port, &[(published, 8080)])];
        let mut guest = stage.boot(&machine)?;
        let mut judge = Judge::of(&stage.name);
        judge_identity(&mut judge, &guest);
        judge_services(&mut judge, &guest);
        judge_containers(&mut judge, &guest, published);
        judge_orphans(&mut judge, &guest);
        judge.check("sudo poweroff ends the machine", || {
            // The connection dies with the machine; its status says nothing.
            drop(guest.ssh.run("sudo poweroff")?);
            guest.vm.wait_for_power_off(Patience::seconds(90)).map(drop)
        });
        judge.check("the state file system is clean", || disk.check_ext4_clean());
        judge.verdict(&guest.vm.console.tail(40))
    })
}

fn judge_identity(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("PID 1 is our init", || {
        // The initramfs that it was started from is emptied once the root image is mounted.
        let link = ssh.ok("sudo readlink /proc/1/exe")?;
        equal(link.trim_end_matches(" (deleted)"), "/init")
    });
    judge.check("the host name comes from the cloud-config", || {
        equal(ssh.ok("hostname")?, "newcomer")
    });
    judge.check("os-release names RancherOS", || {
        equal(
            ssh.ok(". /etc/os-release; echo $NAME $ID")?,
            "RancherOS rancheros",
        )
    });
    judge.check("user rancher has number 1100 and group docker", || {
        let text = ssh.ok("id")?;
        contains(&text, "uid=1100(rancher)")?;
        contains(&text, "(docker)")
    });
    judge.check("root is locked and nobody has a password", || {
        let shadow = ssh.ok("sudo cat /etc/shadow")?;
        let open = shadow.lines().find(|line| {
            line.split(':')
                .nth(1)
                .is_none_or(|password| !password.starts_with(['!', '*']))
        });
        ensure(open.is_none(), || {
            format!("a password field is open: {open:?}")
        })
    });
    judge.check("the boot report lists phases and the state disk", || {
        let text = ssh.ok("cat /run/ros/boot.json")?;
        let report: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| HarnessError::Form {
                what: "boot.json",
                detail: error.to_string(),
            })?;
        ensure(
            report["phases"]
                .as_array()
                .is_some_and(|phases| phases.len() > 3),
            || text.clone(),
        )?;
        contains(&report["state"].to_string(), "/dev/vda")
    });
    judge.check("the console shows each phase", || {
        let lines = guest.vm.console.lines(Default::default());
        let phases = lines
            .iter()
            .filter(|line| line.text.contains("phase "))
            .count();
        ensure(phases > 3, || format!("{phases} lines with `phase`"))
    });
    judge.check("cgroup v2", || {
        equal(
            ssh.ok("awk '$2 == \"/sys/fs/cgroup\" {print $3}' /proc/mounts")?,
            "cgroup2",
        )
    });
    judge.check("ros os version", || {
        let version = ssh.ok("sudo ros os version")?;
        ensure(version.starts_with('v') || version.starts_with('2'), || {
            version.clone()
        })
    });
}

fn judge_services(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("every service is a container of system-docker", || {
        let patience = Patience::seconds(60);
        let command = "sudo system-docker ps --format '{{.Names}}' | tr '\\n' ' '";
        qemu_tests::wait::until(
            "all services",
            patience.every(Duration::from_secs(1)),
            || {
                let names = ssh.ok(command)?;
                let missing: Vec<&str> = SERVICES
                    .into_iter()
                    .filter(|name| !names.split(' ').any(|one| one == *name))
                    .collect();
                Ok(match missing.is_empty() {
                    true => qemu_tests::wait::Look::Seen(()),
                    false => {
                        qemu_tests::wait::Look::NotYet(format!("without {missing:?}: {names}"))
                    }
                })
            },
        )
    });
    judge.check("ros service ps lists them", || {
        let text = ssh.ok("sudo ros service ps")?;
        SERVICES.iter().try_for_each(|name| contains(&text, name))
    });
    judge.check("a wrong service name is an error", || {
        let answer = ssh.run("sudo ros service restart no-such-service")?;
        ensure(answer.code != 0, || {
            format!("exit code 0: {}", answer.text())
        })
    });
    judge.check("system-docker is root's alone", || {
        let answer = ssh.run("DOCKER_HOST=unix:///var/run/system-docker.sock docker ps")?;
        ensure(answer.code != 0, || "a plain user can reach it".into())
    });
}

fn judge_containers(judge: &mut Judge, guest: &Guest, published: u16) {
    let ssh = &guest.ssh;
    judge.check("docker version answers for the user", || {
        ssh.wait_for("docker version", Patience::seconds(90))
            .map(drop)
    });
    let loaded = judge.check("docker load", || {
        contains(&load_image(guest, "web:1", Path::new(PROGRAM))?, "web:1")
    });
    if !loaded {
        return;
    }
    judge.check("docker run --rm prints", || {
        equal(ssh.ok("docker run --rm web:1 print hello")?, "hello")
    });
    judge.check("a published port answers from the host", || {
        ssh.ok("docker run -d --name web -p 8080:80 web:1 http 80 hello-from-container")?;
        equal(
            http::get(published, "/", Patience::seconds(30))?,
            "hello-from-container",
        )
    });
    judge.check("docker ps shows it", || {
        contains(&ssh.ok("docker ps")?, "0.0.0.0:8080->80/tcp")
    });
    judge.check("docker exec", || {
        equal(ssh.ok("docker exec web /guest print inside")?, "inside")
    });
    judge.check("a home folder can be mounted into a container", || {
        ssh.ok("echo from-home > /home/rancher/file")?;
        let text = ssh.ok("docker run --rm -v /home/rancher:/data web:1 cat /data/file")?;
        equal(text, "from-home")
    });
    judge.check(
        "docker rm -f of everything does not hurt the system",
        || {
            ssh.ok("docker rm -f $(docker ps -qa)")?;
            equal(ssh.ok("docker ps -qa")?, "")?;
            let count = ssh.ok("sudo system-docker ps -q | wc -l")?;
            ensure(
                count
                    .parse::<usize>()
                    .is_ok_and(|count| count >= SERVICES.len()),
                || count.clone(),
            )
        },
    );
}

fn judge_orphans(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("orphans are reaped", || {
        ssh.ok("for i in 1 2 3 4 5; do (sh -c 'sleep 0.1 &' &); done; sleep 1")?;
        let zombies =
            "for f in /proc/[0-9]*/stat; do cat $f 2>/dev/null; done | grep -c ') Z ' || true";
        let patience = Patience::seconds(20);
        qemu_tests::wait::until("no zombie", patience, || {
            let count = ssh.ok(zombies)?;
            Ok(if count == "0" {
                qemu_tests::wait::Look::Seen(())
            } else {
                qemu_tests::wait::Look::NotYet(format!("{count} zombies"))
            })
        })
    });
}
