//! `make run`: boots the built image on this terminal, with a disk that lasts and the user's own ssh key.
//! Owns `build/run/`; judges nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, ValueEnum};

use qemu_tests::artefacts::{bios_boot, build_folder, direct_boot, uefi_boot};
use qemu_tests::config_drive::{ConfigDrive, Content, Form};
use qemu_tests::disk::{Disk, FileSystem, STATE_LABEL};
use qemu_tests::machine::{Boot, Machine, Net, Nic, Ports, Slot};
use qemu_tests::ssh::SshKey;
use qemu_tests::tool;
use qemu_tests::vm::QEMU;
use qemu_tests::{HarnessError, Result};

/// Boot the built image in QEMU, console on this terminal.
#[derive(Parser)]
struct Options {
    /// How the machine comes to its kernel.
    #[arg(long, value_enum, default_value = "direct")]
    boot: Way,
    /// RAM in MiB.
    #[arg(long, default_value_t = 2048)]
    memory: u32,
    /// Port of this host that leads to the guest's ssh.
    #[arg(long, default_value_t = 2222)]
    ssh_port: u16,
    /// Further ports to forward, the same number on both sides.
    #[arg(long)]
    publish: Vec<u16>,
    /// Start with an empty disk instead of the one of the last run.
    #[arg(long)]
    fresh: bool,
    /// A cloud-config to use instead of one with just the ssh key.
    #[arg(long)]
    cloud_config: Option<PathBuf>,
    /// Further words for the kernel command line (direct boot only).
    words: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Way {
    Direct,
    Iso,
    Uefi,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("run: {}", error.chain());
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<ExitCode> {
    let folder = build_folder().join("run");
    std::fs::create_dir_all(&folder).map_err(HarnessError::file("make run folder", &folder))?;
    let boot = match options.boot {
        Way::Direct => direct_boot()?,
        Way::Iso => bios_boot(Slot::Cd)?,
        Way::Uefi => uefi_boot(Slot::Cd, &folder)?,
    };
    let key = user_key(&folder)?;
    let machine = machine(options, boot, &folder, &key)?;
    let identity = key
        .private
        .map(|file| format!("-i {} ", file.display()))
        .unwrap_or_default();
    println!("Log in from another terminal, as soon as the console shows its banner:");
    println!("  ssh {identity}-p {} rancher@127.0.0.1", options.ssh_port);
    println!("End the machine with `sudo poweroff` in the guest, or Ctrl-A X here.");
    let program = tool::find(QEMU).unwrap_or_else(|| QEMU.into());
    let status = Command::new(program)
        .args(machine.arguments(&Ports::Terminal))
        .status();
    let status = status.map_err(|source| HarnessError::Start {
        program: QEMU.into(),
        source,
    })?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn machine(options: &Options, boot: Boot, folder: &Path, key: &Key) -> Result<Machine> {
    let user_data = match &options.cloud_config {
        Some(file) => {
            std::fs::read_to_string(file).map_err(HarnessError::file("read cloud-config", file))?
        }
        None => format!("#cloud-config\nssh_authorized_keys:\n  - {}\n", key.public),
    };
    let drive = ConfigDrive::create(
        folder,
        Form::Iso,
        &Content {
            user_data,
            ..Content::default()
        },
    )?;
    let mut forwards = vec![(options.ssh_port, String::new(), 22)];
    forwards.extend(
        options
            .publish
            .iter()
            .map(|port| (*port, String::new(), *port)),
    );
    let nic = Nic {
        net: Net::User {
            network: "10.0.2.0/24".into(),
            forwards,
        },
        mac: None,
    };
    let machine = Machine::new("run", boot)
        .with_memory(options.memory)
        .with_disk(&state_disk(folder, options)?)
        .with_config_drive(&drive)
        .with_nic(nic)
        .with_word(format!("rancher.state.dev=LABEL={STATE_LABEL}"))
        .with_word("rancher.autologin=ttyS0");
    Ok(options
        .words
        .iter()
        .fold(machine, |machine, word| machine.with_word(word)))
}

fn state_disk(folder: &Path, options: &Options) -> Result<Disk> {
    let file = folder.join("state.img");
    if file.is_file() && !options.fresh {
        return Ok(Disk::existing(&file));
    }
    Disk::create(&file, 16 << 10, FileSystem::Ext4, STATE_LABEL)
}

struct Key {
    public: String,
    /// Set when ssh would not find the private half by itself.
    private: Option<PathBuf>,
}

/// The user's own key, or one made in the run folder.
fn user_key(folder: &Path) -> Result<Key> {
    let home = std::env::var_os("HOME")
        .map(PathBuf::from)
        .unwrap_or_default();
    for name in ["id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub"] {
        if let Ok(public) = std::fs::read_to_string(home.join(".ssh").join(name)) {
            return Ok(Key {
                public: public.trim().to_owned(),
                private: None,
            });
        }
    }
    let key = SshKey::kept_at(&folder.join("id_ed25519"))?;
    Ok(Key {
        public: key.public().to_owned(),
        private: Some(key.file().to_owned()),
    })
}
