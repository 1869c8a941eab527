//! The description of a virtual machine and its translation to a QEMU command line.
//! Pure: owns no process and no file. The fixed part (board, emulator, processor) is here and nowhere else.

use std::path::{Path, PathBuf};

use crate::config_drive::{ConfigDrive, Form};
use crate::disk::Disk;

/// How the machine comes to its kernel.
#[derive(Clone, Debug)]
pub enum Boot {
    /// QEMU loads kernel and initrd itself, as PXE or a disk's loader would.
    Direct {
        /// The kernel image.
        kernel: PathBuf,
        /// The initial RAM file system.
        initrd: PathBuf,
    },
    /// From a medium, through firmware and boot loader; the kernel command line is the medium's own.
    Medium {
        /// The image.
        image: PathBuf,
        /// What it is plugged into.
        slot: Slot,
        /// Who reads its boot loader.
        firmware: Firmware,
    },
}

/// Where a boot medium is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// In a SATA CD drive.
    Cd,
    /// A USB stick.
    Usb,
    /// A virtio disk.
    Virtio,
}

/// The machine's firmware.
#[derive(Clone, Debug)]
pub enum Firmware {
    /// SeaBIOS.
    Bios,
    /// OVMF: its code and a writable copy of its variables.
    Uefi {
        /// Read-only code image.
        code: PathBuf,
        /// Variables, changed by the machine.
        variables: PathBuf,
    },
}

/// One network card.
#[derive(Clone, Debug)]
pub struct Nic {
    /// The network behind it.
    pub net: Net,
    /// MAC address; QEMU chooses when `None`.
    pub mac: Option<String>,
}

/// The network behind a card.
#[derive(Clone, Debug)]
pub enum Net {
    /// QEMU's own NAT with a DHCP server and the host at .2.
    User {
        /// The IPv4 network, for example `10.0.2.0/24`.
        network: String,
        /// (host port, guest address or empty, guest port)
        forwards: Vec<(u16, String, u16)>,
    },
    /// NAT without any way out and without forwards, for cards that only have to exist.
    Isolated {
        /// The IPv4 network.
        network: String,
    },
    /// NAT as in a cloud: the host's loopback port `service` answers at port 80 of 169.254.169.254, `ssh` leads to port 22.
    Cloud {
        /// Port of the metadata service, on the host.
        service: u16,
        /// Port of ssh, on the host.
        ssh: u16,
    },
    /// An Ethernet shared by all machines with the same multicast address and port, for example `230.0.0.1:12345`.
    Shared {
        /// Address and port.
        group: String,
    },
}

/// Where the serial console and the monitor lead.
#[derive(Clone, Debug)]
pub enum Ports {
    /// Both on QEMU's standard input and output (Ctrl-A X ends QEMU, Ctrl-A C switches to the monitor).
    Terminal,
    /// Unix sockets on which somebody listens already.
    Sockets {
        /// For the serial console.
        serial: PathBuf,
        /// For the monitor (QMP).
        monitor: PathBuf,
    },
}

/// A machine that could be started. Build it with the `with_` functions.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Used in file names and reports.
    pub name: String,
    /// The way to the kernel.
    pub boot: Boot,
    /// RAM in MiB.
    pub memory_mib: u32,
    /// Kernel command line words for a direct boot.
    pub command_line: Vec<String>,
    /// Disks in the order in which they become vda, vdb, …
    pub disks: Vec<Disk>,
    /// Drives with user data.
    pub config_drives: Vec<ConfigDrive>,
    /// Network cards in order.
    pub nics: Vec<Nic>,
    /// Cards, by number, whose packets are written to a file (pcap).
    pub captures: Vec<(usize, PathBuf)>,
    /// What becomes of writes to disks.
    pub writes: Writes,
    /// Who made it, as its firmware says (SMBIOS); QEMU when `None`.
    pub maker: Option<String>,
}

/// What becomes of writes to disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// They go to the image files.
    Kept,
    /// They vanish with the machine, so that each start finds the same disks.
    Dropped,
}

impl Machine {
    /// A machine with 2 GiB of RAM, no disk and no card, its console on the first serial port.
    pub fn new(name: &str, boot: Boot) -> Self {
        let words = ["console=ttyS0", "panic=10", "printk.devkmsg=on"];
        Self {
            name: name.to_owned(),
            boot,
            memory_mib: 2048,
            command_line: words.map(str::to_owned).to_vec(),
            disks: Vec::new(),
            config_drives: Vec::new(),
            nics: Vec::new(),
            captures: Vec::new(),
            writes: Writes::Kept,
            maker: None,
        }
    }

    /// Sets the RAM.
    #[must_use]
    pub fn with_memory(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Adds a word to the kernel command line (direct boot only).
    #[must_use]
    pub fn with_word(mut self, word: impl Into<String>) -> Self {
        self.command_line.push(word.into());
        self
    }

    /// Adds a virtio disk.
    #[must_use]
    pub fn with_disk(mut self, disk: &Disk) -> Self {
        self.disks.push(disk.clone());
        self
    }

    /// Adds a drive with user data.
    #[must_use]
    pub fn with_config_drive(mut self, drive: &ConfigDrive) -> Self {
        self.config_drives.push(drive.clone());
        self
    }

    /// Adds a network card.
    #[must_use]
    pub fn with_nic(mut self, nic: Nic) -> Self {
        self.nics.push(nic);
        self
    }

    /// Writes the packets of the last card to a file.
    #[must_use]
    pub fn with_capture(mut self, file: &Path) -> Self {
        let last = self.nics.len().saturating_sub(1);
        self.captures.push((last, file.to_owned()));
        self
    }

    /// QEMU's arguments.
    pub fn arguments(&self, ports: &Ports) -> Vec<String> {
        let mut args = fixed_arguments(self.memory_mib);
        match ports {
            Ports::Terminal => push(&mut args, "-serial", "mon:stdio".into()),
            Ports::Sockets { serial, monitor } => {
                push(
                    &mut args,
                    "-chardev",
                    format!("socket,id=serial0,path={}", serial.display()),
                );
                push(&mut args, "-serial", "chardev:serial0".into());
                push(
                    &mut args,
                    "-chardev",
                    format!("socket,id=monitor0,path={}", monitor.display()),
                );
                push(&mut args, "-mon", "chardev=monitor0,mode=control".into());
            }
        }
        if self.writes == Writes::Dropped {
            args.push("-snapshot".to_owned());
        }
        if let Some(maker) = &self.maker {
            push(&mut args, "-smbios", format!("type=1,manufacturer={maker}"));
        }
        self.boot_arguments(&mut args);
        for (number, disk) in self.disks.iter().enumerate() {
            block(
                &mut args,
                &format!("disk{number}"),
                disk.file(),
                Access::ReadWrite,
            );
            push(
                &mut args,
                "-device",
                format!("virtio-blk-pci,drive=disk{number},serial=disk{number}"),
            );
        }
        for (number, drive) in self.config_drives.iter().enumerate() {
            config_drive_arguments(&mut args, number, drive);
        }
        for (number, nic) in self.nics.iter().enumerate() {
            nic_arguments(&mut args, number, nic);
        }
        for (number, file) in &self.captures {
            let dump = format!(
                "filter-dump,id=dump{number},netdev=net{number},file={}",
                file.display()
            );
            push(&mut args, "-object", dump);
        }
        args
    }

    fn boot_arguments(&self, args: &mut Vec<String>) {
        match &self.boot {
            Boot::Direct { kernel, initrd } => {
                push(args, "-kernel", kernel.display().to_string());
                push(args, "-initrd", initrd.display().to_string());
                push(args, "-append", self.command_line.join(" "));
            }
            Boot::Medium {
                image,
                slot,
                firmware,
            } => {
                if let Firmware::Uefi { code, variables } = firmware {
                    push(
                        args,
                        "-drive",
                        format!("if=pflash,format=raw,readonly=on,file={}", code.display()),
                    );
                    push(
                        args,
                        "-drive",
                        format!("if=pflash,format=raw,file={}", variables.display()),
                    );
                }
                block(args, "medium", image, Access::ReadOnly);
                let device = match slot {
                    Slot::Cd => "ide-cd,bus=ide.0,drive=medium,bootindex=0",
                    Slot::Usb => "usb-storage,bus=usb0.0,drive=medium,removable=on,bootindex=0",
                    Slot::Virtio => "virtio-blk-pci,drive=medium,bootindex=0",
                };
                push(args, "-device", device.into());
                // Firmware and boot menu want a screen; nobody looks at it.
                push(args, "-vga", "std".into());
            }
        }
    }
}

/// The same for every machine, ours and the one it is compared with.
fn fixed_arguments(memory_mib: u32) -> Vec<String> {
    let memory = memory_mib.to_string();
    let words = [
        "-M",
        "q35",
        "-accel",
        "tcg,thread=multi",
        // cmpxchg16b under QEMU 7.2's TCG leaves stale flags behind and crashes Debian's 6.12 kernel.
        "-cpu",
        "max,-cx16",
        "-smp",
        "2",
        "-m",
        memory.as_str(),
        "-nodefaults",
        "-display",
        "none",
        "-object",
        "rng-random,id=rng0,filename=/dev/urandom",
        "-device",
        "virtio-rng-pci,rng=rng0",
        "-device",
        "pcie-root-port,id=hotplug0,chassis=1,slot=1",
        "-device",
        "qemu-xhci,id=usb0",
    ];
    words.map(str::to_owned).to_vec()
}

enum Access {
    ReadOnly,
    ReadWrite,
}

fn block(args: &mut Vec<String>, id: &str, file: &Path, access: Access) {
    let access = match access {
        Access::ReadOnly => "on",
        Access::ReadWrite => "off",
    };
    // cache=unsafe spares the host's fsyncs only: what the guest flushed survives the guest, which is all that is judged.
    push(
        args,
        "-drive",
        format!(
            "if=none,id={id},format=raw,cache=unsafe,readonly={access},file={}",
            file.display()
        ),
    );
}

fn config_drive_arguments(args: &mut Vec<String>, number: usize, drive: &ConfigDrive) {
    let id = format!("config{number}");
    match drive.form {
        Form::NineP => {
            let share = format!(
                "local,id={id},path={},security_model=none,readonly=on",
                drive.path.display()
            );
            push(args, "-fsdev", share);
            push(
                args,
                "-device",
                format!("virtio-9p-pci,fsdev={id},mount_tag=config-2"),
            );
        }
        Form::Fat => {
            block(args, &id, &drive.path, Access::ReadOnly);
            push(args, "-device", format!("virtio-blk-pci,drive={id}"));
        }
        Form::Iso | Form::NoCloud => {
            block(args, &id, &drive.path, Access::ReadOnly);
            push(
                args,
                "-device",
                format!("ide-cd,bus=ide.{},drive={id}", number + 1),
            );
        }
    }
}

fn nic_arguments(args: &mut Vec<String>, number: usize, nic: &Nic) {
    let id = format!("net{number}");
    let net = match &nic.net {
        Net::User { network, forwards } => {
            let mut net = format!("user,id={id},net={network}");
            for (host, address, guest) in forwards {
                net.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-{address}:{guest}"));
            }
            net
        }
        // A program for each connection: QEMU itself would make one connection, once.
        Net::Cloud { service, ssh } => format!(
            "user,id={id},net=169.254.169.0/24,hostfwd=tcp:127.0.0.1:{ssh}-:22,\
             guestfwd=tcp:169.254.169.254:80-cmd:socat - TCP4:127.0.0.1:{service}"
        ),
        Net::Isolated { network } => format!("user,id={id},net={network},restrict=on"),
        Net::Shared { group } => format!("socket,id={id},mcast={group},localaddr=127.0.0.1"),
    };
    push(args, "-netdev", net);
    // romfile= leaves out the network boot ROM, which is never used and costs start-up time.
    let mac = nic
        .mac
        .as_ref()
        .map(|mac| format!(",mac={mac}"))
        .unwrap_or_default();
    push(
        args,
        "-device",
        // Bonds by 802.3ad take no card that cannot say its speed.
        format!("virtio-net-pci,netdev={id},romfile={mac},speed=1000,duplex=full"),
    );
}

fn push(args: &mut Vec<String>, name: &str, value: String) {
    args.push(name.to_owned());
    args.push(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct() -> Machine {
        Machine::new(
            "t",
            Boot::Direct {
                kernel: "k".into(),
                initrd: "i".into(),
            },
        )
    }

    fn line(machine: &Machine) -> String {
        machine.arguments(&Ports::Terminal).join(" ")
    }

    #[test]
    fn the_processor_is_never_the_one_that_crashes() {
        assert!(
            line(&direct())
                .contains("-accel tcg,thread=multi -cpu max,-cx16 -smp 2 -m 2048 -nodefaults")
        );
    }

    #[test]
    fn words_disks_and_cards_keep_their_order() {
        let user = Net::User {
            network: "10.0.2.0/24".into(),
            forwards: vec![(2222, String::new(), 22)],
        };
        let machine = direct()
            .with_word("a=b")
            .with_disk(&Disk::existing(Path::new("d0")))
            .with_disk(&Disk::existing(Path::new("d1")))
            .with_nic(Nic {
                net: user,
                mac: Some("52:54:00:00:00:01".into()),
            })
            .with_nic(Nic {
                net: Net::Isolated {
                    network: "10.9.0.0/24".into(),
                },
                mac: None,
            });
        let line = line(&machine);
        assert!(
            line.contains("-append console=ttyS0 panic=10 printk.devkmsg=on a=b"),
            "{line}"
        );
        assert!(line.find("file=d0") < line.find("file=d1"), "{line}");
        assert!(line.contains("hostfwd=tcp:127.0.0.1:2222-:22 -device virtio-net-pci,netdev=net0,romfile=,mac=52:54:00:00:00:01"), "{line}");
        assert!(line.contains("net=10.9.0.0/24,restrict=on"), "{line}");
    }

    #[test]
    fn each_slot_is_the_first_to_boot_from() {
        for slot in [Slot::Cd, Slot::Usb, Slot::Virtio] {
            let boot = Boot::Medium {
                image: "x.iso".into(),
                slot,
                firmware: Firmware::Bios,
            };
            let line = line(&Machine::new("t", boot));
            assert!(
                line.contains("drive=medium")
                    && line.contains("bootindex=0")
                    && !line.contains("-append"),
                "{line}"
            );
        }
    }
}
