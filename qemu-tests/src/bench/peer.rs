//! The machine that RancherOS is compared with: Debian stable, systemd, docker.io, as little else as that needs.
//! Owns `peer/` in the cache folder; made with mmdebstrap and mke2fs, never booted here.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::artefacts::cache_folder;
use crate::bench::measure::Milestone;
use crate::debian;
use crate::disk::Disk;
use crate::error::{HarnessError, Result};
use crate::ssh::SshKey;
use crate::tool::Tool;

/// From the kernel's last line to Docker.
pub const MILESTONES: &[Milestone] = &[
    ("the kernel starts the initrd", "Run /init as init process"),
    ("systemd runs on the root disk", "running in system mode"),
    ("containerd runs", "Started containerd.service"),
    ("Docker answers", "PROBE api"),
    ("`docker version` has answered", "PROBE docker-version"),
];
/// The suite to compare with.
const SUITE: &str = "trixie";
/// What is installed beside mmdebstrap's `minbase`; recommended packages are not.
const PACKAGES: &str =
    "systemd-sysv,udev,dbus,linux-image-cloud-amd64,docker.io,docker-cli,openssh-server";
/// Counts changes of the recipe below that the other inputs do not show.
const RECIPE: u32 = 1;

/// The peer, ready to boot.
pub struct Peer {
    /// Its kernel.
    pub kernel: PathBuf,
    /// Its initrd.
    pub initrd: PathBuf,
    /// Its root disk.
    pub disk: Disk,
    /// The key that its user `rancher` accepts.
    pub key: SshKey,
    /// Bytes of the whole root as a tar compressed with zstd -19.
    pub packed_bytes: u64,
}

impl Peer {
    /// Builds the peer, or takes what an earlier run with the same inputs left.
    ///
    /// # Errors
    /// When a tool is missing or fails.
    pub fn prepare(prober: &Path) -> Result<Self> {
        let sources = debian::sources(SUITE)?;
        let root = cache_folder().join("peer");
        std::fs::create_dir_all(&root).map_err(HarnessError::file("make cache folder", &root))?;
        let key = SshKey::kept_at(&root.join("id_ed25519"))?;
        let program = std::fs::read(prober).map_err(HarnessError::file("read prober", prober))?;
        let base = root.join(digest(
            &[&sources.join("\n"), PACKAGES, SUITE, &RECIPE.to_string()],
            b"",
        ));
        if !base.join("done").is_file() {
            bootstrap(&base, &sources)?;
        }
        let image = base.join(format!(
            "{}.img",
            digest(&[key.public(), PROBE_UNIT, NETWORK], &program)
        ));
        if !image.is_file() {
            install(&base, &image, &key, prober)?;
        }
        let packed = base.join("root.tar.zst");
        let size =
            std::fs::metadata(&packed).map_err(HarnessError::file("measure root", &packed))?;
        Ok(Self {
            kernel: base.join("vmlinuz"),
            initrd: base.join("initrd"),
            disk: Disk::existing(&image),
            key,
            packed_bytes: size.len(),
        })
    }
}

/// Runs when everything else has not yet begun, as the prober on our side does.
const PROBE_UNIT: &str = "[Unit]\nDescription=Bench prober\nDefaultDependencies=no\n\
    [Service]\nExecStart=/opt/bench/guest probe rancher\n[Install]\nWantedBy=multi-user.target\n";
const NETWORK: &str = "[Match]\nType=ether\n[Network]\nDHCP=yes\n";

/// Debian's root tree, kernel and initrd into `base`.
fn bootstrap(base: &Path, sources: &[String]) -> Result<()> {
    eprintln!("bench: building the Debian peer (once; a few minutes)");
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
        std::fs::copy(&from, &to).map_err(HarnessError::file("copy the peer's kernel", &from))?;
    }
    let packed = base.join("root.tar.zst");
    Tool::new("tar")
        .args(["--numeric-owner", "-I", "zstd -19 -T0", "-cf"])
        .arg(&packed)
        .arg("-C")
        .arg(&tree)
        .arg(".")
        .run()?;
    std::fs::write(base.join("done"), "").map_err(HarnessError::file("mark peer as built", base))
}

/// Adds user, network and prober to the tree and makes the disk of it.
fn install(base: &Path, image: &Path, key: &SshKey, prober: &Path) -> Result<()> {
    let tree = base.join("root");
    let inside = |program: &str| Tool::new("chroot").arg(&tree).arg(program);
    if inside("id").arg("rancher").run().is_err() {
        inside("useradd")
            .args(["-m", "-s", "/bin/bash", "-G", "docker", "rancher"])
            .run()?;
    }
    let files: [(&str, &str); 6] = [
        ("etc/fstab", "/dev/vda / ext4 defaults 0 1\n"),
        ("etc/hostname", "peer\n"),
        ("etc/systemd/network/10-dhcp.network", NETWORK),
        ("etc/systemd/system/bench-probe.service", PROBE_UNIT),
        ("home/rancher/.ssh/authorized_keys", key.public()),
        ("etc/machine-id", "6f2d1c1be7a44d0f9f5b0f4a6a1c2d3e\n"),
    ];
    for (name, text) in files {
        write_file(&tree.join(name), text.as_bytes())?;
    }
    let program = tree.join("opt/bench/guest");
    write_file(&program, b"")?;
    std::fs::copy(prober, &program).map_err(HarnessError::file("copy prober", &program))?;
    inside("chown")
        .args(["-R", "rancher:rancher", "/home/rancher/.ssh"])
        .run()?;
    inside("systemctl")
        .args(["enable", "systemd-networkd.service", "bench-probe.service"])
        .run()?;
    let half_made = image.with_extension("new");
    Disk::ext4_with(&half_made, 8 << 10, "peer", &tree)?;
    std::fs::rename(&half_made, image).map_err(HarnessError::file("keep the peer's disk", image))
}

fn write_file(file: &Path, content: &[u8]) -> Result<()> {
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir).map_err(HarnessError::file("make folder in the peer", dir))?;
    }
    std::fs::write(file, content).map_err(HarnessError::file("write file in the peer", file))
}

fn digest(texts: &[&str], bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    hash.update(bytes);
    hash.finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
