//! The merge of one Docker data root (overlay2 driver) into another.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::{Error, repositories};

/// Larger files are compared by length only; torn ones are shorter.
const COMPARE: u64 = 64 << 10;
const IMAGES: &str = "image/overlay2";

/// Merges `seed` into `root`; gives the number of files and links written.
///
/// The order matters when power fails in between: a layer before its record, a record before the image, the tags last.
pub fn merge(seed: &Path, root: &Path) -> Result<u64, Error> {
    let mut copy = Copy::default();
    copy.tree(&seed.join("overlay2"), &root.join("overlay2"))?;
    layers(&mut copy, seed, root)?;
    for part in ["distribution", "imagedb"] {
        let part = Path::new(IMAGES).join(part);
        copy.tree(&seed.join(&part), &root.join(&part))?;
    }
    let tags = Path::new(IMAGES).join("repositories.json");
    copy.written += u64::from(repositories::merge(&seed.join(&tags), &root.join(&tags))?);
    Ok(copy.written)
}

/// Layer records by chain id. Where Docker knows the same layer under another directory (it was pulled or loaded), that one is kept
/// if it is whole.
fn layers(copy: &mut Copy, seed: &Path, root: &Path) -> Result<(), Error> {
    let chains = Path::new(IMAGES).join("layerdb/sha256");
    make_directory(&root.join(&chains), &seed.join(&chains))?;
    for (name, from) in entries(&seed.join(&chains))? {
        let to = root.join(&chains).join(&name);
        let own = cache_id(&from);
        let present = cache_id(&to).filter(|id| Some(id) != own.as_ref());
        let is_whole = |id: &String| {
            root.join("overlay2").join(id).join("diff").exists()
                && root.join("overlay2").join(id).join("link").exists()
        };
        if !present.as_ref().is_some_and(is_whole) {
            copy.tree(&from, &to)?;
        }
    }
    Ok(())
}

fn cache_id(chain: &Path) -> Option<String> {
    let id = fs::read_to_string(chain.join("cache-id")).ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty() && !id.contains('/'))
}

#[derive(Default)]
struct Copy {
    written: u64,
}

impl Copy {
    /// Makes `to` hold all that `from` holds; what is only in `to` stays.
    fn tree(&mut self, from: &Path, to: &Path) -> Result<(), Error> {
        if !from.is_dir() {
            return Ok(());
        }
        make_directory(to, from)?;
        for (name, source) in entries(from)? {
            let target = to.join(&name);
            let metadata = fs::symlink_metadata(&source).map_err(read(&source))?;
            if metadata.is_symlink() {
                self.link(&source, &target)?;
            } else if metadata.is_dir() {
                self.tree(&source, &target)?;
            } else if !is_same(&source, &target, metadata.len()) {
                replace_file(&source, &target).map_err(write(&target))?;
                self.written += 1;
            }
        }
        Ok(())
    }

    fn link(&mut self, source: &Path, target: &Path) -> Result<(), Error> {
        let wanted = fs::read_link(source).map_err(read(source))?;
        if fs::read_link(target).is_ok_and(|present| present == wanted) {
            return Ok(());
        }
        // A real directory here is a layer that Docker unpacked itself under the same id: the same content, and maybe in use.
        if fs::symlink_metadata(target).is_ok_and(|metadata| metadata.is_dir()) {
            return Ok(());
        }
        let new = beside(target);
        remove(&new)
            .and_then(|()| symlink(&wanted, &new))
            .and_then(|()| fs::rename(&new, target))
            .map_err(write(target))?;
        self.written += 1;
        Ok(())
    }
}

fn is_same(source: &Path, target: &Path, length: u64) -> bool {
    let Ok(present) = fs::symlink_metadata(target) else {
        return false;
    };
    if !present.is_file() || present.len() != length {
        return false;
    }
    length > COMPARE
        || matches!((fs::read(source), fs::read(target)), (Ok(source), Ok(target)) if source == target)
}

/// Whole or not at all, as far as the file system keeps its promises; a torn file is seen at the next boot.
fn replace_file(source: &Path, target: &Path) -> io::Result<()> {
    let new = beside(target);
    fs::copy(source, &new)?;
    fs::rename(&new, target)
}

fn make_directory(directory: &Path, like: &Path) -> Result<(), Error> {
    if directory.is_dir() {
        return Ok(());
    }
    let mode = fs::metadata(like).map_or(0o700, |metadata| metadata.permissions().mode() & 0o7777);
    // Something else of that name is what a broken file system left.
    let make = || {
        remove(directory)?;
        fs::create_dir_all(directory)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(mode))
    };
    make().map_err(write(directory))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn beside(path: &Path) -> PathBuf {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    path.with_file_name(format!(".{name}.ros"))
}

fn entries(directory: &Path) -> Result<Vec<(String, PathBuf)>, Error> {
    let listed = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(read(directory))?,
    };
    let mut entries: Vec<(String, PathBuf)> = listed
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect();
    entries.sort();
    Ok(entries)
}

fn read(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.display().to_string();
    move |cause| Error::Read { path, cause }
}

fn write(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.display().to_string();
    move |cause| Error::Write { path, cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Roots {
        _keep: tempfile::TempDir,
        seed: PathBuf,
        root: PathBuf,
    }

    fn put(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// One image of one layer, as Docker lays it out.
    fn image(root: &Path, tag: &str, id: &str, layer: &str) {
        let images = root.join(IMAGES);
        put(
            root.join(format!("overlay2/cache-{id}/link")),
            &format!("SHORT{id}"),
        );
        put(root.join(format!("overlay2/cache-{id}/committed")), "");
        fs::create_dir_all(root.join("overlay2/l")).unwrap();
        let link = |target: String, at: PathBuf| {
            fs::remove_file(&at).ok();
            symlink(target, at).unwrap();
        };
        link(
            layer.to_owned(),
            root.join(format!("overlay2/cache-{id}/diff")),
        );
        link(
            format!("../cache-{id}/diff"),
            root.join(format!("overlay2/l/SHORT{id}")),
        );
        put(
            images.join(format!("layerdb/sha256/chain-{id}/cache-id")),
            &format!("cache-{id}"),
        );
        put(images.join(format!("layerdb/sha256/chain-{id}/size")), "1");
        put(
            images.join(format!("imagedb/content/sha256/{id}")),
            &format!("{{\"image\":\"{id}\"}}"),
        );
        let name = tag.split(':').next().unwrap();
        put(
            images.join("repositories.json"),
            &format!(r#"{{"Repositories":{{"{name}":{{"{tag}":"sha256:{id}"}}}}}}"#),
        );
    }

    fn roots() -> Roots {
        let keep = tempfile::tempdir().unwrap();
        let (seed, root) = (keep.path().join("seed"), keep.path().join("root"));
        let layer = keep.path().join("layers/base");
        fs::create_dir_all(&layer).unwrap();
        image(&seed, "rancher/os-base:2", "b2", layer.to_str().unwrap());
        Roots {
            _keep: keep,
            seed,
            root,
        }
    }

    fn tags(root: &Path) -> serde_json::Value {
        serde_json::from_str(
            &fs::read_to_string(root.join(IMAGES).join("repositories.json")).unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn an_empty_root_gets_all_of_it_and_the_second_time_nothing() {
        let Roots { seed, root, _keep } = roots();
        assert!(merge(&seed, &root).unwrap() > 5);
        assert!(root.join("overlay2/l/SHORTb2").is_dir());
        assert_eq!(
            tags(&root)["Repositories"]["rancher/os-base"]["rancher/os-base:2"],
            "sha256:b2"
        );
        assert_eq!(merge(&seed, &root).unwrap(), 0);
    }

    #[test]
    fn other_images_stay() {
        let Roots { seed, root, _keep } = roots();
        image(&root, "busybox:latest", "bb", "/nowhere");
        put(root.join("containers/abc/config.v2.json"), "{}");
        merge(&seed, &root).unwrap();
        let tags = tags(&root);
        assert_eq!(
            tags["Repositories"]["busybox"]["busybox:latest"],
            "sha256:bb"
        );
        assert_eq!(
            tags["Repositories"]["rancher/os-base"]["rancher/os-base:2"],
            "sha256:b2"
        );
        assert!(
            root.join("containers/abc/config.v2.json").exists()
                && root.join("overlay2/cache-bb/link").exists()
        );
    }

    #[test]
    fn an_upgrade_moves_the_tag_and_the_layer_link() {
        let Roots { seed, root, _keep } = roots();
        image(
            &root,
            "rancher/os-base:2",
            "old",
            "/usr/share/ros/layers/gone",
        );
        image(
            &root,
            "rancher/os-base:2",
            "b2",
            "/usr/share/ros/layers/gone",
        );
        merge(&seed, &root).unwrap();
        assert_eq!(
            tags(&root)["Repositories"]["rancher/os-base"]["rancher/os-base:2"],
            "sha256:b2"
        );
        assert_eq!(
            fs::read_link(root.join("overlay2/cache-b2/diff")).unwrap(),
            fs::read_link(seed.join("overlay2/cache-b2/diff")).unwrap()
        );
    }

    #[test]
    fn a_pruned_image_comes_back() {
        let Roots { seed, root, _keep } = roots();
        merge(&seed, &root).unwrap();
        fs::remove_dir_all(root.join("overlay2/cache-b2")).unwrap();
        fs::remove_file(root.join("overlay2/l/SHORTb2")).unwrap();
        fs::remove_dir_all(root.join(IMAGES).join("layerdb/sha256/chain-b2")).unwrap();
        fs::remove_file(root.join(IMAGES).join("imagedb/content/sha256/b2")).unwrap();
        fs::write(
            root.join(IMAGES).join("repositories.json"),
            "{\"Repositories\":{}}",
        )
        .unwrap();
        merge(&seed, &root).unwrap();
        let mut fresh = roots();
        fresh.root = fresh._keep.path().join("fresh");
        merge(&seed, &fresh.root).unwrap();
        assert_eq!(tags(&root), tags(&fresh.root));
        assert!(root.join("overlay2/l/SHORTb2").is_dir());
    }

    /// A power cut leaves files of no length, or half the work.
    #[test]
    fn torn_files_are_written_again() {
        let Roots { seed, root, _keep } = roots();
        merge(&seed, &root).unwrap();
        for torn in [
            "overlay2/cache-b2/link",
            "image/overlay2/layerdb/sha256/chain-b2/cache-id",
            "image/overlay2/repositories.json",
        ] {
            fs::write(root.join(torn), "").unwrap();
        }
        assert_eq!(merge(&seed, &root).unwrap(), 3);
        assert_eq!(
            fs::read_to_string(root.join("overlay2/cache-b2/link")).unwrap(),
            "SHORTb2"
        );
    }

    #[test]
    fn the_same_layer_pulled_by_docker_is_kept_while_it_is_whole() {
        let Roots { seed, root, _keep } = roots();
        let chain = root.join(IMAGES).join("layerdb/sha256/chain-b2/cache-id");
        put(chain.clone(), "pulled");
        put(root.join("overlay2/pulled/link"), "SHORTp");
        fs::create_dir_all(root.join("overlay2/pulled/diff")).unwrap();
        merge(&seed, &root).unwrap();
        assert_eq!(fs::read_to_string(&chain).unwrap(), "pulled");
        fs::remove_dir_all(root.join("overlay2/pulled")).unwrap();
        merge(&seed, &root).unwrap();
        assert_eq!(fs::read_to_string(&chain).unwrap(), "cache-b2");
    }
}
