//! What must not bring the system down: killed daemons, little RAM, a full disk, a container that does not want to stop.

use std::path::Path;
use std::time::Duration;

use qemu_tests::config_drive::Form;
use qemu_tests::disk::{FileSystem, STATE_LABEL};
use qemu_tests::guest::{Guest, free_port, user_nic};
use qemu_tests::judge::{Judge, contains, ensure, equal};
use qemu_tests::stage::{load_image, on_stage};
use qemu_tests::wait::{Look, Patience, until};
use qemu_tests::{Result, http};

const PROGRAM: &str = env!("CARGO_BIN_EXE_guest");
/// When each system container was started.
const STARTED: &str = "sudo system-docker ps -q | sort | \
    xargs sudo system-docker inspect -f '{{.Name}} {{.State.StartedAt}}'";
const BACK: Patience = Patience::seconds(90);

#[test]
fn killed_daemons_take_no_container_down_and_come_back() -> Result<()> {
    on_stage("killed-daemons", &[], |stage| {
        let published = free_port()?;
        let mut machine = stage
            .direct()?
            .with_config_drive(&stage.config_drive(Form::Iso, "")?);
        machine.nics = vec![user_nic(stage.ssh_port, &[(published, 8080)])];
        let guest = stage.boot(&machine)?;
        guest.ssh.wait_for("docker version", BACK)?;
        load_image(&guest, "web:1", Path::new(PROGRAM))?;
        guest
            .ssh
            .ok("docker run -d --name web -p 8080:80 web:1 http 80 alive")?;
        let mut judge = Judge::of(&stage.name);
        // A child of PID 1: the other dockerd is the user's, in its container.
        let system = "for p in $(pidof dockerd); do grep -q '^PPid:\t1$' /proc/$p/status && echo $p; done | head -1";
        let users = "for p in $(pidof dockerd); do grep -q '^PPid:\t1$' /proc/$p/status || echo $p; done | head -1";
        let daemons = [
            ("system dockerd", system),
            ("containerd", "pidof containerd"),
            ("user's dockerd", users),
            ("service manager", "pidof ros-sysinit"),
        ];
        // Only what is up can be seen to stay up.
        guest
            .ssh
            .wait_for("sudo system-docker ps | grep -q ntp && sleep 2", BACK)?;
        for (name, pid) in daemons {
            let before = guest.ssh.ok(STARTED)?;
            judge_kill(&mut judge, &guest, name, pid);
            judge_unhurt(&mut judge, &guest, name, published);
            judge.check(
                &format!("{name} killed: no system container was started anew"),
                || equal(guest.ssh.ok(STARTED)?, before),
            );
        }
        judge.check("a killed service comes back", || {
            kill_and_wait(&guest, "pidof rsyslogd")
        });
        judge.check("new containers start after all that", || {
            guest.ssh.wait_for("docker version", BACK)?;
            equal(guest.ssh.ok("docker run --rm web:1 print hello")?, "hello")
        });
        judge.verdict(&guest.vm.console.tail(40))
    })
}

fn judge_kill(judge: &mut Judge, guest: &Guest, name: &str, pid: &str) {
    judge.check(&format!("{name} comes back after kill -9"), || {
        kill_and_wait(guest, pid)
    });
}

/// Kills what `pid` prints and waits until it prints something else.
fn kill_and_wait(guest: &Guest, pid: &str) -> Result<()> {
    let ssh = &guest.ssh;
    let old = ssh.ok(pid)?;
    ensure(!old.is_empty(), || "it does not run".into())?;
    ssh.ok(&format!("sudo kill -9 {old}"))?;
    until("a new process", BACK.every(Duration::from_secs(1)), || {
        let answer = ssh.run(pid)?;
        let new = answer.stdout.trim();
        Ok(if new.is_empty() || new == old {
            Look::NotYet(format!("old {old}, now {new:?}"))
        } else {
            Look::Seen(())
        })
    })
}

fn judge_unhurt(judge: &mut Judge, guest: &Guest, killed: &str, published: u16) {
    let ssh = &guest.ssh;
    judge.check(
        &format!("{killed} killed: the user's container still answers"),
        || equal(http::get(published, "/", Patience::seconds(20))?, "alive"),
    );
    judge.check(
        &format!("{killed} killed: both daemons answer and know their containers"),
        || {
            let names = ssh.wait_for("sudo system-docker ps --format '{{.Names}}'", BACK)?;
            contains(&names, "console")?;
            ssh.wait_for(
                "docker ps --format '{{.Names}} {{.Status}}' | grep 'web Up'",
                BACK,
            )
            .map(drop)
        },
    );
}

#[test]
fn half_a_gibibyte_of_ram_is_enough() -> Result<()> {
    on_stage("small-ram", &[], |stage| {
        let disk = stage.disk("state.img", 4096, FileSystem::Ext4, STATE_LABEL)?;
        let machine = stage
            .direct()?
            .with_memory(512)
            .with_disk(&disk)
            .with_config_drive(&stage.config_drive(Form::Iso, "")?)
            .with_word(format!("rancher.state.dev=LABEL={STATE_LABEL}"));
        let guest = stage.boot(&machine)?;
        let mut judge = Judge::of(&stage.name);
        judge.check("it runs a container", || {
            guest.ssh.wait_for("docker version", BACK)?;
            load_image(&guest, "small:1", Path::new(PROGRAM))?;
            equal(
                guest.ssh.ok("docker run --rm small:1 print hello")?,
                "hello",
            )
        });
        judge.check("nothing was killed for want of memory", || {
            let killed = guest.vm.console.find(Default::default(), "Out of memory");
            ensure(killed.is_none(), || format!("{killed:?}"))
        });
        judge.verdict(&guest.vm.console.tail(40))
    })
}

#[test]
fn a_full_disk_stops_neither_login_nor_power_off_nor_the_next_boot() -> Result<()> {
    on_stage("full-disk", &[], |stage| {
        let disk = stage.disk("state.img", 512, FileSystem::Ext4, STATE_LABEL)?;
        let machine = stage
            .direct()?
            .with_disk(&disk)
            .with_config_drive(&stage.config_drive(Form::Iso, "")?)
            .with_word(format!("rancher.state.dev=LABEL={STATE_LABEL}"));
        let mut guest = stage.boot(&machine)?;
        let mut judge = Judge::of(&stage.name);
        judge.check("fill the disk", || {
            guest.ssh.wait_for("docker version", BACK)?;
            // dd fails when nothing is left; that is the point.
            guest.ssh.run("sudo dd if=/dev/zero of=/home/rancher/fill bs=1M; sudo dd if=/dev/zero of=/home/rancher/fill2 bs=4k; sync")?;
            let left = guest.ssh.ok("df -P /home | awk 'NR==2 {print $4}'")?;
            ensure(left == "0", || format!("{left} KiB left"))
        });
        let old = guest.boot_id()?;
        judge.check("it reboots to a login", || {
            drop(guest.ssh.run("sudo reboot")?);
            guest.wait_for_next_login(&old)
        });
        judge.check("it is still full, and can be emptied", || {
            guest
                .ssh
                .ok("ls /home/rancher/fill && sudo rm -f /home/rancher/fill /home/rancher/fill2")
                .map(drop)
        });
        judge.check("docker is there afterwards", || {
            guest.ssh.wait_for("docker version", BACK).map(drop)
        });
        judge.check("power-off", || {
            drop(guest.ssh.run("sudo poweroff")?);
            guest.vm.wait_for_power_off(Patience::seconds(90)).map(drop)
        });
        judge.check("the file system is clean", || disk.check_ext4_clean());
        judge.verdict(&guest.vm.console.tail(40))
    })
}

#[test]
fn a_stuck_shutdown_has_a_hard_limit() -> Result<()> {
    on_stage("stuck-shutdown", &[], |stage| {
        let disk = stage.disk("state.img", 2048, FileSystem::Ext4, STATE_LABEL)?;
        let more = "rancher:\n  shutdown_timeout: 8\n";
        let machine = stage
            .direct()?
            .with_disk(&disk)
            .with_config_drive(&stage.config_drive(Form::Iso, more)?)
            .with_word(format!("rancher.state.dev=LABEL={STATE_LABEL}"));
        let mut guest = stage.boot(&machine)?;
        let mut judge = Judge::of(&stage.name);
        judge.check(
            "start a container that ignores SIGTERM for ten minutes",
            || {
                guest.ssh.wait_for("docker version", BACK)?;
                load_image(&guest, "stuck:1", Path::new(PROGRAM))?;
                guest
                    .ssh
                    .ok("docker run -d --stop-signal TERM --stop-timeout 600 stuck:1 idle")
                    .map(drop)
            },
        );
        judge.check("the machine is off soon after the limit", || {
            drop(guest.ssh.run("sudo poweroff")?);
            // 8 s by configuration; the rest is emulation.
            guest.vm.wait_for_power_off(Patience::seconds(60)).map(drop)
        });
        judge.check("the file system is clean all the same", || {
            disk.check_ext4_clean()
        });
        judge.verdict(&guest.vm.console.tail(40))
    })
}
