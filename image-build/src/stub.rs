//! Libraries that are there only because a program's header names them: every function of theirs answers that nothing was done. They stand for
//! what can do nothing in the image anyway, and for the libraries that it would bring along.
//!
//! The functions are listed in `image-build/layers/*.toml`, and a program that asks for another one stops the build: what it does must be
//! looked at first.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::context::Context;
use crate::elf;
use crate::error::{Result, file, missing};
use crate::hash::Inputs;
use crate::spec::Stub;

/// Compiles the library; gives its file.
pub fn library(context: &Context, stub: &Stub) -> Result<PathBuf> {
    let compiler = context
        .run("stubs", "gcc")
        .arg("-dumpfullversion")
        .output()?;
    let (source, versions) = (source(stub), versions(stub));
    let mut inputs = Inputs::default();
    inputs
        .value("format", 1)
        .value("soname", &stub.soname)
        .value("source", &source)
        .value("versions", &versions)
        .value("compiler", String::from_utf8_lossy(&compiler));
    let dir = context.cached("stubs", &inputs, |dir| {
        let (c, map) = (dir.join("stub.c"), dir.join("stub.map"));
        fs::write(&c, &source).map_err(file("write", &c))?;
        fs::write(&map, &versions).map_err(file("write", &map))?;
        let switches = [
            "-Os",
            "-fPIC",
            "-shared",
            "-nostdlib",
            "-s",
            "-Wl,--build-id=none",
            "-Wl,-z,noexecstack",
        ];
        context
            .run("stubs", "gcc")
            .args(switches)
            .arg(format!("-Wl,-soname,{}", stub.soname))
            .arg(format!("-Wl,--version-script,{}", map.display()))
            .arg("-o")
            .arg(dir.join(&stub.soname))
            .arg(&c)
            .go()
    })?;
    Ok(dir.join(&stub.soname))
}

fn source(stub: &Stub) -> String {
    let function = |name: &String| format!("long {name}(void) {{ return {}; }}\n", stub.answer);
    stub.functions.iter().map(function).collect()
}

/// The symbols' version (`ld`, "VERSION Command").
fn versions(stub: &Stub) -> String {
    let names: String = stub
        .functions
        .iter()
        .map(|name| format!(" {name};"))
        .collect();
    format!("{} {{ global:{names} local: *; }};\n", stub.version)
}

/// Looks at a program that may use the library: it must not ask for more than there is.
pub fn check(program: &Path, stub: &Stub) -> Result<()> {
    let asked = elf::asks_of(program, &stub.soname)?;
    let known: BTreeSet<&String> = stub.functions.iter().collect();
    let unknown: Vec<String> = asked
        .into_iter()
        .filter(|name| !known.contains(name))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(missing(
        format!(
            "{} asks {} for {}, which is not in the list of what may do nothing ({})",
            program.display(),
            stub.soname,
            unknown.join(", "),
            stub.why
        ),
        "See whether it may answer that nothing was done, and add it to the layer's list; otherwise take the package's library.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_gives_the_answer() {
        let stub = Stub {
            soname: "liba.so.1".into(),
            why: String::new(),
            version: "A_1.0".into(),
            answer: -1,
            functions: vec!["one".into(), "two".into()],
        };
        let expected = "long one(void) { return -1; }\nlong two(void) { return -1; }\n";
        assert_eq!(source(&stub), expected);
        assert_eq!(versions(&stub), "A_1.0 { global: one; two; local: *; };\n");
    }
}
