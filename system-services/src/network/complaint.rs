//! What of `rancher.network.interfaces` cannot be done as configured, each with its place in the files. Pure.

use std::fmt;

use os_config::{Loaded, Problem, Severity, path};

/// One finding about a key of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The entry's name.
    pub interface: String,
    /// The key in it; dotted below `bond_opts`.
    pub key: String,
    /// What is wrong, and what is done about it.
    pub what: String,
}

impl Complaint {
    /// With its place in the files that were read.
    #[must_use]
    pub fn placed(&self, loaded: &Loaded) -> Problem {
        let mut segments = ["rancher", "network", "interfaces", &self.interface]
            .map(str::to_owned)
            .to_vec();
        segments.extend(self.key.split('.').map(str::to_owned));
        let place = path::find(&loaded.tree, &segments)
            .map(|node| node.position.clone())
            .unwrap_or_default();
        Problem::new(Severity::Warning, &place, &segments.join("."), &self.what)
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "interfaces.{}.{}: {}",
            self.interface, self.key, self.what
        )
    }
}
