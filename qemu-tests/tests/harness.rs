//! The harness itself: QEMU accepts every kind of machine it describes. Nothing is booted; each machine lives for a moment.

use qemu_tests::Result;
use qemu_tests::artefacts::uefi_firmware;
use qemu_tests::config_drive::Form;
use qemu_tests::disk::FileSystem;
use qemu_tests::judge::Judge;
use qemu_tests::machine::{Boot, Firmware, Machine, Net, Nic, Slot};
use qemu_tests::stage::{Stage, on_stage};
use qemu_tests::vm::Vm;
use qemu_tests::wait::Patience;

#[test]
fn qemu_accepts_every_machine() -> Result<()> {
    on_stage("harness", &[], |stage| {
        let mut judge = Judge::of(&stage.name);
        let uefi = uefi_firmware(stage.scratch())?;
        for firmware in [Firmware::Bios, uefi] {
            for slot in [Slot::Cd, Slot::Usb, Slot::Virtio] {
                let machine = empty_machine(stage, slot, firmware.clone())?;
                judge.check(&format!("{slot:?} {firmware:?}"), || {
                    start_and_end(stage, &machine)
                });
            }
        }
        let full = full_machine(stage)?;
        judge.check("all kinds of drives and cards", || {
            start_and_end(stage, &full)
        });
        judge.verdict("")
    })
}

fn empty_machine(stage: &Stage, slot: Slot, firmware: Firmware) -> Result<Machine> {
    let image = stage
        .disk("empty.img", 1, FileSystem::None, "")?
        .file()
        .to_owned();
    Ok(Machine::new(
        &stage.name,
        Boot::Medium {
            image,
            slot,
            firmware,
        },
    ))
}

fn full_machine(stage: &Stage) -> Result<Machine> {
    let mut machine = empty_machine(stage, Slot::Cd, Firmware::Bios)?.with_memory(256);
    for form in [Form::Iso, Form::Fat, Form::NineP, Form::NoCloud] {
        machine = machine.with_config_drive(&stage.config_drive(form, "")?);
    }
    machine = machine.with_disk(&stage.disk("data.img", 16, FileSystem::Ext4, "data")?);
    let user = Net::User {
        network: "10.0.2.0/24".into(),
        forwards: vec![(stage.ssh_port, String::new(), 22)],
    };
    let nets = [
        user,
        Net::Isolated {
            network: "10.9.0.0/24".into(),
        },
        Net::Shared {
            group: "230.0.0.1:23456".into(),
        },
    ];
    Ok(nets.into_iter().fold(machine, |machine, net| {
        machine.with_nic(Nic { net, mac: None })
    }))
}

/// Starts the machine, plugs a disk in, and ends it through the monitor: QEMU must exit with 0.
fn start_and_end(stage: &Stage, machine: &Machine) -> Result<()> {
    let late = stage.disk("late.img", 1, FileSystem::None, "")?;
    let mut vm = Vm::start(machine, &stage.logs())?;
    vm.monitor.plug_disk(late.file())?;
    vm.monitor.quit()?;
    vm.wait_for_power_off(Patience::seconds(10)).map(drop)
}
