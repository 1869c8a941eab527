//! A machine that has come up far enough to log in: the pair of a running machine and the ssh access to it.
//! Owns the rule for emulator crashes: the boot is tried a second time and both tries are reported.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use crate::error::{HarnessError, Result};
use crate::judge::say;
use crate::machine::{Machine, Net, Nic};
use crate::ssh::{Ssh, SshKey};
use crate::vm::Vm;
use crate::wait::Patience;

/// How long a machine may take from power-on to the first login under emulation on a busy machine.
pub const LOGIN: Patience = Patience::seconds(240);

/// A machine and the way into it.
pub struct Guest {
    /// The machine.
    pub vm: Vm,
    /// Logs in as `rancher`.
    pub ssh: Ssh,
    /// From power-on to the first login.
    pub login_after: Duration,
}

impl Guest {
    /// Starts `machine`, whose `port` leads to the guest's ssh, and waits for a login with `key`.
    ///
    /// # Errors
    /// The failure of the second try when the first ended in an emulator crash, otherwise that of the first.
    pub fn boot(machine: &Machine, key: &SshKey, port: u16, logs: &Path) -> Result<Self> {
        let first = Self::boot_once(machine, key, port, logs);
        let Err(error) = first else { return first };
        if !error.is_emulator_fault() {
            return Err(error);
        }
        say(&format!(
            "{}: {}; booting once more",
            machine.name,
            error.chain()
        ));
        Self::boot_once(machine, key, port, logs)
    }

    fn boot_once(machine: &Machine, key: &SshKey, port: u16, logs: &Path) -> Result<Self> {
        Self::enter(Vm::start(machine, logs)?, key, port)
    }

    /// Waits for a login into a machine that runs already.
    ///
    /// # Errors
    /// When no login comes; the console's end is printed then.
    pub fn enter(mut vm: Vm, key: &SshKey, port: u16) -> Result<Self> {
        let ssh = Ssh::new(key, "rancher", port, vm.scratch());
        match ssh.wait_for_login(LOGIN, || vm.check_alive("an ssh login")) {
            Ok(()) => Ok(Self {
                login_after: vm.age(),
                vm,
                ssh,
            }),
            Err(error) => {
                let tail = vm.console.tail(60);
                eprintln!("{}: no login; the console ends with\n{tail}", vm.name);
                Err(vm.explain("an ssh login", error))
            }
        }
    }

    /// Waits for the next login after a reboot from inside or outside.
    ///
    /// # Errors
    /// Timeout with the last state, or the guest's death.
    pub fn wait_for_next_login(&mut self, old_boot: &str) -> Result<()> {
        let vm = &mut self.vm;
        let ssh = &self.ssh;
        crate::wait::until(
            "a login after the reboot",
            LOGIN.every(Duration::from_millis(500)),
            || {
                ssh.drop_connection();
                ssh.wait_for_login(LOGIN, || vm.check_alive("a login after the reboot"))?;
                let boot = ssh.run(BOOT_ID)?;
                if boot.code == 0 && boot.stdout.trim() != old_boot {
                    return Ok(crate::wait::Look::Seen(()));
                }
                Ok(crate::wait::Look::NotYet(format!(
                    "still the old boot: {}",
                    boot.text().trim()
                )))
            },
        )
    }

    /// The kernel's identifier of this boot.
    ///
    /// # Errors
    /// When the guest does not answer.
    pub fn boot_id(&self) -> Result<String> {
        self.ssh.ok(BOOT_ID)
    }
}

const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

/// A port that nobody listens on at the moment.
///
/// # Errors
/// When the host has none left.
pub fn free_port() -> Result<u16> {
    let failed = HarnessError::file("find a free port", "127.0.0.1");
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
    let address = listener.local_addr();
    address
        .map(|address| address.port())
        .map_err(HarnessError::file("read port", "127.0.0.1"))
}

/// A card on QEMU's own network with ssh forwarded to `ssh_port` and further (host, guest) ports.
pub fn user_nic(ssh_port: u16, others: &[(u16, u16)]) -> Nic {
    let mut forwards = vec![(ssh_port, String::new(), 22)];
    forwards.extend(
        others
            .iter()
            .map(|(host, guest)| (*host, String::new(), *guest)),
    );
    Nic {
        net: Net::User {
            network: "10.0.2.0/24".into(),
            forwards,
        },
        mac: None,
    }
}
