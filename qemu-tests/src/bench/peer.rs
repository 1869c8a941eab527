//! The machine that RancherOS is compared with: Debian stable, systemd, docker.io, as little else as that needs, and the prober.

use std::path::{Path, PathBuf};

use crate::bench::measure::Milestone;
use crate::debian_vm::{Content, Debian, kept_key};
use crate::disk::Disk;
use crate::error::{HarnessError, Result};
use crate::ssh::SshKey;

/// From the kernel's last line to Docker.
pub const MILESTONES: &[Milestone] = &[
    ("the kernel starts the initrd", "Run /init as init process"),
    ("systemd runs on the root disk", "running in system mode"),
    ("containerd runs", "Started containerd.service"),
    ("Docker answers", "PROBE api"),
    ("`docker version` has answered", "PROBE docker-version"),
];

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

/// Runs when everything else has not yet begun, as the prober on our side does.
const PROBE_UNIT: &str = "[Unit]\nDescription=Bench prober\nDefaultDependencies=no\n\
    [Service]\nExecStart=/opt/bench/guest probe rancher\n[Install]\nWantedBy=multi-user.target\n";

impl Peer {
    /// Builds the peer, or takes what an earlier run with the same inputs left.
    ///
    /// # Errors
    /// When a tool is missing or fails.
    pub fn prepare(prober: &Path) -> Result<Self> {
        let debian = Debian::prepare()?;
        let key = kept_key()?;
        let program = std::fs::read(prober).map_err(HarnessError::file("read prober", prober))?;
        let content = Content {
            hostname: "peer",
            files: &[
                (
                    "etc/systemd/system/bench-probe.service",
                    PROBE_UNIT.as_bytes(),
                    0o644,
                ),
                ("opt/bench/guest", &program, 0o755),
            ],
            units: &["bench-probe.service"],
            key: key.public(),
        };
        let image = debian.folder().join(format!("{}.img", content.digest()));
        let disk = if image.is_file() {
            Disk::existing(&image)
        } else {
            debian.disk(&image, &content)?
        };
        Ok(Self {
            kernel: debian.kernel(),
            initrd: debian.initrd(),
            disk,
            packed_bytes: debian.packed_bytes()?,
            key,
        })
    }
}
