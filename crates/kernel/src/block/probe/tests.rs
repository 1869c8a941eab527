//! Probing images that the real tools made, and hostile ones.

use std::io::Cursor;
use std::path::Path;
use std::process::Command;

use super::*;

const UUID: &str = "3f5ad593-4546-4a94-a374-bcfb68aa11f7";

fn image(size: u64) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(size).unwrap();
    file
}

/// Runs a formatter; a machine without it skips the test with a word, as `make test` installs them all.
fn run(program: &str, arguments: &[&str], image: &Path) -> bool {
    match Command::new(program)
        .args(arguments)
        .arg(image)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output()
    {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{program}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            true
        }
        Err(_) => {
            assert!(std::env::var_os("CI").is_none(), "{program} is missing");
            eprintln!("skipped: no {program} here");
            false
        }
    }
}

fn expect(image: &Path, fstype: &str, label: Option<&str>, uuid: Option<&str>) {
    let found = probe(image).unwrap_or_else(|| panic!("{fstype} was not recognised"));
    assert_eq!((found.fstype, found.label.as_deref()), (fstype, label));
    if let Some(uuid) = uuid {
        assert_eq!(found.uuid.as_deref(), Some(uuid));
    }
    assert!(!found.has_errors);
}

#[test]
fn ext_2_3_and_4() {
    for fstype in ["ext2", "ext3", "ext4"] {
        let file = image(8 << 20);
        if run(
            &format!("mkfs.{fstype}"),
            &["-q", "-F", "-L", "RANCHER_STATE", "-U", UUID],
            file.path(),
        ) {
            expect(file.path(), fstype, Some("RANCHER_STATE"), Some(UUID));
        }
    }
}

#[test]
fn ext4_with_errors_is_told() {
    let file = image(8 << 20);
    if run("mkfs.ext4", &["-q", "-F"], file.path()) {
        let mut bytes = std::fs::read(file.path()).unwrap();
        bytes[1024 + 58] |= 2;
        assert!(probe_reader(&mut Cursor::new(bytes)).unwrap().has_errors);
    }
}

#[test]
fn vfat_12_16_and_32() {
    for (bits, size) in [("12", 2u64 << 20), ("16", 20 << 20), ("32", 80 << 20)] {
        let file = image(size);
        if run(
            "mkfs.vfat",
            &["-F", bits, "-n", "CONFIG-2", "-i", "1234ABCD"],
            file.path(),
        ) {
            expect(file.path(), "vfat", Some("CONFIG-2"), Some("1234-ABCD"));
        }
    }
}

#[test]
fn btrfs_xfs_and_swap() {
    let file = image(320 << 20);
    if run(
        "mkfs.btrfs",
        &["-q", "-f", "-L", "data", "-U", UUID],
        file.path(),
    ) {
        expect(file.path(), "btrfs", Some("data"), Some(UUID));
    }
    let file = image(320 << 20);
    if run(
        "mkfs.xfs",
        &["-q", "-f", "-L", "data", "-m", &format!("uuid={UUID}")],
        file.path(),
    ) {
        expect(file.path(), "xfs", Some("data"), Some(UUID));
    }
    let file = image(1 << 20);
    if run("mkswap", &["-L", "RANCHER_SWAP", "-U", UUID], file.path()) {
        expect(file.path(), "swap", Some("RANCHER_SWAP"), Some(UUID));
    }
}

#[test]
fn iso_and_squashfs() {
    let tree = tempfile::tempdir().unwrap();
    std::fs::write(tree.path().join("file"), "x").unwrap();
    let out = tempfile::tempdir().unwrap();
    let iso = out.path().join("iso");
    let arguments = [
        "-as",
        "mkisofs",
        "-quiet",
        "-V",
        "config-2",
        "-o",
        iso.to_str().unwrap(),
    ];
    if run("xorriso", &arguments, tree.path()) {
        expect(&iso, "iso9660", Some("config-2"), None);
    }
    let squashfs = out.path().join("squashfs");
    if run("mksquashfs", &[tree.path().to_str().unwrap()], &squashfs) {
        expect(&squashfs, "squashfs", None, None);
    }
}

#[test]
fn stacked_formats_hide_what_is_inside() {
    let file = image(8 << 20);
    if !run("mkfs.ext4", &["-q", "-F", "-L", "inside"], file.path()) {
        return;
    }
    let mut bytes = std::fs::read(file.path()).unwrap();
    let at = ((bytes.len() / 512 - 16) & !7) * 512;
    bytes[at..at + 4].copy_from_slice(&0xa92b_4efc_u32.to_le_bytes());
    bytes[at + 4] = 1;
    assert_eq!(
        probe_reader(&mut Cursor::new(bytes)).unwrap().kind,
        Kind::Raid
    );
}

#[test]
fn luks_and_lvm_by_their_headers() {
    let mut bytes = vec![0; 1 << 20];
    bytes[..8].copy_from_slice(b"LUKS\xba\xbe\x00\x02");
    bytes[168..204].copy_from_slice(UUID.as_bytes());
    let found = probe_reader(&mut Cursor::new(&bytes)).unwrap();
    assert_eq!(
        (found.kind, found.uuid.as_deref()),
        (Kind::Encrypted, Some(UUID))
    );
    let mut bytes = vec![0; 1 << 20];
    bytes[512..520].copy_from_slice(b"LABELONE");
    bytes[536..544].copy_from_slice(b"LVM2 001");
    assert_eq!(
        probe_reader(&mut Cursor::new(&bytes)).unwrap().kind,
        Kind::Lvm
    );
}

#[test]
fn labels_are_made_safe_to_print() {
    let mut bytes = vec![0; 4096];
    bytes[..4].copy_from_slice(b"XFSB");
    bytes[108..120].copy_from_slice(b"a\x1b[2Jb\xff\xffcd\n\n");
    let label = probe_reader(&mut Cursor::new(bytes))
        .unwrap()
        .label
        .unwrap();
    assert!(
        label.starts_with("a[2Jb") && !label.chars().any(char::is_control),
        "{label:?}"
    );
}

/// Short devices, garbage, and every magic number with nothing sensible around it: an answer, never a panic.
#[test]
fn hostile_bytes_do_no_harm() {
    for length in [0, 1, 511, 512, 1023, 1500, 4096, 65535, 65536 + 0x400] {
        for fill in [0u8, 0x55, 0xff] {
            probe_reader(&mut Cursor::new(vec![fill; length]));
        }
    }
    let mut bytes = vec![0xff; 1 << 20];
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes[11..24].copy_from_slice(&[0, 2, 128, 1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
    bytes[82..90].copy_from_slice(b"FAT32   ");
    assert_eq!(
        probe_reader(&mut Cursor::new(bytes)).map(|found| found.fstype),
        Some("vfat")
    );
    let mut seed = 1u64;
    for _ in 0..200 {
        let mut bytes: Vec<u8> = (0..8192)
            .map(|_| {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
                (seed >> 56) as u8
            })
            .collect();
        bytes[1024 + 56..1024 + 58].copy_from_slice(&[0x53, 0xef]);
        probe_reader(&mut Cursor::new(bytes));
    }
}
