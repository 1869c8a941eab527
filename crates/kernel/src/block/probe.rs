//! What lies on a device: superblocks by their magic numbers, as libblkid names them.
//!
//! Reads a few KiB at fixed places, never follows a pointer found on the disk. Stacked formats are asked first: a RAID 1
//! member with metadata at its end looks like the file system inside it.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// What sort of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Can be mounted.
    FileSystem,
    /// Swap space.
    Swap,
    /// LUKS: must be unlocked first.
    Encrypted,
    /// Physical volume of LVM 2.
    Lvm,
    /// Member of an md array.
    Raid,
}

/// A recognised superblock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// What sort of thing it is.
    pub kind: Kind,
    /// Type as blkid(8) prints it and, for file systems, as the kernel calls it.
    pub fstype: &'static str,
    /// Label, without control characters; `None` when empty.
    pub label: Option<String>,
    /// UUID in the notation usual for the format.
    pub uuid: Option<String>,
    /// Whether the superblock says that the file system has errors (ext only).
    pub has_errors: bool,
}

impl Content {
    fn new(kind: Kind, fstype: &'static str) -> Self {
        Self {
            kind,
            fstype,
            label: None,
            uuid: None,
            has_errors: false,
        }
    }
}

/// What lies on `device`; `None` also when it cannot be read.
pub fn probe(device: &Path) -> Option<Content> {
    probe_reader(&mut File::open(device).ok()?)
}

/// The same for anything that can be read at a place.
pub fn probe_reader(source: &mut (impl Read + Seek)) -> Option<Content> {
    let size = source.seek(SeekFrom::End(0)).ok()?;
    let mut disk = Disk { source, size };
    // The order matters: containers before contents, the most specific magic before two-byte ones.
    let probes = [
        md, luks, lvm, xfs, btrfs, squashfs, erofs, swap, ext, iso9660, vfat,
    ];
    probes.iter().find_map(|probe| probe(&mut disk))
}

trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

struct Disk<'a> {
    source: &'a mut dyn ReadSeek,
    size: u64,
}

impl Disk<'_> {
    /// `length` bytes at `offset`, or `None` when the device ends before or gives an error.
    fn read(&mut self, offset: u64, length: usize) -> Option<Block> {
        let end = offset.checked_add(u64::try_from(length).ok()?)?;
        if end > self.size {
            return None;
        }
        self.source.seek(SeekFrom::Start(offset)).ok()?;
        let mut bytes = vec![0; length];
        self.source.read_exact(&mut bytes).ok()?;
        Some(Block(bytes))
    }
}

struct Block(Vec<u8>);

impl Block {
    fn bytes(&self, at: usize, length: usize) -> &[u8] {
        self.0.get(at..at + length).unwrap_or_default()
    }

    fn is(&self, at: usize, magic: &[u8]) -> bool {
        self.bytes(at, magic.len()) == magic
    }

    fn u16(&self, at: usize) -> u16 {
        self.bytes(at, 2)
            .try_into()
            .map(u16::from_le_bytes)
            .unwrap_or_default()
    }

    fn u32(&self, at: usize) -> u32 {
        self.bytes(at, 4)
            .try_into()
            .map(u32::from_le_bytes)
            .unwrap_or_default()
    }

    fn text(&self, at: usize, length: usize) -> Option<String> {
        let bytes = self.bytes(at, length).split(|&byte| byte == 0).next()?;
        let text = String::from_utf8_lossy(bytes);
        let text: String = text
            .trim_end()
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        (!text.is_empty()).then_some(text)
    }

    fn uuid(&self, at: usize) -> Option<String> {
        let bytes = self.bytes(at, 16);
        if bytes.iter().all(|&byte| byte == 0) {
            return None;
        }
        let mut text = String::new();
        for (index, byte) in bytes.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.push_str(&format!("{byte:02x}"));
        }
        Some(text)
    }
}

/// linux/raid/md_p.h: version 1 at three places, version 0.90 near the end.
fn md(disk: &mut Disk<'_>) -> Option<Content> {
    const MAGIC: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();
    let sectors = disk.size / 512;
    let at_end = (sectors.saturating_sub(16) & !7) * 512;
    for offset in [0, 4096, at_end] {
        if let Some(block) = disk
            .read(offset, 64)
            .filter(|block| block.is(0, &MAGIC) && block.u32(4) == 1)
        {
            let mut found = Content::new(Kind::Raid, "linux_raid_member");
            found.uuid = block.uuid(16);
            found.label = block.text(32, 32);
            return Some(found);
        }
    }
    let old = (disk.size & !0xffff).checked_sub(0x1_0000)?;
    disk.read(old, 8)
        .filter(|block| block.is(0, &MAGIC) && block.u32(4) == 0)?;
    Some(Content::new(Kind::Raid, "linux_raid_member"))
}

/// LUKS on-disk format, versions 1 and 2.
fn luks(disk: &mut Disk<'_>) -> Option<Content> {
    let block = disk
        .read(0, 512)
        .filter(|block| block.is(0, b"LUKS\xba\xbe"))?;
    let mut found = Content::new(Kind::Encrypted, "crypto_LUKS");
    found.uuid = block.text(168, 40);
    if block.is(6, &[0, 2]) {
        found.label = block.text(24, 48);
    }
    Some(found)
}

/// LVM 2 label: in one of the first four sectors.
fn lvm(disk: &mut Disk<'_>) -> Option<Content> {
    let block = disk.read(0, 2048)?;
    let at = [0, 512, 1024, 1536]
        .into_iter()
        .find(|&at| block.is(at, b"LABELONE") && block.is(at + 24, b"LVM2 001"))?;
    let mut found = Content::new(Kind::Lvm, "LVM2_member");
    found.uuid = block.text(at + 32, 32);
    Some(found)
}

fn xfs(disk: &mut Disk<'_>) -> Option<Content> {
    let block = disk.read(0, 512).filter(|block| block.is(0, b"XFSB"))?;
    let mut found = Content::new(Kind::FileSystem, "xfs");
    found.uuid = block.uuid(32);
    found.label = block.text(108, 12);
    Some(found)
}

fn btrfs(disk: &mut Disk<'_>) -> Option<Content> {
    let block = disk
        .read(0x1_0000, 0x400)
        .filter(|block| block.is(0x40, b"_BHRfS_M"))?;
    let mut found = Content::new(Kind::FileSystem, "btrfs");
    found.uuid = block.uuid(0x20);
    found.label = block.text(0x12b, 256);
    Some(found)
}

fn squashfs(disk: &mut Disk<'_>) -> Option<Content> {
    disk.read(0, 96)
        .filter(|block| block.is(0, b"hsqs") && block.u16(28) == 4)?;
    Some(Content::new(Kind::FileSystem, "squashfs"))
}

fn erofs(disk: &mut Disk<'_>) -> Option<Content> {
    let block = disk
        .read(1024, 128)
        .filter(|block| block.is(0, &0xe0f5_e1e2_u32.to_le_bytes()))?;
    let mut found = Content::new(Kind::FileSystem, "erofs");
    found.uuid = block.uuid(48);
    found.label = block.text(64, 16);
    Some(found)
}

fn swap(disk: &mut Disk<'_>) -> Option<Content> {
    disk.read(4096 - 10, 10)
        .filter(|block| block.is(0, b"SWAPSPACE2"))?;
    let block = disk.read(1024, 64)?;
    let mut found = Content::new(Kind::Swap, "swap");
    found.uuid = block.uuid(12);
    found.label = block.text(28, 16);
    Some(found)
}

/// Documentation/filesystems/ext4/super.rst.
fn ext(disk: &mut Disk<'_>) -> Option<Content> {
    const JOURNAL: u32 = 0x4;
    const JOURNAL_DEVICE: u32 = 0x8;
    // Features that ext3 has; any other makes it ext4.
    const EXT3_INCOMPAT: u32 = 0x2 | 0x4 | 0x10;
    const EXT3_RO_COMPAT: u32 = 0x1 | 0x2 | 0x4;
    let block = disk
        .read(1024, 264)
        .filter(|block| block.u16(56) == 0xef53)?;
    let (compat, incompat, ro_compat) = (block.u32(92), block.u32(96), block.u32(100));
    // The magic has two bytes only: a superblock without inodes or with an absurd block size is none.
    if block.u32(0) == 0 || block.u32(24) > 6 || incompat & JOURNAL_DEVICE != 0 {
        return None;
    }
    let fstype = if incompat & !EXT3_INCOMPAT != 0 || ro_compat & !EXT3_RO_COMPAT != 0 {
        "ext4"
    } else if compat & JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    };
    let mut found = Content::new(Kind::FileSystem, fstype);
    found.uuid = block.uuid(104);
    found.label = block.text(120, 16);
    found.has_errors = block.u16(58) & 2 != 0;
    Some(found)
}

/// ECMA-119: the primary volume descriptor.
fn iso9660(disk: &mut Disk<'_>) -> Option<Content> {
    let block = disk
        .read(32768, 2048)
        .filter(|block| block.is(0, b"\x01CD001"))?;
    let mut found = Content::new(Kind::FileSystem, "iso9660");
    found.label = block.text(40, 32);
    // As blkid does it: the modification date, or else that of creation.
    let date = [830, 813]
        .into_iter()
        .map(|at| block.bytes(at, 16))
        .find(|date| date.iter().any(|&byte| byte != b'0' && byte != 0))?;
    let date = std::str::from_utf8(date)
        .ok()
        .filter(|date| date.bytes().all(|byte| byte.is_ascii_digit()));
    found.uuid = date.map(|date| {
        let part = |from: usize, to: usize| date.get(from..to).unwrap_or_default();
        [
            part(0, 4),
            part(4, 6),
            part(6, 8),
            part(8, 10),
            part(10, 12),
            part(12, 14),
            part(14, 16),
        ]
        .join("-")
    });
    Some(found)
}

/// Microsoft's FAT specification 1.03; FAT12, 16 and 32.
fn vfat(disk: &mut Disk<'_>) -> Option<Content> {
    let boot = disk
        .read(0, 512)
        .filter(|boot| boot.is(510, &[0x55, 0xaa]))?;
    let sector = usize::from(boot.u16(11));
    let fats = boot.bytes(16, 1).first().copied().unwrap_or_default();
    let per_cluster = boot.bytes(13, 1).first().copied().unwrap_or_default();
    if !matches!(sector, 512 | 1024 | 2048 | 4096)
        || !per_cluster.is_power_of_two()
        || !(1..=2).contains(&fats)
        || boot.u16(14) == 0
    {
        return None;
    }
    let is_fat32 = boot.u16(22) == 0 && boot.is(82, b"FAT32   ");
    let is_fat16 = boot.is(54, b"FAT16   ") || boot.is(54, b"FAT12   ") || boot.is(54, b"FAT     ");
    if !is_fat32 && !is_fat16 {
        return None;
    }
    let (serial_at, label_at) = if is_fat32 { (67, 71) } else { (39, 43) };
    let mut found = Content::new(Kind::FileSystem, "vfat");
    let serial = boot.u32(serial_at);
    found.uuid = (serial != 0).then(|| format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff));
    let in_root = vfat_root_label(disk, &boot, is_fat32);
    found.label = in_root.or_else(|| boot.text(label_at, 11).filter(|label| label != "NO NAME"));
    Some(found)
}

/// The volume label as an entry of the root directory, which tools that rename a volume write; only its first sector is read.
fn vfat_root_label(disk: &mut Disk<'_>, boot: &Block, is_fat32: bool) -> Option<String> {
    const VOLUME_LABEL: u8 = 0x08;
    let sector = u64::from(boot.u16(11));
    let fats = u64::from(*boot.bytes(16, 1).first()?);
    let per_cluster = u64::from(*boot.bytes(13, 1).first()?);
    let (fat_length, first_cluster) = if is_fat32 {
        (
            u64::from(boot.u32(36)),
            u64::from(boot.u32(44)).checked_sub(2)?,
        )
    } else {
        (u64::from(boot.u16(22)), 0)
    };
    let start = u64::from(boot.u16(14)) + fats.checked_mul(fat_length)?;
    let start = start
        .checked_add(first_cluster.checked_mul(per_cluster)?)?
        .checked_mul(sector)?;
    let directory = disk.read(start, 512)?;
    let entries = directory.0.chunks_exact(32);
    let entry = entries
        .take_while(|entry| entry.first() != Some(&0))
        .find(|entry| entry.get(11) == Some(&VOLUME_LABEL))?;
    Block(entry.to_vec()).text(0, 11)
}

#[cfg(test)]
mod tests;
