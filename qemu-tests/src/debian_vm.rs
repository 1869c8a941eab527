//! A Debian stable with systemd and Docker as its packages give it: what RancherOS is compared with, and a foreign host of a cluster.
//! Owns `peer/` in the cache folder; made with mmdebstrap and mke2fs, never booted here.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::artefacts::cache_folder;
use crate::debian;
use crate::disk::Disk;
use crate::error::{HarnessError, Result};
use crate::ssh::SshKey;
use crate::tool::Tool;

/// The suite.
const SUITE: &str = "trixie";
/// What is installed beside mmdebstrap's `minbase`; recommended packages are not. Tests look at the network with iproute2.
const PACKAGES: &str =
    "systemd-sysv,udev,dbus,linux-image-cloud-amd64,docker.io,docker-cli,openssh-server,iproute2";
/// Counts changes of the recipe below that the other inputs do not show.
const RECIPE: u32 = 1;
/// Size of a disk, MiB; sparse.
const DISK_MIB: u64 = 8 << 10;

/// A Debian tree, ready to make disks of.
pub struct Debian {
    base: PathBuf,
}

/// What is put into the tree for one disk.
#[derive(Clone, Copy, Default)]
pub struct Content<'a> {
    /// The host's name.
    pub hostname: &'a str,
    /// Files with their bytes and modes.
    pub files: &'a [(&'a str, &'a [u8], u32)],
    /// Units that are enabled beside the network.
    pub units: &'a [&'a str],
    /// Public key that `rancher` and `root` accept, one line.
    pub key: &'a str,
}

impl Content<'_> {
    /// Identifies what is in it.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut parts: Vec<&[u8]> = vec![self.hostname.as_bytes(), self.key.as_bytes()];
        for (name, bytes, _) in self.files {
            parts.extend([name.as_bytes(), bytes]);
        }
        parts.extend(self.units.iter().map(|unit| unit.as_bytes()));
        digest(&parts)
    }
}

impl Debian {
    /// Builds the tree, or takes what an earlier run with the same inputs left.
    ///
    /// # Errors
    /// When a tool is missing or fails.
    pub fn prepare() -> Result<Self> {
        let sources = debian::sources(SUITE)?;
        let root = folder()?;
        let inputs = [&sources.join("\n"), PACKAGES, SUITE, &RECIPE.to_string()];
        let base = root.join(digest(&inputs.map(str::as_bytes)));
        if !base.join("done").is_file() {
            bootstrap(&base, &sources)?;
        }
        Ok(Self { base })
    }

    /// Its kernel.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.base.join("vmlinuz")
    }

    /// Its initrd.
    #[must_use]
    pub fn initrd(&self) -> PathBuf {
        self.base.join("initrd")
    }

    /// Where disks may be kept that belong to this tree.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.base
    }

    /// Bytes of the whole tree as a tar compressed with zstd -19.
    ///
    /// # Errors
    /// When it cannot be packed.
    pub fn packed_bytes(&self) -> Result<u64> {
        let packed = self.base.join("root.tar.zst");
        if !packed.is_file() {
            Tool::new("tar")
                .args(["--numeric-owner", "-I", "zstd -19 -T0", "-cf"])
                .arg(&packed)
                .arg("-C")
                .arg(self.base.join("root"))
                .arg(".")
                .run()?;
        }
        let size =
            std::fs::metadata(&packed).map_err(HarnessError::file("measure root", &packed))?;
        Ok(size.len())
    }

    /// A disk with the tree and `content` on it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn disk(&self, image: &Path, content: &Content<'_>) -> Result<Disk> {
        let scratch = tempfile::tempdir_in(&self.base)
            .map_err(HarnessError::file("make a folder", &self.base))?;
        let tree = scratch.path().join("root");
        Tool::new("cp")
            .args(["-a", "--reflink=auto"])
            .arg(self.base.join("root"))
            .arg(&tree)
            .run()?;
        fill(&tree, content)?;
        let half_made = image.with_extension("new");
        Disk::ext4_with(&half_made, DISK_MIB, "root", &tree)?;
        std::fs::rename(&half_made, image).map_err(HarnessError::file("keep the disk", image))?;
        Ok(Disk::existing(image))
    }
}

/// A key that outlives the run, for disks that are kept.
///
/// # Errors
/// When it cannot be made.
pub fn kept_key() -> Result<SshKey> {
    SshKey::kept_at(&folder()?.join("id_ed25519"))
}

fn folder() -> Result<PathBuf> {
    let folder = cache_folder().join("peer");
    std::fs::create_dir_all(&folder).map_err(HarnessError::file("make cache folder", &folder))?;
    Ok(folder)
}

/// By name: a match of every Ethernet link would take the containers' links off their bridges.
const NETWORK: &str = "[Match]\nName=en*\n[Network]\nDHCP=yes\n";

/// Debian's root tree, kernel and initrd into `base`.
fn bootstrap(base: &Path, sources: &[String]) -> Result<()> {
    eprintln!("building a Debian with Docker (once; a few minutes)");
    let tree = base.join("root");
    // A run that was interrupted leaves a half-made tree.
    drop(std::fs::remove_dir_all(base));
    std::fs::create_dir_all(base).map_err(HarnessError::file("make peer folder", base))?;
    Tool::new("mmdebstrap")
        .args([
            "--variant=minbase",
            "--quiet",
            "--aptopt=APT::Install-Recommends \"false\"",
        ])
        .arg(format!("--include={PACKAGES}"))
        .arg(SUITE)
        .arg(&tree)
        .args(sources)
        .run()?;
    for (link, name) in [("vmlinuz", "vmlinuz"), ("initrd.img", "initrd")] {
        let (from, to) = (tree.join(link), base.join(name));
        std::fs::copy(&from, &to).map_err(HarnessError::file("copy Debian's kernel", &from))?;
    }
    std::fs::write(base.join("done"), "").map_err(HarnessError::file("mark peer as built", base))
}

/// Adds user, network and `content` to the tree.
fn fill(tree: &Path, content: &Content<'_>) -> Result<()> {
    let inside = |program: &str| Tool::new("chroot").arg(tree).arg(program);
    inside("useradd")
        .args(["-m", "-s", "/bin/bash", "-G", "docker", "rancher"])
        .run()?;
    let hostname = format!("{}\n", content.hostname);
    let key = content.key.as_bytes();
    let files: [(&str, &[u8], u32); 6] = [
        ("etc/fstab", b"/dev/vda / ext4 defaults 0 1\n", 0o644),
        ("etc/hostname", hostname.as_bytes(), 0o644),
        (
            "etc/systemd/network/50-dhcp.network",
            NETWORK.as_bytes(),
            0o644,
        ),
        ("home/rancher/.ssh/authorized_keys", key, 0o600),
        ("root/.ssh/authorized_keys", key, 0o600),
        (
            "etc/machine-id",
            b"6f2d1c1be7a44d0f9f5b0f4a6a1c2d3e\n",
            0o444,
        ),
    ];
    for (name, bytes, mode) in files.iter().chain(content.files) {
        write_file(&tree.join(name), bytes, *mode)?;
    }
    inside("chown")
        .args(["-R", "rancher:rancher", "/home/rancher/.ssh"])
        .run()?;
    inside("systemctl")
        .args(["enable", "systemd-networkd.service"])
        .args(content.units)
        .run()
        .map(drop)
}

fn write_file(file: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir).map_err(HarnessError::file("make folder in Debian", dir))?;
    }
    std::fs::write(file, bytes).map_err(HarnessError::file("write file in Debian", file))?;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode))
        .map_err(HarnessError::file("write file in Debian", file))
}

fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
