//! File trees of the hosts: Debian's Docker of three generations, unpacked by mmdebstrap. Owns `cluster/` in the cache folder; nothing of a
//! tree is ever changed by a test.

use std::path::{Path, PathBuf};

use qemu_tests::artefacts::cache_folder;
use qemu_tests::tool::Tool;
use qemu_tests::{HarnessError, Result, debian};
use sha2::{Digest, Sha256};

/// What the hosts and tests need. No package's scripts run: what they would do is done by [`finish`].
const PACKAGES: &str = "base-files,busybox-static,coreutils,dash,dnsmasq-base,docker.io,findutils,grep,iperf3,iproute2,iptables,iputils-ping,mount,nftables,procps,sed,tar,util-linux";
/// Counts changes of the recipe below that the other inputs do not show.
const RECIPE: u32 = 2;

/// A generation of Docker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// 20.10, of Debian 12, with the iptables of old: what the agent must still work with.
    Docker20,
    /// 26, of Debian 13; with Compose.
    Docker26,
    /// 28, of Debian's testing: its firewall drops what is routed to containers.
    Docker28,
}

impl Root {
    /// All of them, oldest first.
    pub const ALL: [Self; 3] = [Self::Docker20, Self::Docker26, Self::Docker28];

    fn suite(self) -> &'static str {
        match self {
            Self::Docker20 => "bookworm",
            Self::Docker26 => "trixie",
            Self::Docker28 => "forky",
        }
    }

    /// Packages that are not the same everywhere. Later releases have Docker's command line apart.
    fn more_packages(self) -> &'static str {
        match self {
            Self::Docker20 => "",
            Self::Docker26 => ",docker-cli,docker-compose",
            Self::Docker28 => ",docker-cli",
        }
    }

    /// Which program `iptables` is.
    fn iptables(self) -> &'static str {
        match self {
            Self::Docker20 => "xtables-legacy-multi",
            Self::Docker26 | Self::Docker28 => "xtables-nft-multi",
        }
    }

    /// The tree, made if it is not there yet (about ten seconds).
    ///
    /// # Errors
    /// When this machine is no Debian, or mmdebstrap fails.
    pub fn tree(self) -> Result<PathBuf> {
        let sources = debian::sources(self.suite())?;
        let packages = format!("{PACKAGES}{}", self.more_packages());
        let inputs = format!("{sources:?} {packages} {} {RECIPE}", self.iptables());
        let folder = cache_folder().join("cluster");
        let tree = folder.join(format!("{}-{}", self.suite(), digest(&inputs)));
        if !tree.is_dir() {
            std::fs::create_dir_all(&folder)
                .map_err(HarnessError::file("make cache folder", &folder))?;
            self.make(&tree, &packages, &sources)?;
        }
        Ok(tree)
    }

    fn make(self, tree: &Path, packages: &str, sources: &[String]) -> Result<()> {
        eprintln!("unpacking Debian {} (once)", self.suite());
        // Another run may be making the same: each has its own until it is whole.
        let half_made = tree.with_extension(std::process::id().to_string());
        Tool::new("mmdebstrap")
            .args(["--variant=extract", "--quiet"])
            .arg("--aptopt=APT::Install-Recommends \"false\"")
            // Suites that are being made are not signed anew each week on every mirror.
            .arg("--aptopt=Acquire::Check-Valid-Until \"false\"")
            .arg("--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr")
            .arg(format!("--include={packages}"))
            .arg(self.suite())
            .arg(&half_made)
            .args(sources)
            .run()?;
        self.finish(&half_made)?;
        match std::fs::rename(&half_made, tree) {
            Err(_) if tree.is_dir() => {
                drop(std::fs::remove_dir_all(&half_made));
                Ok(())
            }
            outcome => outcome.map_err(HarnessError::file("keep file tree", tree)),
        }
    }

    /// What the packages' scripts would have done, as far as Docker needs it.
    fn finish(self, tree: &Path) -> Result<()> {
        for folder in ["usr/local/bin", "var/lib/docker", "oldroot"] {
            let folder = tree.join(folder);
            std::fs::create_dir_all(&folder).map_err(HarnessError::file("make folder", &folder))?;
        }
        for (name, text) in [
            (
                "etc/passwd",
                "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
            ),
            ("etc/group", "root:x:0:\ndocker:x:999:\nnogroup:x:65534:\n"),
            ("etc/hosts", "127.0.0.1 localhost\n"),
            ("usr/local/bin/ros", ""),
        ] {
            let file = tree.join(name);
            std::fs::write(&file, text).map_err(HarnessError::file("write", &file))?;
        }
        let run = tree.join("var/run");
        if !run.is_symlink() {
            // Some release ships it as an empty folder.
            drop(std::fs::remove_dir_all(&run));
            std::os::unix::fs::symlink("/run", &run)
                .map_err(HarnessError::file("link /var/run", &run))?;
        }
        for family in ["iptables", "ip6tables"] {
            for verb in ["", "-save", "-restore"] {
                let link = tree.join(format!("usr/sbin/{family}{verb}"));
                std::os::unix::fs::symlink(self.iptables(), &link)
                    .map_err(HarnessError::file("link iptables", &link))?;
            }
        }
        Ok(())
    }
}

fn digest(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(6).map(|b| format!("{b:02x}")).collect()
}
