//! Which disks there are and what is on them, for messages about one that is missing.

use kernel::block;

/// One entry a disk or partition.
pub fn describe() -> Vec<String> {
    block::list()
        .into_iter()
        .filter(|device| !device.name.starts_with("loop"))
        .map(|device| one(&device.name, block::probe(&device.path)))
        .collect()
}

fn one(name: &str, content: Option<block::Content>) -> String {
    match content {
        None => format!("{name} (nothing known)"),
        Some(content) => match content.label {
            None => format!("{name} ({})", content.fstype),
            Some(label) => format!("{name} ({} labelled {label})", content.fstype),
        },
    }
}

/// The entries as part of a sentence.
pub fn text(seen: &[String]) -> String {
    if seen.is_empty() {
        "no disks here".to_owned()
    } else {
        format!("disks here: {}", seen.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_told_by_what_is_on_it() {
        let mut content = block::Content {
            kind: block::Kind::FileSystem,
            fstype: "ext4",
            label: None,
            uuid: None,
            has_errors: false,
        };
        assert_eq!(one("vda", None), "vda (nothing known)");
        assert_eq!(one("vda", Some(content.clone())), "vda (ext4)");
        content.label = Some("DATA".into());
        assert_eq!(one("vda", Some(content)), "vda (ext4 labelled DATA)");
        assert_eq!(text(&["a".into(), "b".into()]), "disks here: a, b");
        assert_eq!(text(&[]), "no disks here");
    }
}
