//! System service `cloud_init`.

/// Which datasources are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those that need no network.
    Local,
    /// Those that need it.
    Network,
}

/// Why nothing can be saved.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// `ros cloud-init-save`.
///
/// # Errors
/// None yet.
pub fn save(_reach: Reach) -> Result<(), Error> {
    Ok(())
}
