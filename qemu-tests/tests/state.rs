//! The state file system: none, made on an empty disk, found by label, UUID or path, on ext4, btrfs and xfs, late, absent, shared
//! with another system; and that it carries what it should from boot to boot.

use std::path::Path;

use qemu_tests::Result;
use qemu_tests::config_drive::Form;
use qemu_tests::console::Mark;
use qemu_tests::disk::{FileSystem, STATE_LABEL};
use qemu_tests::guest::Guest;
use qemu_tests::judge::{Judge, contains, ensure, equal};
use qemu_tests::machine::Machine;
use qemu_tests::stage::{Stage, load_image, on_stage};
use qemu_tests::vm::Vm;
use qemu_tests::wait::Patience;

const PROGRAM: &str = env!("CARGO_BIN_EXE_guest");
const DOCKER: Patience = Patience::seconds(90);

/// A machine with the key on a config drive.
fn keyed(stage: &Stage) -> Result<Machine> {
    Ok(stage
        .direct()?
        .with_config_drive(&stage.config_drive(Form::Iso, "")?))
}

fn state_of(guest: &Guest) -> Result<String> {
    guest.ssh.ok("cat /run/ros/boot.json")
}

#[test]
fn an_empty_disk_is_formatted_and_keeps_data_over_a_reboot() -> Result<()> {
    on_stage("state-autoformat", &[], |stage| {
        let disk = stage.disk("state.img", 4096, FileSystem::None, "")?;
        let machine = keyed(stage)?
            .with_disk(&disk)
            .with_word(format!("rancher.state.dev=LABEL={STATE_LABEL}"))
            .with_word("rancher.state.autoformat=[/dev/vda]");
        let mut guest = stage.boot(&machine)?;
        let mut judge = Judge::of(&stage.name);
        judge.check("state is on the disk", || {
            contains(&state_of(&guest)?, "/dev/vda")
        });
        leave_traces(&mut judge, &guest);
        let old = guest.boot_id()?;
        judge.check("sudo reboot brings it back", || {
            drop(guest.ssh.run("sudo reboot")?);
            guest.wait_for_next_login(&old)
        });
        find_traces(&mut judge, &guest);
        judge.check("ACPI power-off", || {
            guest
                .vm
                .power_off_by_button(Patience::seconds(120))
                .map(drop)
        });
        judge.check("its label is the conventional one", || {
            equal(disk.label()?, STATE_LABEL)
        });
        judge.check("it is clean", || disk.check_ext4_clean());
        judge.verdict(&guest.vm.console.tail(40))
    })
}

/// What the ssh server presents as its identity.
const HOST_KEYS: &str = "sudo sha256sum /var/lib/rancher/conf/ssh/ssh_host_ed25519_key";

fn leave_traces(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("leave traces", || {
        ssh.ok(&format!("{HOST_KEYS} > /home/rancher/host-keys"))?;
        ssh.ok("echo mine > /home/rancher/file; echo mine | sudo tee /opt/file >/dev/null")?;
        ssh.ok("sudo ros config set rancher.environment.TRACE kept")?;
        ssh.wait_for("docker version", DOCKER)?;
        load_image(guest, "keep:1", Path::new(PROGRAM))?;
        ssh.ok("docker run -d --restart always --name stays keep:1 idle")
            .map(drop)
    });
    judge.check("a system image of the user stays beside ours", || {
        ssh.ok("docker save keep:1 | sudo system-docker load")?;
        ssh.ok("sudo system-docker image prune -f").map(drop)
    });
}

fn find_traces(judge: &mut Judge, guest: &Guest) {
    let ssh = &guest.ssh;
    judge.check("files in /home and /opt are back", || {
        equal(ssh.ok("cat /home/rancher/file /opt/file")?, "mine\nmine")
    });
    judge.check("ros config set is back", || {
        equal(
            ssh.ok("sudo ros config get rancher.environment.TRACE")?,
            "kept",
        )
    });
    judge.check("ssh host keys are the same", || {
        let old = ssh.ok("cat /home/rancher/host-keys")?;
        equal(ssh.ok(HOST_KEYS)?, old)
    });
    judge.check("images and restarting containers are back", || {
        ssh.wait_for("docker version", DOCKER)?;
        contains(&ssh.ok("docker images")?, "keep")?;
        ssh.wait_for("docker ps --format '{{.Names}}' | grep -x stays", DOCKER)
            .map(drop)
    });
    judge.check("system images survive other images and a prune", || {
        let images = ssh.ok("sudo system-docker images --format '{{.Repository}}'")?;
        contains(&images, "keep")?;
        contains(&images, "rancher/os-console")?;
        // A login and Docker are there before the last of the services has started.
        for name in ["console", "syslog"] {
            let listed =
                format!("sudo system-docker ps --format '{{{{.Names}}}}' | grep -x {name}");
            ssh.wait_for(&listed, DOCKER)?;
        }
        Ok(())
    });
}

#[test]
fn without_any_disk_all_is_in_ram() -> Result<()> {
    on_stage("state-ram", &[], |stage| {
        // The device is named but absent, and not required.
        let machine = keyed(stage)?.with_word(format!("rancher.state.dev=LABEL={STATE_LABEL}"));
        let guest = stage.boot(&machine)?;
        let mut judge = Judge::of(&stage.name);
        judge.check("the boot report says so", || {
            let text = state_of(&guest)?;
            let flat: String = text.split_whitespace().collect();
            contains(&flat, "\"state\":null")
        });
        judge.check("docker works", || {
            guest.ssh.wait_for("docker version", DOCKER)?;
            load_image(&guest, "ram:1", Path::new(PROGRAM))?;
            equal(guest.ssh.ok("docker run --rm ram:1 print hello")?, "hello")
        });
        judge.verdict(&guest.vm.console.tail(40))
    })
}

#[test]
fn btrfs_by_uuid() -> Result<()> {
    on_stage("state-btrfs", &["mkfs.btrfs"], |stage| {
        let disk = stage.disk("state.img", 4096, FileSystem::Btrfs, "other")?;
        let word = format!("rancher.state.dev=UUID={}", disk.uuid()?);
        judge_found(
            stage,
            keyed(stage)?.with_disk(&disk).with_word(word),
            "btrfs",
        )
    })
}

#[test]
fn xfs_by_path() -> Result<()> {
    on_stage("state-xfs", &["mkfs.xfs"], |stage| {
        let disk = stage.disk("state.img", 4096, FileSystem::Xfs, "other")?;
        let machine = keyed(stage)?
            .with_disk(&disk)
            .with_word("rancher.state.dev=/dev/vda");
        judge_found(stage, machine, "xfs")
    })
}

fn judge_found(stage: &Stage, machine: Machine, system: &str) -> Result<()> {
    let guest = stage.boot(&machine)?;
    let mut judge = Judge::of(&stage.name);
    judge.check("the state file system is the one on the disk", || {
        contains(&state_of(&guest)?, system)?;
        equal(
            guest
                .ssh
                .ok("awk '$2 == \"/home\" {print $3}' /proc/mounts")?,
            system,
        )
    });
    judge.check("docker works on it", || {
        guest.ssh.wait_for("docker version", DOCKER)?;
        load_image(&guest, "disk:1", Path::new(PROGRAM))?;
        equal(guest.ssh.ok("docker run --rm disk:1 print hello")?, "hello")
    });
    judge.verdict(&guest.vm.console.tail(40))
}

#[test]
fn a_late_disk_is_waited_for_and_a_directory_of_it_is_used() -> Result<()> {
    on_stage("state-late", &[], |stage| {
        let disk = stage.disk("state.img", 4096, FileSystem::Ext4, STATE_LABEL)?;
        let machine = keyed(stage)?
            .with_word(format!("rancher.state.dev=LABEL={STATE_LABEL}"))
            .with_word("rancher.state.wait=true")
            .with_word("rancher.state.directory=ros/state");
        let mut vm = Vm::start(&machine, &stage.logs())?;
        vm.wait_for_text("waiting for state device", Patience::seconds(60))?;
        vm.monitor.plug_disk(disk.file())?;
        let mut guest = Guest::enter(vm, stage.key()?, stage.ssh_port)?;
        let mut judge = Judge::of(&stage.name);
        judge.check("state is on the late disk", || {
            contains(&state_of(&guest)?, "/dev/vd")
        });
        judge.check("power-off", || {
            guest
                .vm
                .power_off_by_button(Patience::seconds(120))
                .map(drop)
        });
        judge.check("only the directory was used", || {
            let inside = disk.ext4_list("/ros/state")?;
            contains(&inside, "home")?;
            let top = disk.ext4_list("/")?;
            ensure(!top.contains("home"), || top.clone())
        });
        judge.verdict(&guest.vm.console.tail(40))
    })
}

#[test]
fn a_required_disk_that_is_missing_leads_to_recovery() -> Result<()> {
    on_stage("state-required", &[], |stage| {
        let machine = keyed(stage)?
            .with_word("rancher.state.dev=LABEL=ABSENT")
            .with_word("rancher.state.required=true")
            .with_word("rancher.autologin=ttyS0");
        let mut vm = Vm::start(&machine, &stage.logs())?;
        let mut judge = Judge::of(&stage.name);
        let patience = Patience::seconds(150);
        judge.check("the console says why", || {
            vm.wait_for_text("RancherOS has failed to boot", patience)?;
            vm.wait_for_text("Launching recovery console", patience)
                .map(drop)
        });
        judge.check("it offers a root shell", || {
            vm.wait_for_text("[Recovery console", patience)?;
            let mark: Mark = vm.console.mark();
            vm.console.type_text("echo shell-$((20+3))-$(id -u)\n")?;
            vm.console
                .wait_for(mark, "shell-23-0", Patience::seconds(30))
                .map(drop)
        });
        judge.verdict(&vm.console.tail(40))
    })
}
