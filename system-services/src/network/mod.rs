//! System service `network`.

/// Why the network cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// `ros netconf`.
///
/// # Errors
/// None yet.
pub fn run() -> Result<(), Error> {
    Ok(())
}
