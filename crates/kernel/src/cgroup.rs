//! Control groups, version 2 (Documentation/admin-guide/cgroup-v2.rst).
//!
//! Must not decide who belongs where.

use std::io;
use std::path::{Path, PathBuf};

/// Where version 2 is mounted.
pub const ROOT: &str = "/sys/fs/cgroup";

/// A control group below [`ROOT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group(PathBuf);

impl Group {
    /// The root group.
    pub fn root() -> Self {
        Self(PathBuf::from(ROOT))
    }

    /// Makes the child group `name` if it is missing.
    pub fn child(&self, name: &str) -> io::Result<Self> {
        let path = self.0.join(name);
        match std::fs::create_dir(&path) {
            Ok(()) => Ok(Self(path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Self(path)),
            Err(error) => Err(error),
        }
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Hands every controller that this group has to its children. Returns those that the kernel refused.
    pub fn enable_all_controllers(&self) -> io::Result<Vec<String>> {
        let available = std::fs::read_to_string(self.0.join("cgroup.controllers"))?;
        let control = self.0.join("cgroup.subtree_control");
        let refused = available
            .split_whitespace()
            .filter(|name| std::fs::write(&control, format!("+{name}")).is_err());
        Ok(refused.map(str::to_owned).collect())
    }

    /// The file that a process writes `0` to in order to join.
    pub fn procs_file(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }

    /// Sets its share of the processors beside its siblings when these are short: 1 to 10000, 100 without this call (`cpu.weight`).
    pub fn set_processor_weight(&self, weight: u16) -> io::Result<()> {
        std::fs::write(self.0.join("cpu.weight"), weight.to_string())
    }

    /// Sends SIGKILL to everything in the group and below (`cgroup.kill`, Linux 5.14).
    pub fn kill(&self) -> io::Result<()> {
        std::fs::write(self.0.join("cgroup.kill"), "1")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_enabled_one_by_one() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        let group = Group(directory.path().to_path_buf());
        assert_eq!(
            group.enable_all_controllers().unwrap(),
            Vec::<String>::new()
        );
        assert_eq!(
            std::fs::read_to_string(directory.path().join("cgroup.subtree_control")).unwrap(),
            "+memory"
        );
        let child = group.child("docker").unwrap();
        assert_eq!(child, group.child("docker").unwrap());
    }
}
