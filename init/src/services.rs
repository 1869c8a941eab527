//! Phase `services`: the service manager, which makes system Docker run what `rancher.services` says. It waits for Docker itself.

use crate::machine::Machine;
use crate::outcome::Halted;
use crate::plan;
use crate::supervise::{Launch, Output};

/// Starts it.
pub fn run(machine: &mut Machine) -> Result<(), Halted> {
    let group = machine
        .groups
        .as_ref()
        .map(|groups| groups.of("service-manager"))
        .transpose()?;
    let launch = Launch {
        command: vec!["ros-sysinit".into()],
        environment: plan::environment(&machine.loaded.config),
        output: Output::Console,
        oom_score: -500,
    };
    machine
        .supervisor
        .keep_running("service-manager", launch, group);
    Ok(())
}
