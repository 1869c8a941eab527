//! The program `ros` of this working tree with everything in it, for hosts that are no RancherOS. Owns nothing: cargo builds it.

use std::path::{Path, PathBuf};

use crate::error::{HarnessError, Result};
use crate::tool::Tool;

/// Builds `ros` in the profile of the caller. `ROS_PROGRAM` names one instead.
///
/// # Errors
/// When it cannot be built.
pub fn ros() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("ROS_PROGRAM") {
        return Ok(program.into());
    }
    let own = std::env::current_exe().map_err(HarnessError::file(
        "find the program that runs",
        "/proc/self/exe",
    ))?;
    // Tests lie in `<target>/<profile>/deps`, programs one above.
    let folder = own.ancestors().skip(1).find(|path| !path.ends_with("deps"));
    let folder = folder.unwrap_or(Path::new("/"));
    let mut cargo = Tool::new("cargo").args(["build", "--quiet", "--locked", "--package", "ros"]);
    if folder.ends_with("release") {
        cargo = cargo.arg("--release");
    }
    cargo.run()?;
    Ok(folder.join("ros"))
}
