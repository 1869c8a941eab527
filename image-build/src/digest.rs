//! Docker's digests of a layer: the SHA-256 of its tar (diff id), its size, and the tar-split record from which
//! `docker save` rebuilds that very tar out of the unpacked files (github.com/vbatts/tar-split).

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::{Compression, GzBuilder, write::GzEncoder};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::context::Context;
use crate::error::{Result, data, file};
use crate::hash::{Hasher, Inputs};
use crate::tarball::{self, Links, Sink};
use crate::tree::{Content, Tree};

/// What Docker wants to know of a layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Digest {
    /// `sha256:` and the digest of the layer's tar.
    pub diff_id: String,
    /// Sum of its files' lengths.
    pub size: u64,
    /// The gzipped tar-split record, a file in the cache.
    #[serde(skip)]
    pub tar_split: PathBuf,
}

/// Computes the digest of a layer, or takes it from the cache.
pub fn of_layer(context: &Context, name: &str, tree: &Tree) -> Result<Digest> {
    let mut inputs = Inputs::default();
    inputs
        .value("format", 1)
        .value("tree", tree.key(&context.cache)?)
        .value("epoch", context.settings.epoch);
    let dir = context.cached(&format!("layer-{name}"), &inputs, |dir| {
        let mut splitter = Splitter::new();
        tarball::write(tree, context.settings.epoch, Links::Copies, &mut splitter)?;
        splitter.finish(dir)
    })?;
    let path = dir.join("digest.json");
    let text = fs::read(&path).map_err(file("read", &path))?;
    let mut digest: Digest = serde_json::from_slice(&text).map_err(|e| data(&path, e))?;
    digest.tar_split = dir.join("tar-split.json.gz");
    Ok(digest)
}

/// Hashes the stream and records how it is put together.
struct Splitter {
    sha: Hasher,
    record: GzEncoder<Vec<u8>>,
    segment: Vec<u8>,
    position: u64,
    size: u64,
}

impl Splitter {
    fn new() -> Self {
        let record = GzBuilder::new()
            .mtime(0)
            .write(Vec::new(), Compression::best());
        Self {
            sha: Hasher::default(),
            record,
            segment: Vec::new(),
            position: 0,
            size: 0,
        }
    }

    fn line(&mut self, mut line: serde_json::Value) -> io::Result<()> {
        line["position"] = self.position.into();
        self.position += 1;
        writeln!(self.record, "{line}")
    }

    fn flush_segment(&mut self) -> io::Result<()> {
        if self.segment.is_empty() {
            return Ok(());
        }
        let payload = STANDARD.encode(std::mem::take(&mut self.segment));
        self.line(json!({ "type": 2, "payload": payload }))
    }

    fn finish(mut self, dir: &Path) -> Result<()> {
        let path = dir.join("tar-split.json.gz");
        self.flush_segment().map_err(file("write", &path))?;
        let record = self.record.finish().map_err(file("write", &path))?;
        fs::write(&path, record).map_err(file("write", &path))?;
        let digest = Digest {
            diff_id: format!("sha256:{}", self.sha.finish()),
            size: self.size,
            tar_split: PathBuf::new(),
        };
        let path = dir.join("digest.json");
        let text = serde_json::to_vec(&digest).map_err(|e| data(&path, e))?;
        fs::write(&path, text).map_err(file("write", &path))
    }
}

impl Sink for Splitter {
    fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.segment.extend(bytes);
        self.sha.write_all(bytes)
    }

    fn content(&mut self, name: &str, content: &Content) -> Result<()> {
        let failed = |source| file("read", Path::new(name))(source);
        self.flush_segment().map_err(failed)?;
        let mut crc = Crc64::new();
        let mut reader = content.open()?;
        let mut buffer = vec![0; 1 << 18];
        let mut size = 0;
        loop {
            let n = reader.read(&mut buffer).map_err(failed)?;
            if n == 0 {
                break;
            }
            crc.update(&buffer[..n]);
            self.sha.write_all(&buffer[..n]).map_err(failed)?;
            size += n as u64;
        }
        self.size += size;
        let payload = STANDARD.encode(crc.sum().to_be_bytes());
        self.line(json!({ "type": 1, "name": name, "size": size, "payload": payload }))
            .map_err(failed)
    }
}

/// CRC-64 of ISO 3309, as Go's `crc64.ISO` computes it.
struct Crc64 {
    table: [u64; 256],
    value: u64,
}

impl Crc64 {
    fn new() -> Self {
        let mut table = [0; 256];
        for (i, slot) in table.iter_mut().enumerate() {
            *slot = (0..8).fold(i as u64, |c, _| {
                if c & 1 == 1 {
                    (c >> 1) ^ 0xD800_0000_0000_0000
                } else {
                    c >> 1
                }
            });
        }
        Self { table, value: !0 }
    }

    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.value = self.table[usize::from(self.value as u8 ^ byte)] ^ (self.value >> 8);
        }
    }

    fn sum(&self) -> u64 {
        !self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Node;

    #[test]
    fn crc_as_go_computes_it() {
        // hash/crc64's own test vector for ISO.
        let mut crc = Crc64::new();
        crc.update(b"ab");
        assert_eq!(crc.sum(), 0x36C4_2000_0000_0000);
    }

    #[test]
    fn the_record_rebuilds_the_tar() {
        let mut tree = Tree::default();
        tree.put("a/empty", Node::text(""));
        tree.put("a/file", Node::text("content"));
        tree.put("a/link", Node::link("file"));
        let mut splitter = Splitter::new();
        tarball::write(&tree, 7, Links::Copies, &mut splitter).unwrap();
        let dir = tempfile::tempdir().unwrap();
        splitter.finish(dir.path()).unwrap();
        let digest: Digest =
            serde_json::from_slice(&fs::read(dir.path().join("digest.json")).unwrap()).unwrap();
        assert_eq!(digest.size, 7);

        let gz = fs::File::open(dir.path().join("tar-split.json.gz")).unwrap();
        let mut rebuilt = Vec::new();
        let lines = io::read_to_string(flate2::read::GzDecoder::new(gz)).unwrap();
        for line in lines.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            if line["type"] == 2 {
                rebuilt.extend(STANDARD.decode(line["payload"].as_str().unwrap()).unwrap());
            } else {
                assert_eq!(line["name"], "a/file");
                rebuilt.extend(b"content");
            }
        }
        assert_eq!(
            digest.diff_id,
            format!("sha256:{}", crate::hash::bytes(&rebuilt))
        );
    }
}
