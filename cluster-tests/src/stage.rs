//! What a scenario starts from: one at a time, a folder for its logs, and a machine without leftovers of runs that were killed. Owns
//! everything on the machine that carries a run's mark: `ros-cluster-<pid>` as a folder of the temporary folder and of each cgroup hierarchy.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use qemu_tests::artefacts::build_folder;
use qemu_tests::judge::say;
use qemu_tests::{HarnessError, Result, tool};

const TOOLS: [&str; 5] = ["unshare", "nsenter", "ip", "mmdebstrap", "mount"];
const MARK: &str = "ros-cluster-";
const CGROUPS: &str = "/sys/fs/cgroup";

/// One at a time: hosts have the same addresses in every scenario, and the processors are few.
static TURN: Mutex<()> = Mutex::new(());

/// The ground of one scenario.
pub struct Stage {
    name: String,
    mark: String,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    /// Waits for its turn and sweeps.
    ///
    /// # Errors
    /// [`HarnessError::Missing`] for a tool or for root's rights.
    pub fn open(name: &str) -> Result<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        if !nix::unistd::geteuid().is_root() {
            return Err(HarnessError::Missing {
                what: "root's rights".into(),
                remedy: "run it as root: hosts are made of namespaces".into(),
            });
        }
        for program in TOOLS {
            if tool::find(program).is_none() {
                return Err(HarnessError::Missing {
                    what: program.into(),
                    remedy: "run `make setup-tests`".into(),
                });
            }
        }
        sweep(|pid| !Path::new("/proc").join(pid).exists());
        let stage = Self {
            name: name.to_owned(),
            mark: format!("{MARK}{}", std::process::id()),
            _turn: turn,
        };
        for folder in [stage.scratch(), stage.logs()] {
            // What a scenario of this process left.
            drop(std::fs::remove_dir_all(&folder));
            std::fs::create_dir_all(&folder).map_err(HarnessError::file("make folder", &folder))?;
        }
        Ok(stage)
    }

    /// The scenario's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name of the cgroups of this run.
    #[must_use]
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// A folder that lives as long as the scenario.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        std::env::temp_dir().join(&self.mark)
    }

    /// Where what the daemons said is kept after the scenario.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        build_folder().join("cluster-tests").join(&self.name)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let own = std::process::id().to_string();
        sweep(|pid| pid == own);
    }
}

/// Removes folders and cgroups of the runs that `which` names. What cannot be removed is in use, and left.
fn sweep(which: impl Fn(&str) -> bool) {
    for folder in entries(&std::env::temp_dir()).filter(|path| is_of(path, &which)) {
        drop(std::fs::remove_dir_all(folder));
    }
    let hierarchies = entries(Path::new(CGROUPS)).chain([CGROUPS.into()]);
    for hierarchy in hierarchies.filter(|path| path.join("cgroup.procs").is_file()) {
        for group in entries(&hierarchy).filter(|path| is_of(path, &which)) {
            remove_cgroup(&group);
        }
    }
}

fn is_of(path: &Path, which: &impl Fn(&str) -> bool) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.strip_prefix(MARK).is_some_and(which))
}

/// Files of a cgroup are not removed, only folders, innermost first.
fn remove_cgroup(group: &Path) {
    for inner in entries(group).filter(|path| path.is_dir()) {
        remove_cgroup(&inner);
    }
    drop(std::fs::remove_dir(group));
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.flatten().map(|entry| entry.path())
}

/// Runs `scenario` on its stage. When a tool is missing, that is a visible skip, or an error where `CI` is set.
///
/// # Errors
/// Those of [`Stage::open`] and of the scenario.
pub fn on_stage(name: &str, scenario: impl FnOnce(&Stage) -> Result<()>) -> Result<()> {
    say(&format!("{name}:"));
    match Stage::open(name).and_then(|stage| scenario(&stage)) {
        Err(missing @ HarnessError::Missing { .. }) if std::env::var_os("CI").is_none() => {
            say(&format!("SKIPPED {name}: {}", missing.chain()));
            Ok(())
        }
        other => other,
    }
}
