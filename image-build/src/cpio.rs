//! Writes cpio archives in the `newc` format that the kernel unpacks (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::{self, Write};
use std::path::Path;

use crate::error::{Result, file};
use crate::tree::{Kind, Tree};

const DIR: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// Writes `tree`; every time stamp is `epoch`. The length is a multiple of four, so that archives can follow one another.
pub fn write(tree: &Tree, epoch: u64, out: &mut dyn Write) -> Result<()> {
    for (number, (path, node)) in (1..).zip(tree.iter()) {
        let failed = file("write cpio entry", Path::new(path));
        let head = |kind: u32, size: u64| Head {
            number,
            path,
            mode: kind | node.mode,
            epoch,
            size,
            device: (0, 0),
        };
        let result = match &node.kind {
            Kind::Dir => entry(out, &head(DIR, 0)),
            Kind::Device(major, minor) => {
                let device = (*major, *minor);
                entry(
                    out,
                    &Head {
                        device,
                        ..head(CHARACTER_DEVICE, 0)
                    },
                )
            }
            Kind::Link(target) => entry(out, &head(LINK, target.len() as u64))
                .and_then(|()| padded(out, target.as_bytes())),
            Kind::File(content) => {
                let size = content.len()?;
                let mut reader = content.open()?;
                entry(out, &head(FILE, size))
                    .and_then(|()| io::copy(&mut reader, out))
                    .and_then(|n| out.write_all(&[0; 4][..padding(n)]))
            }
        };
        result.map_err(failed)?;
    }
    entry(
        out,
        &Head {
            number: 0,
            path: "TRAILER!!!",
            mode: 0,
            epoch: 0,
            size: 0,
            device: (0, 0),
        },
    )
    .map_err(file("end cpio", Path::new("stream")))
}

struct Head<'a> {
    number: u32,
    path: &'a str,
    mode: u32,
    epoch: u64,
    size: u64,
    /// Major and minor number.
    device: (u32, u32),
}

fn entry(out: &mut dyn Write, head: &Head) -> io::Result<()> {
    let name_size = head.path.len() + 1;
    // magic, inode, mode, uid, gid, links, time, size, device (2), special device (2), name size, check sum
    let text = format!(
        "070701{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{name_size:08X}{:08X}",
        head.number,
        head.mode,
        0,
        0,
        1,
        head.epoch,
        head.size,
        0,
        0,
        head.device.0,
        head.device.1,
        0
    );
    out.write_all(text.as_bytes())?;
    out.write_all(head.path.as_bytes())?;
    out.write_all(&[0; 4][..1 + padding((text.len() + name_size) as u64)])
}

fn padded(out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes)?;
    out.write_all(&[0; 4][..padding(bytes.len() as u64)])
}

fn padding(length: u64) -> usize {
    ((4 - length % 4) % 4) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Node};

    #[test]
    fn the_cpio_program_reads_it() {
        let mut tree = Tree::default();
        tree.put("init", Node::file(Content::Bytes(b"#!x".to_vec()), 0o755));
        tree.put("dir/link", Node::link("../init"));
        tree.put("dev/null", Node::device(1, 3));
        let mut bytes = Vec::new();
        write(&tree, 1, &mut bytes).unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.cpio");
        std::fs::write(&archive, &bytes).unwrap();
        let run = crate::run::Run::new(dir.path(), "try", "sh").arg("-c");
        let out = run
            .arg(format!("cpio -itv --quiet < {}", archive.display()))
            .output()
            .unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in ["-rwxr-xr-x", "dir/link -> ../init", "crw-rw-rw-", "1,   3"] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }
}
