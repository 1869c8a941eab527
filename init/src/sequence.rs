//! The boot sequence: what happens in which order, and the runner that names and times each phase.

use crate::machine::Machine;
use crate::outcome::{Halted, Outcome, chain};
use crate::record::{self, Phase as PhaseRecord};
use crate::{
    cloud_init, commands, configuration, containerd, early, layout, log, root_image, seed,
    services, state, supervise, system_docker, writable,
};

/// What a failure of a phase means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// Nothing sensible can follow: recovery.
    Fatal,
    /// The machine is worth more running without it.
    Tolerated,
}

/// One step of the boot.
struct Phase {
    name: &'static str,
    failure: Failure,
    run: fn(&mut Machine) -> Result<(), Halted>,
}

const fn required(name: &'static str, run: fn(&mut Machine) -> Result<(), Halted>) -> Phase {
    Phase {
        name,
        failure: Failure::Fatal,
        run,
    }
}

const fn optional(name: &'static str, run: fn(&mut Machine) -> Result<(), Halted>) -> Phase {
    Phase {
        name,
        failure: Failure::Tolerated,
        run,
    }
}

/// The order. containerd needs no configuration and is up by the time that Docker asks for it; Docker starts while the
/// datasources are read, and starts again in the rare case that they change its settings.
const SEQUENCE: [Phase; 13] = [
    required("early-mounts", early::run),
    required("root-image", root_image::run),
    required("writable-parts", writable::run),
    required("containerd", containerd::run),
    optional("configuration", configuration::run),
    optional("kernel-settings", configuration::apply_kernel_settings),
    required("state-disk", state::run),
    required("layout", layout::run),
    required("system-images", seed::run),
    required("system-docker", system_docker::run),
    optional("cloud-init", cloud_init::run),
    optional("bootcmd", commands::run),
    required("services", services::run),
];

/// Boots, then keeps the daemons running until a signal or a failure ends it.
pub fn run(machine: &mut Machine) -> Outcome {
    for (index, phase) in SEQUENCE.iter().enumerate() {
        if let Some(stop) = machine.stop {
            return Outcome::Stop(stop);
        }
        if let Some(outcome) = run_phase(machine, index, phase) {
            return outcome;
        }
    }
    if let Err(error) = machine.record.save() {
        log::warn(&format!("cannot write boot.json: {error}"));
    }
    supervise::run(machine)
}

fn run_phase(machine: &mut Machine, index: usize, phase: &Phase) -> Option<Outcome> {
    let start = record::now_ms();
    let result = (phase.run)(machine);
    let duration = record::now_ms().saturating_sub(start);
    let failure = match result {
        Ok(()) => None,
        Err(Halted::RecoveryAsked) => return Some(Outcome::Recovery(String::new())),
        Err(Halted::Failed(error)) => Some(chain(error.as_ref())),
    };
    let title = format!("phase {}/{} {}", index + 1, SEQUENCE.len(), phase.name);
    match &failure {
        None => log::info(&format!("{title}: {duration} ms")),
        Some(reason) => log::error(&format!("{title} failed after {duration} ms: {reason}")),
    }
    machine.record.phases.push(PhaseRecord {
        name: phase.name,
        start_ms: start,
        duration_ms: duration,
        error: failure.clone(),
    });
    match (failure, phase.failure) {
        (Some(reason), Failure::Fatal) if machine.stop.is_none() => {
            Some(Outcome::Recovery(format!("{}: {reason}", phase.name)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_work_is_required() {
        let required: Vec<_> = SEQUENCE
            .iter()
            .filter(|phase| phase.failure == Failure::Fatal)
            .map(|phase| phase.name)
            .collect();
        // A broken configuration never stops a boot.
        assert!(
            !required.contains(&"configuration")
                && !required.contains(&"cloud-init")
                && !required.contains(&"kernel-settings")
        );
        assert!(required.contains(&"root-image") && required.contains(&"state-disk"));
    }
}
