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
}
