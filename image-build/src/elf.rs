//! Which libraries a program asks for. Reads ELF headers only; runs nothing.

use std::fs;
use std::path::Path;

use goblin::elf::Elf;

use crate::error::{Result, file};

/// What a dynamic program needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Sonames of its libraries.
    pub libraries: Vec<String>,
    /// The dynamic loader's path.
    pub interpreter: Option<String>,
}

/// Reads the needs of the file at `path`; anything but a dynamic ELF file needs nothing.
pub fn needs(path: &Path) -> Result<Needs> {
    let bytes = fs::read(path).map_err(file("read", path))?;
    Ok(parse(&bytes))
}

fn parse(bytes: &[u8]) -> Needs {
    if !bytes.starts_with(b"\x7fELF") {
        return Needs::default();
    }
    let Ok(elf) = Elf::parse(bytes) else {
        return Needs::default();
    };
    Needs {
        libraries: elf.libraries.iter().map(|l| (*l).to_owned()).collect(),
        interpreter: elf.interpreter.map(str::to_owned),
    }
}

/// The functions that the program at `path` asks of the library `soname`: undefined symbols whose version is of that library (LSB Core,
/// "Symbol Versioning").
pub fn asks_of(path: &Path, soname: &str) -> Result<Vec<String>> {
    let bytes = fs::read(path).map_err(file("read", path))?;
    if !bytes.starts_with(b"\x7fELF") {
        return Ok(Vec::new());
    }
    let Ok(elf) = Elf::parse(&bytes) else {
        return Ok(Vec::new());
    };
    let mut versions = Vec::new();
    for need in elf.verneed.iter().flat_map(|needs| needs.iter()) {
        if elf.dynstrtab.get_at(need.vn_file) == Some(soname) {
            versions.extend(need.iter().map(|version| version.vna_other));
        }
    }
    let Some(given) = elf.versym.as_ref() else {
        return Ok(Vec::new());
    };
    let symbols = elf.dynsyms.iter().zip(given.iter());
    let asked = symbols.filter(|(_, version)| versions.contains(&version.version()));
    Ok(asked
        .filter_map(|(symbol, _)| elf.dynstrtab.get_at(symbol.st_name))
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_needs_nothing() {
        assert_eq!(parse(b"#!/bin/sh\n"), Needs::default());
    }

    #[test]
    fn a_shell_of_this_machine_needs_libc() {
        let needs = needs(Path::new("/bin/bash")).unwrap();
        assert!(
            needs.libraries.iter().any(|l| l == "libc.so.6"),
            "{needs:?}"
        );
        assert!(needs.interpreter.is_some());
    }

    #[test]
    fn what_is_asked_of_a_library_is_known_by_its_version() {
        let asked = asks_of(Path::new("/bin/bash"), "libc.so.6").unwrap();
        assert!(asked.iter().any(|name| name == "fork"), "{asked:?}");
        assert!(
            asks_of(Path::new("/bin/bash"), "libnone.so.1")
                .unwrap()
                .is_empty()
        );
    }
}
