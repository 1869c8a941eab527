//! What the configuration means for PID 1: pure, so that it can be read and tested as a value.

use std::path::PathBuf;

use os_config::Config;
use os_config::types::State;

/// Where every program that PID 1 starts is looked for: by name, as packages differ between bin and sbin.
pub const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// Label of a state file system that we make.
pub const STATE_LABEL: &str = "RANCHER_STATE";

/// A module to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// `name=value …`
    pub parameters: String,
}

/// Where `/var`, `/home` and `/opt` come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatePlan {
    /// A tmpfs.
    Ram,
    /// A device.
    Disk(Disk),
}

/// How to get the state device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// As in the configuration: path, `LABEL=`, `UUID=`.
    pub spec: String,
    /// `None`: probed.
    pub fstype: Option<String>,
    /// Directory of the file system that is used as its root, relative.
    pub directory: Option<PathBuf>,
    /// Wait for the device.
    pub wait: bool,
    /// Without it: recovery.
    pub required: bool,
    /// Devices that may be formatted.
    pub autoformat: Vec<PathBuf>,
    /// Label for a new file system.
    pub label: String,
}

/// `name param=value` of `rancher.modules`.
pub fn modules(config: &Config) -> Vec<Module> {
    let split = |entry: &String| {
        let (name, parameters) = entry
            .trim()
            .split_once(char::is_whitespace)
            .unwrap_or((entry.trim(), ""));
        Module {
            name: name.to_owned(),
            parameters: parameters.trim().to_owned(),
        }
    };
    config
        .rancher
        .modules
        .iter()
        .map(split)
        .filter(|module| !module.name.is_empty())
        .collect()
}

/// The state plan of `rancher.state`.
pub fn state(state: &State) -> StatePlan {
    let named = state
        .dev
        .as_deref()
        .map(str::trim)
        .filter(|dev| !dev.is_empty());
    // A list of disks to format says clearly enough that state is wanted on one of them.
    let spec = match named {
        Some(spec) => spec.to_owned(),
        None if !state.autoformat.is_empty() => format!("LABEL={STATE_LABEL}"),
        None => return StatePlan::Ram,
    };
    let fstype = Some(state.fstype.trim()).filter(|fstype| !fstype.is_empty() && *fstype != "auto");
    StatePlan::Disk(Disk {
        label: new_label(&spec),
        spec,
        fstype: fstype.map(str::to_owned),
        directory: state.directory.as_deref().and_then(relative),
        wait: state.wait,
        required: state.required,
        autoformat: state
            .autoformat
            .iter()
            .map(|device| PathBuf::from("/dev").join(device.trim()))
            .collect(),
    })
}

/// A new file system gets the label that it is looked for by; ext4 holds 16 bytes.
fn new_label(spec: &str) -> String {
    let wanted = spec
        .strip_prefix("LABEL=")
        .filter(|label| !label.is_empty() && label.len() <= 16);
    wanted.unwrap_or(STATE_LABEL).to_owned()
}

/// A directory below the file system's root; what would lead out of it is not followed.
fn relative(directory: &str) -> Option<PathBuf> {
    let parts: Vec<&str> = directory
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    (!parts.is_empty() && !parts.contains(&"..")).then(|| parts.iter().collect())
}

/// KiB that the kernel is to keep free, for `vm.min_free_kbytes`: its own rule by the size of memory (`mm/page_alloc.c`,
/// `calculate_min_free_kbytes`). With transparent huge pages on offer it raises that several times over, so that they are found
/// quickly; on a small machine this takes from its containers what few of them ask for (ours are on request only).
pub fn free_reserve_kib(memory_kib: u64) -> u64 {
    (memory_kib * 16).isqrt().clamp(128, 256 << 10)
}

/// Content of `/etc/hosts`.
pub fn hosts_file(host_name: &str) -> String {
    let short = host_name.split('.').next().unwrap_or(host_name);
    let names = if short == host_name {
        host_name.to_owned()
    } else {
        format!("{host_name} {short}")
    };
    format!(
        "127.0.0.1 localhost\n127.0.1.1 {names}\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n"
    )
}

/// The environment of every daemon: path, home, and the proxies in both spellings.
pub fn environment(config: &Config) -> Vec<(String, String)> {
    let mut environment = vec![
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOME".to_owned(), "/root".to_owned()),
    ];
    let network = &config.rancher.network;
    for (name, value) in [
        ("http_proxy", &network.http_proxy),
        ("https_proxy", &network.https_proxy),
        ("no_proxy", &network.no_proxy),
    ] {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            environment.push((name.to_owned(), value.to_owned()));
            environment.push((name.to_uppercase(), value.to_owned()));
        }
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_free_reserve_is_the_kernels_own() {
        assert_eq!(free_reserve_kib(2 << 20), 5792);
        assert_eq!(free_reserve_kib(16), 128);
        assert_eq!(free_reserve_kib(1 << 40), 256 << 10);
    }

    fn with(change: impl FnOnce(&mut State)) -> StatePlan {
        let mut settings = State::default();
        change(&mut settings);
        state(&settings)
    }

    #[test]
    fn no_device_means_ram() {
        assert_eq!(with(|_| {}), StatePlan::Ram);
        assert_eq!(with(|state| state.dev = Some("  ".into())), StatePlan::Ram);
    }

    #[test]
    fn a_device_with_everything() {
        let plan = with(|state| {
            state.dev = Some("LABEL=MY_STATE".into());
            state.fstype = "btrfs".into();
            state.directory = Some("/ros/./a".into());
            state.wait = true;
            state.autoformat = vec!["/dev/vda".into(), "sdb".into()];
        });
        let expected = Disk {
            spec: "LABEL=MY_STATE".into(),
            fstype: Some("btrfs".into()),
            directory: Some("ros/a".into()),
            wait: true,
            required: false,
            autoformat: vec!["/dev/vda".into(), "/dev/sdb".into()],
            label: "MY_STATE".into(),
        };
        assert_eq!(plan, StatePlan::Disk(expected));
    }

    #[test]
    fn autoformat_alone_wants_a_disk() {
        let StatePlan::Disk(disk) = with(|state| state.autoformat = vec!["/dev/vda".into()]) else {
            panic!("RAM")
        };
        assert_eq!(
            (disk.spec.as_str(), disk.label.as_str()),
            ("LABEL=RANCHER_STATE", "RANCHER_STATE")
        );
    }

    #[test]
    fn a_directory_cannot_leave_the_disk() {
        for bad in ["../x", "a/../../x", "", "/", "."] {
            let plan = with(|state| {
                state.dev = Some("/dev/vda".into());
                state.directory = Some(bad.into());
            });
            assert!(
                matches!(
                    plan,
                    StatePlan::Disk(Disk {
                        directory: None,
                        ..
                    })
                ),
                "{bad}"
            );
        }
    }

    #[test]
    fn modules_may_have_parameters() {
        let mut config = Config::default();
        config.rancher.modules = vec![
            "btrfs".into(),
            " bonding  mode=4 miimon=100 ".into(),
            " ".into(),
        ];
        let names: Vec<_> = modules(&config)
            .into_iter()
            .map(|module| (module.name, module.parameters))
            .collect();
        assert_eq!(
            names,
            [
                ("btrfs".into(), String::new()),
                ("bonding".into(), "mode=4 miimon=100".to_owned())
            ]
        );
    }

    #[test]
    fn hosts_names_the_machine_long_and_short() {
        assert!(hosts_file("a.example.org").contains("127.0.1.1 a.example.org a\n"));
        assert!(hosts_file("rancher").contains("127.0.1.1 rancher\n"));
    }

    #[test]
    fn proxies_are_set_in_both_spellings() {
        let mut config = Config::default();
        config.rancher.network.http_proxy = Some("http://p:3128".into());
        config.rancher.network.no_proxy = Some(String::new());
        let names: Vec<String> = environment(&config)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["PATH", "HOME", "http_proxy", "HTTP_PROXY"]);
    }
}
