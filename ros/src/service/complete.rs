//! Names of services for the shell's completion.

use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use os_config::store;
use system_services::manager::catalog;

/// Everything that `ros service list --all` shows, so far as the person who types may read the configuration.
pub fn services() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let entries = catalog::entries(&store::load_running().config);
        let names = entries.into_iter().map(|entry| entry.name);
        names.map(CompletionCandidate::new).collect()
    })
}
