//! What is wanted: the project `os` from the configuration, its order, and the facts that conditions ask for.

use std::collections::BTreeSet;

use os_config::node::Node;
use os_config::store::Loaded;
use os_config::types::Ordered;

use super::catalog::{BadInclude, Catalog};
use super::credentials::Credentials;
use super::graph::Graph;
use crate::cloud_init::network_is_wanted;
use crate::compose::{Project, Sources, Variables};

/// The wish, ready to be planned.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// The services.
    pub project: Project,
    /// Their order.
    pub graph: Graph,
    /// A datasource that needs the network is configured and no local one answered.
    pub network_datasource: bool,
    /// Services that are switched off.
    pub disabled: BTreeSet<String>,
    /// Services of included files, with their places.
    pub included: Ordered<Node>,
    /// Includes that could not be read.
    pub bad_includes: Vec<BadInclude>,
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
        let release = rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned();
        let variables = Variables::new(&loaded.config, &release);
        let sources = Sources {
            variables: &variables,
            read_file: &|path| std::fs::read_to_string(path),
        };
        let catalog = Catalog::new(&loaded.config, |path| std::fs::read(path));
        let definitions = catalog
            .definitions
            .iter()
            .map(|(name, value)| (name.as_str(), value));
        let project = Project::read(definitions, &sources);
        let version = variables.get("", "VERSION").map_or_else(
            || concat!("v", env!("CARGO_PKG_VERSION")).to_owned(),
            str::to_owned,
        );
        Self {
            graph: Graph::new(&project),
            project,
            network_datasource: network_is_wanted(&loaded.config, &loaded.cmdline),
            included: catalog.included,
            bad_includes: catalog.problems,
            disabled: catalog.disabled,
            credentials: Credentials::new(&rancher.registry_auths),
            version,
        }
    }
}
