//! Names for the shell's completion: contexts from their file, objects from the cluster when it answers at once.

use std::time::Duration;

use api::resource::Kind;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};

use super::args::Common;
use super::context::Contexts;
use super::remote::Remote;

/// Longest wait for the cluster while a person waits for a key press.
const PATIENCE: Duration = Duration::from_secs(1);

/// Names of contexts.
pub fn contexts() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let contexts = Contexts::load().unwrap_or_default();
        contexts
            .contexts
            .keys()
            .map(CompletionCandidate::new)
            .collect()
    })
}

/// Names of projects.
pub fn projects() -> ArgValueCandidates {
    names::<api::project::ProjectKind>()
}

/// Names of the current cluster's objects of a kind.
pub fn names<K: Kind>() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        ask::<K>()
            .unwrap_or_default()
            .into_iter()
            .map(CompletionCandidate::new)
            .collect()
    })
}

/// What fails completes nothing.
fn ask<K: Kind>() -> Option<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    runtime.block_on(async {
        let remote = Remote::open(&Common::default()).ok()?;
        let asked = tokio::time::timeout(PATIENCE, remote.all::<K>()).await;
        let all = asked.ok()?.ok()?;
        Some(all.into_iter().map(|object| object.meta.name).collect())
    })
}
