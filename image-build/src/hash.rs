//! SHA-256 of files, bytes and lists of inputs. The keys of the cache come from here.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{Result, file};

/// Lower-case hexadecimal SHA-256 of bytes.
pub fn bytes(data: &[u8]) -> String {
    hex(&Sha256::digest(data))
}

/// Lower-case hexadecimal SHA-256 of a file.
pub fn of_file(path: &Path) -> Result<String> {
    let mut input = File::open(path).map_err(file("open", path))?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = input.read(&mut buffer).map_err(file("read", path))?;
        if n == 0 {
            return Ok(hasher.finish());
        }
        hasher.0.update(&buffer[..n]);
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// A sink that hashes what is written to it.
#[derive(Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// The digest as lower-case hexadecimal.
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

impl Write for Hasher {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The inputs of a cached step, each named, so that two different lists never read alike.
#[derive(Default)]
pub struct Inputs(String);

impl Inputs {
    /// Adds a named value.
    pub fn value(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        let value = value.to_string();
        self.0
            .push_str(&format!("{name}={}:{value}\n", value.len()));
        self
    }

    /// Adds the content of a file under a name.
    pub fn file(&mut self, name: &str, path: &Path) -> Result<&mut Self> {
        let digest = of_file(path)?;
        Ok(self.value(name, digest))
    }

    /// The cache key: 32 hexadecimal digits are plenty to tell builds apart.
    pub fn key(&self) -> String {
        bytes(self.0.as_bytes())[..32].to_owned()
    }

    /// The list itself, kept beside a result to explain why it was rebuilt.
    pub fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digest() {
        assert_eq!(
            bytes(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn names_and_values_do_not_run_together() {
        let (mut a, mut b) = (Inputs::default(), Inputs::default());
        a.value("x", "1\ny=1:2");
        b.value("x", "1").value("y", "2");
        assert_ne!(a.key(), b.key());
    }
}
