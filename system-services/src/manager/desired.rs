//! What is wanted: the project `os` from the configuration, its order, and the facts that conditions ask for.

use std::collections::BTreeSet;
use std::path::Path;

use os_config::effects::Reader;
use os_config::node::Node;
use os_config::store::Loaded;
use os_config::types::Ordered;

use super::catalog::{self, BadInclude, Catalog};
use super::credentials::Credentials;
use super::graph::Graph;
use crate::applied;
use crate::cloud_init::network_is_wanted;
use crate::compose::{Condition, Project, Sources, Variables};

/// There when this machine has joined a cluster: written and removed by the agent.
const AGENT_IDENTITY: &str = "/var/lib/rancher/agent/identity.json";

/// The wish, ready to be planned.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    /// The services.
    pub project: Project,
    /// Their order.
    pub graph: Graph,
    /// What is so, of what services may ask for.
    pub conditions: BTreeSet<Condition>,
    /// Services that are switched off.
    pub disabled: BTreeSet<String>,
    /// Services of included files, with their places.
    pub included: Ordered<Node>,
    /// Includes that could not be read.
    pub bad_includes: Vec<BadInclude>,
    /// Services that start only when their Docker's archives of images are loaded.
    pub after_preload: BTreeSet<String>,
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

    /// The same, for the manager itself: what it says is done from now on.
    #[must_use]
    pub fn load_to_act() -> Self {
        let loaded = os_config::store::load_running();
        applied::note(super::LOG, Reader::Services, &loaded);
        Self::new(&loaded)
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
            after_preload: after_preload(rancher.preload_wait, &project, catalog::shipped),
            project,
            conditions: conditions(loaded, Path::new(AGENT_IDENTITY)),
            included: catalog.included,
            bad_includes: catalog.problems,
            disabled: catalog.disabled,
            credentials: Credentials::new(&rancher.registry_auths),
            version,
        }
    }
}

/// Services of the user, if `rancher.preload_wait` says so. What is shipped has its images, and the machine needs it.
fn after_preload(
    wait: bool,
    project: &Project,
    shipped: impl FnOnce() -> Vec<String>,
) -> BTreeSet<String> {
    if !wait {
        return BTreeSet::new();
    }
    let shipped = shipped();
    let names = project.services.keys().cloned();
    names.filter(|name| !shipped.contains(name)).collect()
}

fn conditions(loaded: &Loaded, agent_identity: &Path) -> BTreeSet<Condition> {
    let cluster = &loaded.config.rancher.cluster;
    let network = network_is_wanted(&loaded.config, &loaded.cmdline);
    let all = [
        (Condition::NetworkDatasource, network),
        (
            Condition::ClusterAgent,
            !cluster.join.is_empty() || agent_identity.exists(),
        ),
        (
            Condition::ClusterServer,
            cluster.server.settings().is_some(),
        ),
        (Condition::Ntp, loaded.config.ntp.enabled),
    ];
    let met = all.into_iter().filter(|(_, is_so)| *is_so);
    met.map(|(condition, _)| condition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(cluster: serde_json::Value, identity: &Path) -> Vec<Condition> {
        met_by(
            serde_json::json!({"rancher": {"cluster": cluster}, "ntp": {"enabled": false}}),
            identity,
        )
    }

    fn met_by(config: serde_json::Value, identity: &Path) -> Vec<Condition> {
        let loaded = Loaded {
            config: serde_json::from_value(config).unwrap(),
            ..Loaded::default()
        };
        conditions(&loaded, identity).into_iter().collect()
    }

    #[test]
    fn the_clock_is_kept_unless_told_not_to() {
        let nowhere = Path::new("/nonexistent");
        let with = |ntp| met_by(serde_json::json!({"ntp": ntp}), nowhere);
        assert_eq!(with(serde_json::json!({})), [Condition::Ntp]);
        assert_eq!(
            with(serde_json::json!({"servers": ["a"]})),
            [Condition::Ntp]
        );
        assert_eq!(with(serde_json::json!({"enabled": false})), []);
    }

    #[test]
    fn shipped_services_do_not_wait_for_archives() {
        let project = crate::manager::testing::project("{ntp: {image: i}, web: {image: i}}");
        let shipped = || vec!["ntp".to_owned()];
        let waiting = after_preload(true, &project, shipped);
        assert_eq!(waiting.into_iter().collect::<Vec<_>>(), ["web"]);
        assert!(after_preload(false, &project, shipped).is_empty());
    }

    #[test]
    fn a_cluster_is_configured_or_joined() {
        let folder = tempfile::tempdir().unwrap();
        let identity = folder.path().join("identity.json");
        let nothing = serde_json::json!({});
        assert_eq!(met(nothing.clone(), &identity), []);
        let join = serde_json::json!({"join": ["https://10.0.0.5"]});
        assert_eq!(met(join, &identity), [Condition::ClusterAgent]);
        for server in [serde_json::json!(true), serde_json::json!({"names": ["a"]})] {
            let server = serde_json::json!({"server": server});
            assert_eq!(met(server, &identity), [Condition::ClusterServer]);
        }
        let off = serde_json::json!({"server": false, "token": "t"});
        assert_eq!(met(off, &identity), []);
        std::fs::write(&identity, "{}").unwrap();
        assert_eq!(met(nothing, &identity), [Condition::ClusterAgent]);
    }
}
