//! The boot menu of the ISO, one list rendered for isolinux (BIOS) and for GRUB (UEFI). Pure.

/// Seconds until the first entry boots by itself.
const TIMEOUT: u32 = 3;

/// On every entry: a live medium logs in by itself on the screen and on the first serial lines, as RancherOS 1.x does.
/// The kernel's serial driver takes the first `ttyS` named for its messages; the second only gets a login.
const ALWAYS: &str = "printk.devkmsg=on panic=10 console=tty1 console=ttyS0 console=ttyS1 \
    rancher.autologin=tty1 rancher.autologin=ttyS0 rancher.autologin=ttyS1";

/// Entries: label for isolinux, title, further kernel parameters.
const ENTRIES: [(&str, &str, &str); 5] = [
    ("rancheros", "RancherOS", ""),
    (
        "autologin",
        "RancherOS, Autologin on tty1 and ttyS0",
        "rancher.autologin=tty1 rancher.autologin=ttyS0",
    ),
    ("debug", "RancherOS, Debug logging", "rancher.debug=true"),
    (
        "debug-autologin",
        "RancherOS, Debug logging and Autologin on tty1 and ttyS0",
        "rancher.debug=true rancher.autologin=tty1 rancher.autologin=ttyS0",
    ),
    (
        "recovery",
        "RancherOS, Recovery console",
        "rancher.recovery=true",
    ),
];

fn append(more: &str) -> String {
    format!("{ALWAYS} {more}").trim_end().to_owned()
}

/// `isolinux.cfg` for `version`.
pub fn isolinux(version: &str) -> String {
    let mut text = format!(
        "SERIAL 0 115200\nUI menu.c32\nPROMPT 0\nTIMEOUT {}\nMENU TITLE RancherOS {version}\nDEFAULT {}\n",
        TIMEOUT * 10,
        ENTRIES[0].0
    );
    for (label, title, more) in ENTRIES {
        let append = append(more);
        text += &format!(
            "\nLABEL {label}\n  MENU LABEL {title}\n  KERNEL /boot/vmlinuz\n  INITRD /boot/initrd\n  APPEND {append}\n"
        );
    }
    text + "\nLABEL next\n  MENU LABEL Boot next BIOS option\n  LOCALBOOT -1\n"
}

/// `grub.cfg` for `version`; `$root` is the medium.
pub fn grub() -> String {
    let mut text = format!(
        "serial --unit=0 --speed=115200\nterminal_input console serial\nterminal_output console serial\n\
         set timeout={TIMEOUT}\nset default=0\n"
    );
    for (label, title, more) in ENTRIES {
        let append = append(more);
        text += &format!(
            "\nmenuentry '{title}' --id {label} {{\n  linux /boot/vmlinuz {append}\n  initrd /boot/initrd\n}}\n"
        );
    }
    text + "\nmenuentry 'Boot next firmware option' --id next {\n  exit\n}\n"
}

/// What is built into GRUB: finds the medium by a file that no other disk has, and reads its menu there.
pub fn grub_stub(marker: &str) -> String {
    format!(
        "search --no-floppy --file --set=root {marker}\nset prefix=($root)/boot/grub\nconfigfile ($root)/boot/grub/grub.cfg\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_menus_have_the_same_entries() {
        let (bios, uefi) = (isolinux("v1"), grub());
        for (_, title, more) in ENTRIES {
            assert!(bios.contains(&format!("MENU LABEL {title}\n")), "{title}");
            assert!(uefi.contains(&format!("menuentry '{title}'")), "{title}");
            assert!(
                bios.contains(&append(more)) && uefi.contains(&append(more)),
                "{title}"
            );
        }
        assert!(bios.contains("TIMEOUT 30\n") && uefi.contains("timeout=3\n"));
    }
}
