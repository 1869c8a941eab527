//! The state file system, the SSH server and upgrades. Owns names, types and defaults only.

use super::{Ordered, Secret};
use serde::{Deserialize, Serialize};

/// `rancher.state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// Device path, `LABEL=` or `UUID=`; `None`: boot in RAM.
    pub dev: Option<String>,
    /// `auto`: probed.
    pub fstype: String,
    /// Subdirectory used as root of the state.
    pub directory: Option<String>,
    /// Wait for the device.
    pub wait: bool,
    /// Without the device: recovery instead of a boot in RAM.
    pub required: bool,
    /// Devices that may be formatted when empty.
    pub autoformat: Vec<String>,
    /// Assemble md arrays first.
    pub mdadm_scan: bool,
    /// Activate LVM first.
    pub lvm_scan: bool,
    /// Open LUKS devices first.
    pub cryptsetup: bool,
    /// Feed the entropy pool (1.x); accepted, without effect on kernels that seed themselves.
    pub rngd: bool,
    /// Script run before the device is looked for.
    pub script: Option<String>,
    /// Device of the OEM configuration.
    pub oem_dev: String,
    /// Its file system type.
    pub oem_fstype: String,
    /// Device of `/boot`.
    pub boot_dev: String,
    /// Its file system type.
    pub boot_fstype: String,
}

impl Default for State {
    fn default() -> Self {
        Self {
            dev: None,
            fstype: "auto".into(),
            directory: None,
            wait: false,
            required: false,
            autoformat: Vec::new(),
            mdadm_scan: false,
            lvm_scan: false,
            cryptsetup: false,
            rngd: true,
            script: None,
            oem_dev: "LABEL=RANCHER_OEM".into(),
            oem_fstype: "auto".into(),
            boot_dev: "LABEL=RANCHER_BOOT".into(),
            boot_fstype: "auto".into(),
        }
    }
}

/// `rancher.ssh`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ssh {
    /// Run the server.
    pub daemon: bool,
    /// TCP port.
    pub port: u16,
    /// Address to listen on; `None`: all.
    pub listen_address: Option<String>,
    /// Host keys: `rsa`, `rsa-pub`, `ed25519`, `ed25519-pub`, …
    pub keys: Ordered<Secret>,
}

impl Default for Ssh {
    fn default() -> Self {
        Self {
            daemon: true,
            port: 22,
            listen_address: None,
            keys: Ordered::new(),
        }
    }
}

/// `rancher.upgrade`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Upgrade {
    /// URL or absolute path of the list of releases.
    pub url: Option<String>,
    /// Image without tag.
    pub image: Option<String>,
    /// Image to go back to.
    pub rollback: Option<String>,
    /// What to do with a newer release by itself.
    pub policy: Option<UpgradePolicy>,
}

/// `rancher.upgrade.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpgradePolicy {
    /// Fetch it.
    Download,
    /// Install it and reboot.
    Auto,
    /// Nothing.
    None,
}
