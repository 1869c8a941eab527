//! Names of devices as people write them: `/dev/vda1`, `LABEL=…`, `UUID=…`, `PARTLABEL=…`, `PARTUUID=…`.

use std::path::{Path, PathBuf};

use super::{Content, Device, Kind, list, probe};

/// What to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// A device node.
    Path(PathBuf),
    /// Label of the file system.
    Label(String),
    /// UUID of the file system, in any case.
    Uuid(String),
    /// Name of the GPT partition.
    PartLabel(String),
    /// UUID of the partition, in any case.
    PartUuid(String),
}

impl Spec {
    /// Reads a specification; what has no known prefix is a path, and a bare name lies in `/dev`.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let unquoted = |value: &str| value.trim_matches(['"', '\'']).to_owned();
        match text.split_once('=') {
            Some(("LABEL", value)) => Self::Label(unquoted(value)),
            Some(("UUID", value)) => Self::Uuid(unquoted(value)),
            Some(("PARTLABEL", value)) => Self::PartLabel(unquoted(value)),
            Some(("PARTUUID", value)) => Self::PartUuid(unquoted(value)),
            _ => Self::Path(Path::new("/dev").join(text)),
        }
    }

    fn matches(&self, device: &Device, content: Option<&Content>) -> bool {
        let same = |found: Option<&String>, wanted: &str| {
            found.is_some_and(|found| found.eq_ignore_ascii_case(wanted))
        };
        match self {
            Self::Path(path) => device.path == *path,
            Self::Label(label) => content.and_then(|content| content.label.as_ref()) == Some(label),
            Self::Uuid(uuid) => same(content.and_then(|content| content.uuid.as_ref()), uuid),
            Self::PartLabel(label) => device.part_label.as_ref() == Some(label),
            Self::PartUuid(uuid) => same(device.part_uuid.as_ref(), uuid),
        }
    }

    /// Members of arrays and encrypted containers are never what a label or UUID of a file system means.
    fn may_match(&self, content: Option<&Content>) -> bool {
        let by_content = matches!(self, Self::Label(_) | Self::Uuid(_));
        !(by_content
            && content.is_some_and(|content| matches!(content.kind, Kind::Raid | Kind::Lvm)))
    }
}

impl std::fmt::Display for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Label(value) => write!(f, "LABEL={value}"),
            Self::Uuid(value) => write!(f, "UUID={value}"),
            Self::PartLabel(value) => write!(f, "PARTLABEL={value}"),
            Self::PartUuid(value) => write!(f, "PARTUUID={value}"),
        }
    }
}

/// A found device with what is on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    /// The device node.
    pub path: PathBuf,
    /// What is on it, `None` when nothing known is.
    pub content: Option<Content>,
}

/// The first device, in the order of names, that `spec` describes.
pub fn resolve(spec: &Spec) -> Option<Resolve> {
    if let Spec::Path(path) = spec {
        // Links such as /dev/disk/by-id/… are made by udev and followed here.
        let path = std::fs::canonicalize(path).ok()?;
        return is_block_device(&path).then(|| Resolve {
            content: probe(&path),
            path,
        });
    }
    list().into_iter().find_map(|device| {
        let content = probe(&device.path);
        (spec.may_match(content.as_ref()) && spec.matches(&device, content.as_ref())).then_some(
            Resolve {
                path: device.path,
                content,
            },
        )
    })
}

fn is_block_device(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints_each_form() {
        for text in [
            "LABEL=RANCHER_STATE",
            "UUID=9F1C-22",
            "PARTLABEL=a b",
            "PARTUUID=1-2",
            "/dev/vda1",
        ] {
            assert_eq!(Spec::parse(text).to_string(), text);
        }
        assert_eq!(Spec::parse("sda1"), Spec::Path("/dev/sda1".into()));
        assert_eq!(Spec::parse("LABEL=\"A B\""), Spec::Label("A B".into()));
    }

    #[test]
    fn an_array_member_never_answers_to_a_label() {
        let device = Device {
            name: "sda".into(),
            path: "/dev/sda".into(),
            size: 1,
            is_partition: false,
            is_read_only: false,
            part_label: Some("P".into()),
            part_uuid: None,
            numbers: "8:0".into(),
        };
        let mut content = Content {
            kind: Kind::Raid,
            fstype: "linux_raid_member",
            label: Some("X".into()),
            uuid: None,
            has_errors: false,
        };
        let label = Spec::parse("LABEL=X");
        assert!(!label.may_match(Some(&content)));
        content.kind = Kind::FileSystem;
        assert!(label.may_match(Some(&content)) && label.matches(&device, Some(&content)));
        assert!(Spec::parse("PARTLABEL=P").matches(&device, None));
        assert!(!Spec::parse("LABEL=x").matches(&device, Some(&content)));
    }
}
