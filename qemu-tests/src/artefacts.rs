//! Where the built image and the host's firmware are. Owns no files; says what to do when one is missing.

use std::path::{Path, PathBuf};

use crate::error::{HarnessError, Result};
use crate::machine::{Boot, Firmware, Slot};

/// Debian's OVMF: code and the variables to start from.
const UEFI_CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const UEFI_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// The folder of the repository.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The folder with the artefacts: `build/`, or what `RANCHEROS_BUILD` names.
pub fn build_folder() -> PathBuf {
    std::env::var_os("RANCHEROS_BUILD").map_or_else(|| repository().join("build"), PathBuf::from)
}

/// The folder for what is slow to make, `~/.cache/rancheros` unless `XDG_CACHE_HOME` says otherwise.
pub fn cache_folder() -> PathBuf {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    let cache =
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    cache.join("rancheros")
}

/// One artefact of the build.
///
/// # Errors
/// [`HarnessError::Missing`] when it has not been built.
pub fn artefact(name: &str) -> Result<PathBuf> {
    present(build_folder().join(name), "run `make image` first")
}

/// Kernel and initrd, loaded by QEMU itself.
///
/// # Errors
/// When they have not been built.
pub fn direct_boot() -> Result<Boot> {
    Ok(Boot::Direct {
        kernel: artefact("vmlinuz")?,
        initrd: artefact("initrd")?,
    })
}

/// Kernel and small initrd, loaded by QEMU itself; the root image comes from a medium, as on an installed machine.
///
/// # Errors
/// When they have not been built.
pub fn small_boot() -> Result<Boot> {
    Ok(Boot::Direct {
        kernel: artefact("vmlinuz")?,
        initrd: artefact("initrd-small")?,
    })
}

/// The ISO through SeaBIOS.
///
/// # Errors
/// When it has not been built.
pub fn bios_boot(slot: Slot) -> Result<Boot> {
    Ok(Boot::Medium {
        image: artefact("ros.iso")?,
        slot,
        firmware: Firmware::Bios,
    })
}

/// The ISO through OVMF; `scratch` receives the writable variables.
///
/// # Errors
/// When the ISO has not been built or OVMF is not installed.
pub fn uefi_boot(slot: Slot, scratch: &Path) -> Result<Boot> {
    Ok(Boot::Medium {
        image: artefact("ros.iso")?,
        slot,
        firmware: uefi_firmware(scratch)?,
    })
}

/// OVMF with fresh variables in `scratch`.
///
/// # Errors
/// When OVMF is not installed.
pub fn uefi_firmware(scratch: &Path) -> Result<Firmware> {
    let install = "run `apt-get install ovmf`";
    let code = present(UEFI_CODE.into(), install)?;
    let pristine = present(UEFI_VARIABLES.into(), install)?;
    let variables = scratch.join("uefi-variables.fd");
    std::fs::copy(&pristine, &variables)
        .map_err(HarnessError::file("copy UEFI variables", &variables))?;
    Ok(Firmware::Uefi { code, variables })
}

fn present(file: PathBuf, remedy: &str) -> Result<PathBuf> {
    if file.is_file() {
        return Ok(file);
    }
    Err(HarnessError::Missing {
        what: file.display().to_string(),
        remedy: remedy.to_owned(),
    })
}
