//! The cloud-config as the programs read it: every key of the format, typed, with its default.
//! Owns the names and meanings of the keys; where values come from and how they are checked is not its business
//! (`schema` checks before anything reaches these types).

mod cluster;
mod docker;
mod network;
mod state;
mod users;

pub use cluster::{Cluster, ServerSettings, ServerSwitch};
pub use docker::DockerBlock;
pub use network::{Dns, Interface, ModemNetwork, Network, WifiNetwork};
pub use state::{Ssh, State, Upgrade, UpgradePolicy};
pub use users::{Account, Ntp};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A map that keeps the order in which the user wrote it.
pub type Ordered<T> = IndexMap<String, T>;

/// The whole configuration, merged and checked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Host name as configured; use [`Config::host_name`] for the name to set.
    pub hostname: Option<String>,
    /// Public keys of user `rancher`, one authorized_keys line each.
    pub ssh_authorized_keys: Vec<String>,
    /// Accounts to make, and what changes in the shipped ones.
    pub users: Vec<Account>,
    /// Where the time comes from.
    pub ntp: Ntp,
    /// Files to write before the container they belong to starts.
    pub write_files: Vec<WriteFile>,
    /// File systems to mount in the console.
    pub mounts: Vec<Mount>,
    /// Commands run in the console at each boot, before the user's Docker.
    pub runcmd: Vec<Command>,
    /// Commands run before the state file system is mounted.
    pub bootcmd: Vec<Command>,
    /// Everything that is RancherOS's own.
    pub rancher: Rancher,
}

impl Config {
    /// The host name to set: `hostname`, else `rancher.defaults.hostname`, else `rancher`.
    #[must_use]
    pub fn host_name(&self) -> &str {
        let fallback = self.rancher.defaults.hostname.as_deref();
        self.hostname.as_deref().or(fallback).unwrap_or("rancher")
    }

    /// Seconds to wait for a DHCP lease: `rancher.network.dhcp_timeout`, else the default's, else 10.
    #[must_use]
    pub fn dhcp_timeout(&self) -> u32 {
        let configured = [
            self.rancher.network.dhcp_timeout,
            self.rancher.defaults.network.dhcp_timeout,
        ];
        configured
            .into_iter()
            .find(|&seconds| seconds > 0)
            .unwrap_or(10)
    }

    /// True when `rancher.disable` names `what` (`password`, `autologin`).
    #[must_use]
    pub fn disabled(&self, what: &str) -> bool {
        self.rancher.disable.iter().any(|item| item == what)
    }
}

/// The `rancher` map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rancher {
    /// Console by name, path or URL.
    pub console: String,
    /// Variables for services; `PATH` extends the login's.
    pub environment: Ordered<String>,
    /// Services by name, in Compose syntax, in the order of the files. Values are maps.
    ///
    /// Numbers whose text is not canonical (`0644`, `1.10`) and YAML 1.1 words (`yes`, `off`) are strings here.
    pub services: Ordered<Value>,
    /// Repository services, by name, path or URL, and whether they are enabled.
    pub services_include: Ordered<bool>,
    /// Early containers, in Compose syntax.
    pub bootstrap: Ordered<Value>,
    /// Containers of the first cloud-init phase, in Compose syntax.
    pub cloud_init_services: Ordered<Value>,
    /// The daemon that ran early containers in RancherOS 1.x.
    pub bootstrap_docker: DockerBlock,
    /// The system daemon.
    pub system_docker: DockerBlock,
    /// The user's daemon.
    pub docker: DockerBlock,
    /// Where user-data comes from.
    pub cloud_init: CloudInit,
    /// Debug logs everywhere.
    pub debug: bool,
    /// Echo service logs to the console at boot.
    pub log: bool,
    /// Development switch of RancherOS 1.x.
    pub rm_usr: bool,
    /// Development switch of RancherOS 1.x.
    pub no_sharedroot: bool,
    /// Recreate the console once, at the next start.
    pub force_console_rebuild: bool,
    /// Recovery console instead of a boot.
    pub recovery: bool,
    /// Kernel parameters to ignore: `password`, `autologin`.
    pub disable: Vec<String>,
    /// Modules to load, `name` or `name param=value …`.
    pub modules: Vec<String>,
    /// The network.
    pub network: Network,
    /// Service indexes by name.
    pub repositories: Ordered<Repository>,
    /// The SSH server.
    pub ssh: Ssh,
    /// The state file system.
    pub state: State,
    /// Where upgrades come from.
    pub upgrade: Upgrade,
    /// Registry credentials by registry.
    pub registry_auths: Ordered<RegistryAuth>,
    /// Fallbacks.
    pub defaults: Defaults,
    /// Disk whose first partition is grown once.
    pub resize_device: Option<String>,
    /// Kernel parameters for `/proc/sys`, dotted names.
    pub sysctl: Ordered<String>,
    /// Containers restarted before the console starts.
    pub restart_services: Vec<String>,
    /// Start the hypervisor's tools by themselves.
    pub hypervisor_service: bool,
    /// Seconds after which a shutdown is forced, at least 5.
    pub shutdown_timeout: u32,
    /// Retries of repository downloads.
    pub http_load_retries: u32,
    /// Services of the user start only when the images in `/var/lib/rancher/preload` are loaded.
    pub preload_wait: bool,
    /// The part of this machine in a cluster.
    pub cluster: Cluster,
}

impl Default for Rancher {
    fn default() -> Self {
        Self {
            console: "default".into(),
            environment: Ordered::new(),
            services: Ordered::new(),
            services_include: Ordered::new(),
            bootstrap: Ordered::new(),
            cloud_init_services: Ordered::new(),
            bootstrap_docker: DockerBlock::default(),
            system_docker: DockerBlock::default(),
            docker: DockerBlock::default(),
            cloud_init: CloudInit::default(),
            debug: false,
            log: false,
            rm_usr: false,
            no_sharedroot: false,
            force_console_rebuild: false,
            recovery: false,
            disable: Vec::new(),
            modules: Vec::new(),
            network: Network::default(),
            repositories: Ordered::new(),
            ssh: Ssh::default(),
            state: State::default(),
            upgrade: Upgrade::default(),
            registry_auths: Ordered::new(),
            defaults: Defaults::default(),
            resize_device: None,
            sysctl: Ordered::new(),
            restart_services: Vec::new(),
            hypervisor_service: true,
            shutdown_timeout: 60,
            http_load_retries: 6,
            preload_wait: false,
            cluster: Cluster::default(),
        }
    }
}

/// One entry of `write_files`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WriteFile {
    /// Absolute path in the container.
    pub path: String,
    /// The content, encoded as `encoding` says.
    pub content: String,
    /// Empty, `base64`/`b64`, `gzip`/`gz`, `gzip+base64` and the like.
    pub encoding: String,
    /// As for chown: `user`, `user:group`, numbers too. Empty: root.
    pub owner: String,
    /// Octal digits. Empty: `0644`.
    pub permissions: String,
    /// Container whose entrypoint writes it. Empty: `console`.
    pub container: String,
}

/// One entry of `mounts`: a list of four strings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[String; 4]", into = "[String; 4]")]
pub struct Mount {
    /// Device path, `LABEL=`, `UUID=`, or the remote end of a network file system.
    pub device: String,
    /// Directory to mount on.
    pub target: String,
    /// File system type; empty or `auto`: probed. `swap`: used as swap.
    pub fstype: String,
    /// Mount options, comma-separated.
    pub options: String,
}

impl From<[String; 4]> for Mount {
    fn from([device, target, fstype, options]: [String; 4]) -> Self {
        Self {
            device,
            target,
            fstype,
            options,
        }
    }
}

impl From<Mount> for [String; 4] {
    fn from(mount: Mount) -> Self {
        [mount.device, mount.target, mount.fstype, mount.options]
    }
}

/// A command of `runcmd` or `bootcmd`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Command {
    /// A line for `sh -c`.
    Shell(String),
    /// A program with its arguments, without a shell.
    Exec(Vec<String>),
}

/// `rancher.cloud_init`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CloudInit {
    /// Entries `name` or `name:argument`.
    pub datasources: Vec<String>,
}

/// `rancher.repositories.<name>`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Repository {
    /// Base URL of the index.
    pub url: String,
}

/// `rancher.registry_auths.<registry>`, the fields of Docker's AuthConfig.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegistryAuth {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Secret,
    /// base64 of `user:password`.
    pub auth: Secret,
    /// Unused by today's registries.
    pub email: String,
    /// Registry address when it is not the key.
    pub serveraddress: String,
    /// OAuth2 identity token.
    pub identitytoken: Secret,
    /// Bearer token.
    pub registrytoken: Secret,
}

/// `rancher.defaults`: fallbacks for what is not set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Defaults {
    /// Host name when nothing names the host.
    pub hostname: Option<String>,
    /// Fallbacks for `rancher.docker`.
    pub docker: DockerBlock,
    /// Fallbacks for `rancher.network`: `dhcp_timeout` and `dns`.
    pub network: Network,
    /// Log file of the system daemon.
    pub system_docker_logs: Option<String>,
}

/// Text that must not reach a log: Debug hides it. Serialising gives the true text.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// True when there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(if self.0.is_empty() {
            "Secret(empty)"
        } else {
            "Secret(hidden)"
        })
    }
}
