//! Each way to the kernel: the ISO in a CD drive and on a USB stick, with BIOS and with UEFI, and as a virtio disk.
//! The direct way is taken by all other tests, but for a machine without a console.

use qemu_tests::Result;
use qemu_tests::artefacts::{bios_boot, uefi_boot};
use qemu_tests::config_drive::Form;
use qemu_tests::judge::{Judge, contains, ensure, equal};
use qemu_tests::machine::{Boot, Slot};
use qemu_tests::stage::{Stage, on_stage};
use qemu_tests::wait::Patience;

#[test]
fn cd_with_bios() -> Result<()> {
    on_stage("iso-cd-bios", &[], |stage| {
        judge_medium(stage, bios_boot(Slot::Cd)?)
    })
}

#[test]
fn cd_with_uefi() -> Result<()> {
    on_stage("iso-cd-uefi", &[], |stage| {
        judge_medium(stage, uefi_boot(Slot::Cd, stage.scratch())?)
    })
}

#[test]
fn usb_stick_with_bios() -> Result<()> {
    on_stage("iso-usb-bios", &[], |stage| {
        judge_medium(stage, bios_boot(Slot::Usb)?)
    })
}

#[test]
fn usb_stick_with_uefi() -> Result<()> {
    on_stage("iso-usb-uefi", &[], |stage| {
        judge_medium(stage, uefi_boot(Slot::Usb, stage.scratch())?)
    })
}

#[test]
fn virtio_disk_with_bios() -> Result<()> {
    on_stage("iso-virtio-bios", &[], |stage| {
        judge_medium(stage, bios_boot(Slot::Virtio)?)
    })
}

/// `console=` names a line that the machine does not have: whatever is written to the console gives an error.
#[test]
fn without_a_console() -> Result<()> {
    on_stage("no-console", &[], |stage| {
        let drive = stage.config_drive(Form::Iso, "runcmd: [touch /home/rancher/ran]\n")?;
        let mut machine = stage.direct()?.with_config_drive(&drive);
        machine
            .command_line
            .retain(|word| !word.starts_with("console="));
        let mut guest = stage.boot(&machine.with_word("console=ttyS3"))?;
        let mut judge = Judge::of(&stage.name);
        judge.check("docker answers", || {
            guest
                .ssh
                .wait_for("docker version", Patience::seconds(90))
                .map(drop)
        });
        judge.check("every service runs", || {
            let all = "test $(sudo system-docker ps -q | wc -l) -ge 7 && ls /home/rancher/ran";
            guest.ssh.wait_for(all, Patience::seconds(90)).map(drop)
        });
        judge.check("what the system says is in the kernel's log", || {
            contains(&guest.ssh.ok("dmesg")?, "ros-sysinit:info: [")
        });
        judge.check("power-off", || {
            drop(guest.ssh.run("sudo poweroff")?);
            guest.vm.wait_for_power_off(Patience::seconds(90)).map(drop)
        });
        judge.verdict(&guest.vm.console.tail(40))
    })
}

fn judge_medium(stage: &Stage, boot: Boot) -> Result<()> {
    let machine = stage
        .machine(boot)
        .with_config_drive(&stage.config_drive(Form::Iso, "hostname: medium\n")?);
    let mut guest = stage.boot(&machine)?;
    let mut judge = Judge::of(&stage.name);
    judge.check("the config drive beside the medium is used", || {
        equal(guest.ssh.ok("hostname")?, "medium")
    });
    judge.check("the root image is on the medium, not in RAM", || {
        let text = guest.ssh.ok("cat /run/ros/boot.json")?;
        ensure(!text.contains("\"initramfs\""), || text.clone())?;
        contains(&text, "/dev/")
    });
    judge.check("docker answers", || {
        guest
            .ssh
            .wait_for("docker version", Patience::seconds(90))
            .map(drop)
    });
    judge.check("the power button powers off", || {
        // acpid is among the last to start: nothing at boot waits for it, and a press that nobody reads is lost.
        guest.ssh.wait_for(
            "sudo ros service ps | grep acpid | grep -i up",
            Patience::seconds(90),
        )?;
        guest
            .vm
            .power_off_by_button(Patience::seconds(120))
            .map(drop)
    });
    judge.verdict(&guest.vm.console.tail(40))
}
