//! Mounts and loop devices against the running kernel. Needs root; each test has a mount namespace of its own.
#![allow(missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;

use kernel::mount::{self, Flags};
use kernel::{block, loopdev};
use nix::sched::{CloneFlags, unshare};

/// Enters a private mount namespace with this thread; false, with a word, where that is not allowed.
fn in_own_namespace() -> bool {
    if unshare(CloneFlags::CLONE_NEWNS).is_err() {
        assert!(std::env::var_os("CI").is_none(), "root is needed");
        eprintln!("skipped: needs root");
        return false;
    }
    let private = mount::make_private_recursively("/");
    assert!(private.is_ok(), "{private:?}");
    true
}

#[test]
fn a_squashfs_outlives_its_unlinked_file_as_at_boot() {
    if !in_own_namespace() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), "content").unwrap();
    let image = scratch.path().join("image");
    let made = Command::new("mksquashfs")
        .arg(&tree)
        .arg(&image)
        .args(["-quiet", "-no-progress"])
        .output();
    if !made.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "mksquashfs is missing");
        eprintln!("skipped: no mksquashfs here");
        return;
    }
    let device = loopdev::attach_read_only(&image).unwrap();
    let path = device.path().to_path_buf();
    assert_eq!(block::probe(&path).unwrap().fstype, "squashfs");
    let target = scratch.path().join("root");
    mount::on_new_directory(&target, |target| {
        mount::mount(
            path.to_str().unwrap(),
            target,
            "squashfs",
            Flags::RDONLY,
            "",
        )
    })
    .unwrap();
    device.release();
    fs::remove_file(&image).unwrap();
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "content");
    let found = mount::table()
        .unwrap()
        .into_iter()
        .find(|mount| mount.target == target)
        .unwrap();
    assert!(found.is_read_only() && found.fstype == "squashfs");
    mount::unmount(&target).unwrap();
    // Autoclear: with its last user the device is free again.
    let backing = Path::new("/sys/class/block")
        .join(path.file_name().unwrap())
        .join("loop/backing_file");
    let freed = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        !fs::read_to_string(&backing)
            .is_ok_and(|text| text.contains(scratch.path().to_str().unwrap()))
    });
    assert!(freed, "{} still has the image", path.display());
}

#[test]
fn an_overlay_takes_writes_and_leaves_below_alone() {
    if !in_own_namespace() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    mount::tmpfs(scratch.path(), Flags::empty(), "mode=755").unwrap();
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("lower/hostname"), "old").unwrap();
    mount::overlay(&at("lower"), &at("upper"), &at("work"), &at("merged")).unwrap();
    fs::write(at("merged/hostname"), "new").unwrap();
    assert_eq!(fs::read_to_string(at("lower/hostname")).unwrap(), "old");
    assert_eq!(fs::read_to_string(at("upper/hostname")).unwrap(), "new");
}

#[test]
fn everything_below_a_directory_comes_off_in_the_computed_order() {
    if !in_own_namespace() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let top = scratch.path();
    mount::tmpfs(top, Flags::empty(), "").unwrap();
    for name in ["a", "b"] {
        fs::create_dir_all(top.join(name)).unwrap();
        mount::tmpfs(top.join(name), Flags::empty(), "").unwrap();
    }
    fs::create_dir(top.join("a/deep")).unwrap();
    mount::bind(top.join("b"), top.join("a/deep")).unwrap();
    // A second mount over the first, which only the tree of parents tells apart.
    mount::tmpfs(top.join("b"), Flags::empty(), "").unwrap();
    let table = mount::table().unwrap();
    let ours: Vec<_> = mount::unmount_order(&table)
        .into_iter()
        .filter(|mount| mount.target.starts_with(top))
        .collect();
    assert_eq!(ours.len(), 5);
    for mount in ours {
        mount::unmount(&mount.target).unwrap();
    }
    assert!(
        !mount::table()
            .unwrap()
            .iter()
            .any(|mount| mount.target.starts_with(top))
    );
}

#[test]
fn refusals_say_what_to_look_at() {
    if !in_own_namespace() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let error = mount::mount("none", scratch.path(), "nosuchfs", Flags::empty(), "").unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("(the kernel has no such file system type; is its module there?)"),
        "{error}"
    );
    let error = mount::unmount(scratch.path()).unwrap_err();
    assert!(matches!(error, mount::Error::Unmount { .. }), "{error}");
}
