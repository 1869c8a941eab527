//! What is wanted: the project `os` from the configuration, its order, and the facts that conditions ask for.

use std::path::Path;

use os_config::store::Loaded;

use super::credentials::Credentials;
use super::graph::Graph;
use crate::compose::{Project, Sources, Variables};

/// Datasources that are found without a network: init reads them before Docker. (`cmdline` may name an address, which is then a `url`.)
const LOCAL_DATASOURCES: [&str; 5] = ["configdrive", "nocloud", "file", "cmdline", "proxmox"];
/// Written by init when a local datasource answered.
const LOCAL_USER_DATA: &str = "/run/ros/local-datasource";

/// The wish, ready to be planned.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// The services.
    pub project: Project,
    /// Their order.
    pub graph: Graph,
    /// A datasource that needs the network is configured and no local one answered.
    pub network_datasource: bool,
    /// Of the registries that images are pulled from.
    pub credentials: Credentials,
    /// Release of RancherOS, with its `v`.
    pub version: String,
}

impl Desired {
    /// From the configuration of the running system.
    #[must_use]
    pub fn load() -> Self {
        Self::new(&os_config::store::load_running())
    }

    /// From a configuration.
    #[must_use]
    pub fn new(loaded: &Loaded) -> Self {
        let rancher = &loaded.config.rancher;
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let variables = Variables::new(&loaded.config, &release);
        let sources = Sources { variables: &variables, read_file: &|path| std::fs::read_to_string(path) };
        let definitions = rancher.services.iter().map(|(name, value)| (name.as_str(), value));
        let project = Project::read(definitions, &sources);
        let version = variables.get("", "VERSION").map_or_else(|| concat!("v", env!("CARGO_PKG_VERSION")).to_owned(), str::to_owned);
        let network = rancher.cloud_init.datasources.iter().any(|source| needs_network(source));
        Self {
            graph: Graph::new(&project),
            project,
            network_datasource: network && !Path::new(LOCAL_USER_DATA).exists(),
            credentials: Credentials::new(&rancher.registry_auths),
            version,
        }
    }
}

fn needs_network(datasource: &str) -> bool {
    let name = datasource.split(':').next().unwrap_or_default().trim();
    !name.is_empty() && !LOCAL_DATASOURCES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::needs_network;

    #[test]
    fn only_some_datasources_need_the_network() {
        assert!(!needs_network("configdrive:/media/config-2"));
        assert!(!needs_network("nocloud"));
        assert!(needs_network("url:http://example.test/config"));
        assert!(needs_network("ec2"));
    }
}
