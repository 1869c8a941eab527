//! What every test starts from: the tools and artefacts it needs, one machine at a time, a key, a scratch folder, a plain
//! cloud-config. Owns the scratch folder; machines are made and judged by the tests.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::artefacts::{build_folder, direct_boot};
use crate::config_drive::{ConfigDrive, Content, Form};
use crate::disk::{Disk, FileSystem};
use crate::docker_archive;
use crate::error::{HarnessError, Result};
use crate::guest::{Guest, free_port, user_nic};
use crate::judge::say;
use crate::machine::{Boot, Machine};
use crate::ssh::SshKey;
use crate::tool;
use crate::vm::QEMU;

/// What all tests need on the host.
const TOOLS: [&str; 11] = [
    QEMU,
    "setpriv",
    "ssh",
    "ssh-keygen",
    "xorriso",
    "mkfs.ext4",
    "e2fsck",
    "dumpe2fs",
    "debugfs",
    "mkfs.vfat",
    "mcopy",
];

/// One machine at a time: with two processors, two emulators make each other time out.
static TURN: Mutex<()> = Mutex::new(());
static KEY: OnceLock<SshKey> = OnceLock::new();

/// The ground of one test.
pub struct Stage {
    /// The test's name; names machines and logs.
    pub name: String,
    /// Host port of the guest's ssh.
    pub ssh_port: u16,
    scratch: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    /// Waits for its turn.
    ///
    /// # Errors
    /// [`HarnessError::Missing`] for a tool of the host, or when the scratch folder cannot be made.
    pub fn open(name: &str, tools: &[&str]) -> Result<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        for program in TOOLS.iter().chain(tools) {
            require(program)?;
        }
        let scratch = tempfile::tempdir()
            .map_err(HarnessError::file("make scratch", std::env::temp_dir()))?;
        Ok(Self {
            name: name.to_owned(),
            ssh_port: free_port()?,
            scratch,
            _turn: turn,
        })
    }

    /// A folder that lives as long as the test.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Where console logs are kept after the test.
    pub fn logs(&self) -> PathBuf {
        build_folder().join("qemu-tests")
    }

    /// The key of this run.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn key(&self) -> Result<&'static SshKey> {
        if KEY.get().is_none() {
            let key = SshKey::generate()?;
            // Tests take turns, so nobody else has set it meanwhile; if so, theirs is as good.
            drop(KEY.set(key));
        }
        KEY.get().ok_or_else(|| HarnessError::Missing {
            what: "ssh key".into(),
            remedy: "run again".into(),
        })
    }

    /// A machine with kernel and initrd loaded by QEMU, and a card with ssh forwarded.
    ///
    /// # Errors
    /// When the image has not been built.
    pub fn direct(&self) -> Result<Machine> {
        Ok(self.machine(direct_boot()?))
    }

    /// A machine with a card with ssh forwarded.
    pub fn machine(&self, boot: Boot) -> Machine {
        Machine::new(&self.name, boot).with_nic(user_nic(self.ssh_port, &[]))
    }

    /// A cloud-config with this run's key and `more` top-level YAML.
    ///
    /// # Errors
    /// When the key cannot be made.
    pub fn cloud_config(&self, more: &str) -> Result<String> {
        Ok(format!(
            "#cloud-config\nssh_authorized_keys:\n  - {}\n{more}",
            self.key()?.public()
        ))
    }

    /// A config drive with [`Stage::cloud_config`] on it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn config_drive(&self, form: Form, more: &str) -> Result<ConfigDrive> {
        let content = Content {
            user_data: self.cloud_config(more)?,
            ..Content::default()
        };
        ConfigDrive::create(self.scratch(), form, &content)
    }

    /// A new disk in the scratch folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn disk(&self, name: &str, mib: u64, system: FileSystem, label: &str) -> Result<Disk> {
        Disk::create(&self.scratch().join(name), mib, system, label)
    }

    /// Boots to the first login.
    ///
    /// # Errors
    /// When no login comes.
    pub fn boot(&self, machine: &Machine) -> Result<Guest> {
        Guest::boot(machine, self.key()?, self.ssh_port, &self.logs())
    }
}

fn require(program: &str) -> Result<()> {
    if tool::find(program).is_some() {
        return Ok(());
    }
    let remedy = "install it, for example with `make deps`".to_owned();
    Err(HarnessError::Missing {
        what: program.to_owned(),
        remedy,
    })
}

/// Loads an image with the test program into the user's Docker and returns its name.
///
/// # Errors
/// When Docker does not take it.
pub fn load_image(guest: &Guest, name: &str, program: &Path) -> Result<String> {
    let bytes = std::fs::read(program).map_err(HarnessError::file("read test program", program))?;
    let archive = docker_archive::image(name, &bytes, name)?;
    guest.ssh.ok_with_input("docker load", &archive)
}

/// Runs `test` on its stage. When a tool or artefact is missing, that is a visible skip, or an error where `CI` is set.
///
/// # Errors
/// Those of [`Stage::open`] and of the test.
pub fn on_stage(name: &str, tools: &[&str], test: impl FnOnce(&Stage) -> Result<()>) -> Result<()> {
    say(&format!("{name}:"));
    match Stage::open(name, tools).and_then(|stage| test(&stage)) {
        Err(missing @ HarnessError::Missing { .. }) if std::env::var_os("CI").is_none() => {
            say(&format!("SKIPPED {name}: {}", missing.chain()));
            Ok(())
        }
        other => other,
    }
}
