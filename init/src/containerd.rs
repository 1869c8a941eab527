//! Phase `containerd`: the one containerd of the machine, which both Docker daemons use.
//!
//! Started before the configuration is read: it has no settings. Its root and state lie in `/run`, as both daemons
//! recreate in it what they need.

use std::path::PathBuf;

use crate::groups::Groups;
use crate::machine::Machine;
use crate::outcome::Halted;
use crate::plan::PATH;
use crate::record::RUN;
use crate::supervise::{Launch, Output};

/// Its socket.
pub const SOCKET: &str = "/run/containerd/containerd.sock";

/// Without what only Kubernetes and other snapshotters than Docker's own storage drivers need.
///
/// Timeouts: a containerd that was killed asks every shim when it comes back, and kills the container of one that does not answer in
/// five seconds. On a busy machine that is too early; a shim that is gone refuses at once.
const CONFIG: &str = r#"version = 2
root = "/run/containerd/root"
state = "/run/containerd/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri",
  "io.containerd.internal.v1.opt",
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]

[grpc]
address = "/run/containerd/containerd.sock"

[timeouts]
"io.containerd.timeout.shim.load" = "60s"
"io.containerd.timeout.shim.cleanup" = "30s"
"io.containerd.timeout.shim.shutdown" = "10s"
"io.containerd.timeout.task.state" = "10s"

[debug]
level = "warn"
"#;

/// Makes the control groups and starts it.
pub fn run(machine: &mut Machine) -> Result<(), Halted> {
    let groups = Groups::set_up()?;
    let group = groups.of("containerd")?;
    machine.groups = Some(groups);
    let config = format!("{RUN}/containerd.toml");
    std::fs::write(&config, CONFIG)?;
    let launch = Launch {
        command: vec!["containerd".into(), "--config".into(), config],
        environment: vec![("PATH".into(), PATH.into())],
        output: Output::File(PathBuf::from("/run/log/containerd.log")),
        oom_score: -999,
    };
    machine
        .supervisor
        .keep_running("containerd", launch, Some(group));
    Ok(())
}
