//! Docker's own records of the system images (overlay2 graph driver, layout of `image/overlay2` and `overlay2` below the data root),
//! so that the images are there without `docker load`: each layer's `diff` is a link into the read-only root image.

use serde_json::{Value, json};

use crate::digest::Digest;
use crate::error::Result;
use crate::hash;
use crate::tree::{Content, Node, Tree};

/// Where the records go in the root image.
pub const SEED: &str = "usr/share/ros/system-docker";
/// Where the layers' files are in the root image.
pub const LAYERS: &str = "usr/share/ros/layers";

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One image: a name and its layers, lowest first.
pub struct Image<'a> {
    /// Repository, `rancher/os-…`.
    pub repository: String,
    /// Layers by name.
    pub layers: Vec<(&'a str, &'a Digest)>,
}

/// Docker's records for these images under one version.
pub fn records(images: &[Image], version: &str, created: &str) -> Result<Tree> {
    let mut tree = Tree::default();
    let mut repositories = serde_json::Map::new();
    for image in images {
        let config = config(image, version, created).to_string();
        let id = hash::bytes(config.as_bytes());
        private(
            &mut tree,
            &format!("image/overlay2/imagedb/content/sha256/{id}"),
            config,
        );
        let tag = format!("{}:{version}", image.repository);
        repositories.insert(
            image.repository.clone(),
            json!({ tag: format!("sha256:{id}") }),
        );
        add_layers(&mut tree, image)?;
    }
    private(
        &mut tree,
        "image/overlay2/repositories.json",
        json!({ "Repositories": repositories }).to_string(),
    );
    for path in ["image", "image/overlay2"] {
        tree.put(
            path,
            Node {
                mode: 0o700,
                ..Node::dir()
            },
        );
    }
    tree.put(
        "overlay2",
        Node {
            mode: 0o710,
            ..Node::dir()
        },
    );
    Ok(tree)
}

/// The image configuration (OCI image specification, config.md), whose digest is the image's id.
fn config(image: &Image, version: &str, created: &str) -> Value {
    let step = |(name, _): &(&str, &Digest)| json!({ "created": created, "created_by": format!("image-build layer {name}") });
    json!({
        "architecture": "amd64",
        "os": "linux",
        "created": created,
        "config": {
            "Env": [PATH],
            "Cmd": ["/bin/sh"],
            "Labels": { "io.rancher.os.version": version, "org.opencontainers.image.title": image.repository },
        },
        "history": image.layers.iter().map(step).collect::<Vec<_>>(),
        "rootfs": { "type": "layers", "diff_ids": image.layers.iter().map(|(_, d)| &d.diff_id).collect::<Vec<_>>() },
    })
}

fn add_layers(tree: &mut Tree, image: &Image) -> Result<()> {
    let mut parent: Option<String> = None;
    let mut lower: Vec<String> = Vec::new();
    for (name, digest) in &image.layers {
        let chain = chain_id(parent.as_deref(), &digest.diff_id);
        let hex = chain.trim_start_matches("sha256:");
        let record = format!("image/overlay2/layerdb/sha256/{hex}");
        // Where Docker would draw random names, ours follow from the content.
        let cache_id = hash::bytes(format!("cache-id {chain}").as_bytes());
        let short = short_name(&cache_id);
        private(tree, &format!("{record}/diff"), digest.diff_id.clone());
        private(tree, &format!("{record}/size"), digest.size.to_string());
        private(tree, &format!("{record}/cache-id"), cache_id.clone());
        if let Some(parent) = &parent {
            private(tree, &format!("{record}/parent"), parent.clone());
        }
        let split = Node::file(Content::Disk(digest.tar_split.clone()), 0o644);
        tree.put(&format!("{record}/tar-split.json.gz"), split);

        let folder = format!("overlay2/{cache_id}");
        private(tree, &format!("{folder}/link"), short.clone());
        private(tree, &format!("{folder}/committed"), String::new());
        if !lower.is_empty() {
            private(tree, &format!("{folder}/lower"), lower.join(":"));
            tree.put(
                &format!("{folder}/work"),
                Node {
                    mode: 0o700,
                    ..Node::dir()
                },
            );
        }
        tree.put(
            &format!("{folder}/diff"),
            Node::link(format!("/{LAYERS}/{name}")),
        );
        tree.put(
            &folder,
            Node {
                mode: 0o710,
                ..Node::dir()
            },
        );
        tree.put(
            &format!("overlay2/l/{short}"),
            Node::link(format!("../{cache_id}/diff")),
        );
        lower.insert(0, format!("l/{short}"));
        parent = Some(chain);
    }
    Ok(())
}

fn private(tree: &mut Tree, path: &str, text: String) {
    tree.put(path, Node::file(Content::Bytes(text.into_bytes()), 0o600));
}

/// OCI image specification, "Layer ChainID".
fn chain_id(parent: Option<&str>, diff_id: &str) -> String {
    match parent {
        None => diff_id.to_owned(),
        Some(parent) => format!(
            "sha256:{}",
            hash::bytes(format!("{parent} {diff_id}").as_bytes())
        ),
    }
}

/// overlay2 keeps mount options short with 26 letters and digits for each layer.
fn short_name(cache_id: &str) -> String {
    cache_id.chars().take(26).collect::<String>().to_uppercase()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn digest(digit: char) -> Digest {
        Digest {
            diff_id: format!("sha256:{}", digit.to_string().repeat(64)),
            size: 5,
            tar_split: PathBuf::from("/dev/null"),
        }
    }

    #[test]
    fn two_images_share_the_base_layer() {
        let (base, top) = (digest('a'), digest('b'));
        let images = [
            Image {
                repository: "rancher/os-base".into(),
                layers: vec![("base", &base)],
            },
            Image {
                repository: "rancher/os-ntp".into(),
                layers: vec![("base", &base), ("ntp", &top)],
            },
        ];
        let tree = records(&images, "v1", "2026-01-01T00:00:00Z").unwrap();
        let diffs: Vec<&Node> = tree
            .iter()
            .filter(|(p, _)| p.starts_with("overlay2/") && p.ends_with("/diff"))
            .map(|(_, n)| n)
            .collect();
        assert_eq!(diffs.len(), 2);
        assert!(diffs.contains(&&Node::link("/usr/share/ros/layers/ntp")));
        let lowers: Vec<&str> = tree
            .iter()
            .map(|(p, _)| p)
            .filter(|p| p.ends_with("/lower"))
            .collect();
        assert_eq!(lowers.len(), 1);
        assert!(tree.contains(&format!(
            "image/overlay2/layerdb/sha256/{}/diff",
            "a".repeat(64)
        )));
    }

    #[test]
    fn chain_id_of_the_specification() {
        let expected = format!("sha256:{}", hash::bytes(b"sha256:1 sha256:2"));
        assert_eq!(chain_id(Some("sha256:1"), "sha256:2"), expected);
    }
}
