//! Which terminals get a login, and the list of programs that the console keeps running.
//!
//! Pure but for looking at which terminals exist.

use std::path::Path;

use os_config::Cmdline;
use os_config::types::Ssh;

/// What decides about logins.
#[derive(Debug, Clone, Copy)]
pub struct Choice<'a> {
    /// `console=` and `rancher.autologin=`.
    pub cmdline: &'a Cmdline,
    /// `rancher.ssh`.
    pub ssh: &'a Ssh,
    /// Whether `rancher.autologin=` counts.
    pub autologin: Autologin,
}

/// Whether `rancher.autologin=` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Autologin {
    /// As the kernel command line says.
    Asked,
    /// `rancher.disable` names it.
    Disabled,
}

const VIRTUAL: [&str; 6] = ["tty1", "tty2", "tty3", "tty4", "tty5", "tty6"];

/// The commands to keep running.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Programs {
    /// Wanted at once.
    pub first: Vec<String>,
    /// Nobody looks at these first: tty2 to tty6 wait until Docker has had the processor.
    pub later: Vec<String>,
}

impl Programs {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<&str> {
        self.first
            .iter()
            .chain(&self.later)
            .map(String::as_str)
            .collect()
    }
}

/// The commands to keep running.
#[must_use]
pub fn programs(choice: Choice<'_>, exists: impl Fn(&str) -> bool) -> Programs {
    let mut programs = Programs::default();
    if choice.ssh.daemon {
        programs.first.push("/usr/sbin/sshd -D".to_owned());
    }
    for terminal in terminals(choice.cmdline) {
        if !exists(&terminal) {
            continue;
        }
        let asked = choice.cmdline.autologin.contains(&terminal);
        let place = if is_serial(&terminal) || terminal == VIRTUAL[0] || asked {
            &mut programs.first
        } else {
            &mut programs.later
        };
        place.push(getty(choice, &terminal));
    }
    programs
}

/// Serial consoles that `console=` names, then tty1 to tty6.
fn terminals(cmdline: &Cmdline) -> Vec<String> {
    let mut serial: Vec<String> = Vec::new();
    for console in &cmdline.consoles {
        let name = console.split(',').next().unwrap_or_default();
        if is_serial(name) && !serial.iter().any(|known| known == name) {
            serial.push(name.to_owned());
        }
    }
    serial
        .into_iter()
        .chain(VIRTUAL.map(str::to_owned))
        .collect()
}

/// Kernel consoles that are not virtual terminals: ttyS0, ttyAMA0, hvc0 …
fn is_serial(name: &str) -> bool {
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
    matches!(
        letters,
        "ttyS" | "ttyAMA" | "hvc" | "ttyUSB" | "xvc" | "ttySAC"
    ) && letters.len() < name.len()
}

fn getty(choice: Choice<'_>, terminal: &str) -> String {
    let serial = is_serial(terminal);
    let speed = if serial {
        "--keep-baud 115200,57600,38400,9600 "
    } else {
        ""
    };
    let kind = if serial { "vt220" } else { "linux" };
    let asked = choice.autologin == Autologin::Asked
        && choice.cmdline.autologin.iter().any(|tty| tty == terminal);
    if asked {
        // The shape that RancherOS 1.x used: `autologin` says who logs in where.
        format!(
            "/sbin/agetty --noclear -n -l /usr/bin/autologin -o rancher:{terminal} {speed}{terminal} {kind}"
        )
    } else {
        format!("/sbin/agetty --noclear {speed}{terminal} {kind}")
    }
}

/// True when the terminal has a node under `/dev`. It is not opened: a serial line may wait for its carrier for ever.
#[must_use]
pub fn exists(terminal: &str) -> bool {
    Path::new("/dev").join(terminal).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(cmdline: &Cmdline, autologin: Autologin) -> Programs {
        let ssh = Ssh::default();
        let choice = Choice {
            cmdline,
            ssh: &ssh,
            autologin,
        };
        programs(choice, |tty| tty != "tty3")
    }

    #[test]
    fn consoles_get_a_getty_and_autologin_where_asked() {
        let cmdline = Cmdline {
            consoles: vec!["tty1".into(), "ttyS0".into(), "ttyS0".into()],
            autologin: vec!["tty1".into(), "ttyS1".into(), "ttyS0".into()],
            ..Cmdline::default()
        };
        let found = list(&cmdline, Autologin::Asked);
        assert_eq!(
            found.first,
            [
                "/usr/sbin/sshd -D",
                "/sbin/agetty --noclear -n -l /usr/bin/autologin -o rancher:ttyS0 --keep-baud 115200,57600,38400,9600 ttyS0 vt220",
                "/sbin/agetty --noclear -n -l /usr/bin/autologin -o rancher:tty1 tty1 linux",
            ]
        );
        assert_eq!(found.later.len(), 4);
        let all = found.all();
        assert!(!all.iter().any(|line| line.contains("tty3")));
        assert!(!all.iter().any(|line| line.contains("ttyS1")));
    }

    #[test]
    fn autologin_can_be_disabled() {
        let cmdline = Cmdline {
            autologin: vec!["tty1".into()],
            ..Cmdline::default()
        };
        let found = list(&cmdline, Autologin::Disabled);
        assert!(found.all().contains(&"/sbin/agetty --noclear tty1 linux"));
    }

    #[test]
    fn only_numbered_serial_names_are_serial() {
        assert!(is_serial("ttyS0"));
        assert!(is_serial("hvc0"));
        assert!(!is_serial("ttyS"));
        assert!(!is_serial("tty0"));
        assert!(!is_serial("netcon0"));
    }
}
