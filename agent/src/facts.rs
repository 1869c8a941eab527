//! What this host is: read from the system, each piece empty when it cannot be read.

use std::path::Path;

use api::host::HostFacts;

/// What is known without Docker.
#[must_use]
pub fn of_system() -> HostFacts {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    HostFacts {
        hostname: text(uname.nodename()),
        os: pretty_name(&read("/etc/os-release")),
        kernel: text(uname.release()),
        docker: String::new(),
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        processors: std::thread::available_parallelism()
            .map_or(0, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory: memory(&read("/proc/meminfo")),
        wireguard: false,
        mtu: 0,
    }
}

/// The same with Docker's version. What the network has found is not in it.
pub async fn gather(docker: &bollard::Docker) -> HostFacts {
    let version = docker.version().await.ok();
    HostFacts {
        docker: version
            .and_then(|version| version.version)
            .unwrap_or_default(),
        ..of_system()
    }
}

/// `PRETTY_NAME` of os-release(5).
fn pretty_name(text: &str) -> String {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let quoted = line.unwrap_or_default().trim();
    quoted.trim_matches(['"', '\'']).to_owned()
}

/// Bytes of `MemTotal`, which proc(5) gives in KiB.
fn memory(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_they_are() {
        let text = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n";
        assert_eq!(pretty_name(text), "Debian GNU/Linux 13 (trixie)");
        assert_eq!(pretty_name(""), "");
        assert_eq!(memory("MemTotal:        2048 kB\nMemFree: 1 kB\n"), 2 << 20);
        assert_eq!(memory("nonsense"), 0);
        let system = of_system();
        assert!(system.memory > 0 && !system.kernel.is_empty() && !system.hostname.is_empty());
    }
}
