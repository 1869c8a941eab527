//! The docker block: settings of one Docker daemon (`docker`, `system_docker`, `bootstrap_docker`, `defaults.docker`).
//! Owns names and types; `docker_args` turns a block into daemon flags.

use super::{Ordered, Secret};
use serde::{Deserialize, Serialize};

/// Settings of one daemon. What is `None` or empty gives no flag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DockerBlock {
    /// `--bridge`
    pub bridge: Option<String>,
    /// `--bip`
    pub bip: Option<String>,
    /// `--config-file`
    pub config_file: Option<String>,
    /// `--containerd`, a socket path
    pub containerd: Option<String>,
    /// `--debug`
    pub debug: Option<bool>,
    /// `--exec-root`
    pub exec_root: Option<String>,
    /// `--group` of the socket
    pub group: Option<String>,
    /// `--data-root`, under its old name
    pub graph: Option<String>,
    /// `--data-root`; wins over `graph`
    pub data_root: Option<String>,
    /// `--host`, repeated
    pub host: Vec<String>,
    /// `--insecure-registry`, repeated
    pub insecure_registry: Vec<String>,
    /// `--live-restore`
    pub live_restore: Option<bool>,
    /// `--log-driver`
    pub log_driver: Option<String>,
    /// `--log-opt key=value`, repeated
    pub log_opts: Ordered<String>,
    /// `--pidfile`
    pub pid_file: Option<String>,
    /// `--registry-mirror`
    pub registry_mirror: Option<String>,
    /// A flag that Docker no longer has; accepted, never emitted.
    pub restart: Option<bool>,
    /// `--selinux-enabled`
    pub selinux_enabled: Option<bool>,
    /// `--storage-driver`; `auto` and empty leave the choice to Docker
    pub storage_driver: Option<String>,
    /// `--userland-proxy`
    pub userland_proxy: Option<bool>,

    /// Engine to run, `docker-<version>`.
    pub engine: Option<String>,
    /// Listen with TLS, by `tls_args`.
    pub tls: bool,
    /// Arguments added when `tls` is set.
    pub tls_args: Vec<String>,
    /// Arguments added after all others.
    pub extra_args: Vec<String>,
    /// PEM text.
    pub server_cert: String,
    /// PEM text.
    pub server_key: Secret,
    /// PEM text.
    pub ca_cert: String,
    /// PEM text.
    pub ca_key: Secret,
    /// Environment of the daemon, `NAME=value`.
    pub environment: Vec<String>,
    /// Container whose file system the daemon uses.
    pub storage_context: Option<String>,
    /// PID 1 becomes the daemon (1.x); accepted, without effect.
    pub exec: Option<bool>,
    /// Accepted for old files, without effect, as in RancherOS 1.x.
    pub args: Vec<String>,
}
