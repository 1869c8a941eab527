//! The program `ros` of this working tree, as the hosts get it. Owns nothing: cargo builds it.

use std::path::{Path, PathBuf};

use qemu_tests::tool::Tool;
use qemu_tests::{HarnessError, Result};

use crate::stage::Stage;

/// Builds `ros` in the profile of the caller, and copies it, so that a build meanwhile changes nothing. `ROS_PROGRAM` names one instead.
///
/// # Errors
/// When it cannot be built.
pub fn ros(stage: &Stage) -> Result<PathBuf> {
    let copy = stage.scratch().join("ros");
    if copy.is_file() {
        return Ok(copy);
    }
    let built = match std::env::var_os("ROS_PROGRAM") {
        Some(program) => PathBuf::from(program),
        None => build()?,
    };
    std::fs::copy(&built, &copy).map_err(HarnessError::file("copy", &built))?;
    Ok(copy)
}

fn build() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(HarnessError::file(
        "find the program that runs",
        "/proc/self/exe",
    ))?;
    // Tests lie in `<target>/<profile>/deps`, programs one above.
    let folder = own.ancestors().skip(1).find(|path| !path.ends_with("deps"));
    let folder = folder.unwrap_or(Path::new("/"));
    let mut cargo = Tool::new("cargo").args(["build", "--quiet", "--package", "ros"]);
    if folder.ends_with("release") {
        cargo = cargo.arg("--release");
    }
    cargo.run()?;
    Ok(folder.join("ros"))
}
