//! The control plane of a cluster, `ros server`: a store with revisions, an HTTPS API on it, the cluster's CA, and the loops that decide.

pub mod access;
pub mod agents;
mod certificate;
mod events;
pub mod http;
mod loops;
pub mod mirror;
pub mod objects;
pub mod pki;
pub mod presence;
pub mod rescue;
pub mod rules;
pub mod secret;
pub mod server;
pub mod store;

// The suite of the store's promises is shared with `tests/`.
#[cfg(test)]
extern crate self as control_plane;
#[cfg(test)]
mod timing;
