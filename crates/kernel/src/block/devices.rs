//! The block devices that the kernel knows, from `/sys/class/block`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// One disk or partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Kernel name, such as `vda1`.
    pub name: String,
    /// `/dev/<name>`.
    pub path: PathBuf,
    /// Size in bytes.
    pub size: u64,
    /// Whether it is a part of another device.
    pub is_partition: bool,
    /// Whether the kernel refuses to write to it.
    pub is_read_only: bool,
    /// Name of the partition in a GPT.
    pub part_label: Option<String>,
    /// UUID of the partition (GPT) or `disk-number` (MBR).
    pub part_uuid: Option<String>,
    /// `major:minor`.
    pub numbers: String,
}

/// Every block device with a size, RAM disks left out, in the order of names (`sda2` before `sda10`).
pub fn list() -> Vec<Device> {
    let Ok(entries) = std::fs::read_dir("/sys/class/block") else {
        return Vec::new();
    };
    let mut devices: Vec<Device> = entries
        .flatten()
        .filter_map(|entry| read(&entry.path()))
        .collect();
    devices.sort_by_key(|device| natural_key(&device.name));
    devices
}

fn read(sys: &Path) -> Option<Device> {
    let name = sys.file_name()?.to_str()?.to_owned();
    let text = |file: &str| std::fs::read_to_string(sys.join(file)).ok();
    let sectors: u64 = text("size")?.trim().parse().ok()?;
    if sectors == 0 || name.starts_with("ram") || name.starts_with("zram") {
        return None;
    }
    let uevent = text("uevent").unwrap_or_default();
    let value = |key: &str| {
        let prefix = format!("{key}=");
        uevent
            .lines()
            .find_map(|line| line.strip_prefix(&prefix))
            .map(str::to_owned)
    };
    Some(Device {
        path: Path::new("/dev").join(name.replace('!', "/")),
        size: sectors.saturating_mul(512),
        is_partition: sys.join("partition").exists(),
        is_read_only: text("ro").is_some_and(|ro| ro.trim() == "1"),
        part_label: value("PARTNAME"),
        part_uuid: value("PARTUUID"),
        numbers: text("dev")?.trim().to_owned(),
        name,
    })
}

/// Splits a name so that numbers in it compare as numbers.
fn natural_key(name: &str) -> (usize, String, u64) {
    let letters = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name
        .get(letters.len()..)
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0);
    (letters.len(), letters.to_owned(), number)
}

/// Whether the first `length` bytes of a device are all zero: nobody has written a partition table or a file system there.
pub fn starts_with_zeroes(device: &Path, length: usize) -> io::Result<bool> {
    let mut file = File::open(device)?;
    let mut left = length;
    let mut buffer = [0u8; 65536];
    while left > 0 {
        let want = left.min(buffer.len());
        let chunk = buffer.get_mut(..want).unwrap_or_default();
        file.read_exact(chunk)?;
        if chunk.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        left -= want;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_compare_as_numbers() {
        let mut names = [
            "sda10",
            "sda2",
            "vdb",
            "sda",
            "sdaa1",
            "nvme0n1p2",
            "nvme0n1p10",
        ];
        names.sort_by_key(|name| natural_key(name));
        assert_eq!(
            names,
            [
                "sda",
                "sda2",
                "sda10",
                "vdb",
                "sdaa1",
                "nvme0n1p2",
                "nvme0n1p10"
            ]
        );
    }

    #[test]
    fn one_byte_in_the_first_mebibyte_counts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = vec![0u8; 2 << 20];
        bytes[(1 << 20) + 1] = 1;
        std::fs::write(file.path(), &bytes).unwrap();
        assert!(starts_with_zeroes(file.path(), 1 << 20).unwrap());
        bytes[(1 << 20) - 1] = 1;
        std::fs::write(file.path(), &bytes).unwrap();
        assert!(!starts_with_zeroes(file.path(), 1 << 20).unwrap());
        std::fs::write(file.path(), [0u8; 100]).unwrap();
        assert!(starts_with_zeroes(file.path(), 1 << 20).is_err());
    }
}
