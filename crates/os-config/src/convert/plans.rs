//! What to do about keys of which the schema says that nothing reads them (yet). Owns advice only: whether a key is such a one is the schema's to
//! say, and a key that comes to be read drops out of this table by a test.

use super::remark::Need;
use super::tree;

/// What is to be done about a key without effect.
pub(super) struct Plan {
    /// Its path; `*` stands for any one key.
    pub path: &'static str,
    /// Values that ask for nothing beyond what is so anyway, besides false and nothing.
    pub idle: &'static [&'static str],
    pub need: Need,
    pub advice: &'static str,
}

const fn act(path: &'static str, advice: &'static str) -> Plan {
    Plan {
        path,
        idle: &[],
        need: Need::Hands,
        advice,
    }
}

const fn know(path: &'static str, advice: &'static str) -> Plan {
    Plan {
        path,
        idle: &[],
        need: Need::Nothing,
        advice,
    }
}

const NO_UPGRADE: &str = "a new release is a new medium, or a new kernel and initrd";
const PLAIN_STATE: &str = "put the state on a plain disk or partition";
const NO_RADIO: &str = "use a wired link";

static PLANS: [Plan; 28] = [
    Plan {
        path: "rancher.console",
        idle: &["default"],
        need: Need::Hands,
        advice: "there is one console, Debian with bash and without a package manager: run what it lacks in containers",
    },
    Plan {
        path: "rancher.*.engine",
        idle: &["latest"],
        need: Need::Hands,
        advice: "there is one Docker, that of the release: see `docker version`, and take the line out when your containers do well on it",
    },
    Plan {
        path: "rancher.*.storage_context",
        idle: &["console"],
        need: Need::Nothing,
        advice: "the data of your Docker are seen from everywhere",
    },
    Plan {
        path: "rancher.upgrade.policy",
        idle: &["none"],
        need: Need::Nothing,
        advice: NO_UPGRADE,
    },
    know("rancher.upgrade.url", NO_UPGRADE),
    know("rancher.upgrade.rollback", NO_UPGRADE),
    know("rancher.*.exec", "PID 1 is no Docker daemon any more"),
    know("rancher.*.restart", "Docker has no such flag any more"),
    know(
        "rancher.force_console_rebuild",
        "the console is made anew at each boot",
    ),
    know("rancher.log", "`ros service logs NAME` shows them"),
    know(
        "rancher.bootstrap_docker",
        "there is no such daemon any more",
    ),
    know(
        "rancher.http_load_retries",
        "there are no repositories of services",
    ),
    know(
        "rancher.state.boot_dev",
        "the loader or the medium brings kernel and initrd",
    ),
    know(
        "rancher.state.boot_fstype",
        "the loader or the medium brings kernel and initrd",
    ),
    act(
        "rancher.*.args",
        "RancherOS 1.x had no use for it either: put what you need into `extra_args`",
    ),
    act(
        "rancher.bootstrap",
        "use `bootcmd`, which runs on the host before any service",
    ),
    act(
        "rancher.cloud_init_services",
        "define what is your own under `rancher.services`",
    ),
    act(
        "rancher.repositories",
        "define the services that you need under `rancher.services`, or in files below /var/lib/rancher/conf",
    ),
    act(
        "rancher.resize_device",
        "grow the file system yourself: `resize2fs` is in the console",
    ),
    act(
        "rancher.restart_services",
        "a service's files of `write_files` are there before its program starts; after changes: `ros service restart NAME`",
    ),
    act(
        "rancher.hypervisor_service",
        "run the tools of your hypervisor as a service of your own",
    ),
    act("rancher.defaults.docker", "write it under `rancher.docker`"),
    act("rancher.network.wifi_networks", NO_RADIO),
    act("rancher.network.modem_networks", NO_RADIO),
    act("rancher.network.interfaces.*.wifi_network", NO_RADIO),
    act("rancher.state.mdadm_scan", PLAIN_STATE),
    act("rancher.state.lvm_scan", PLAIN_STATE),
    act("rancher.state.cryptsetup", PLAIN_STATE),
];

/// What is to be done about the key at `path`, if anything particular is known.
pub(super) fn of(path: &[String]) -> Option<&'static Plan> {
    PLANS.iter().find(|plan| tree::fits(plan.path, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Kind, ROOT, Schema};

    /// Paths of keys without effect, `*` for free keys.
    fn without_effect(
        schema: &'static Schema,
        path: &mut Vec<String>,
        found: &mut Vec<Vec<String>>,
    ) {
        match schema {
            Schema::Object(keys) | Schema::Switch(keys) => {
                for key in *keys {
                    path.push(key.name.to_owned());
                    if matches!(key.kind, Kind::Planned | Kind::Ignored(_)) {
                        found.push(path.clone());
                    }
                    without_effect(&key.schema, path, found);
                    path.pop();
                }
            }
            Schema::Map(item) => {
                path.push("*".into());
                without_effect(item, path, found);
                path.pop();
            }
            _ => {}
        }
    }

    #[test]
    fn advice_is_given_for_keys_without_effect_only() {
        let mut keys = Vec::new();
        without_effect(&ROOT, &mut Vec::new(), &mut keys);
        assert!(keys.len() > 30, "{keys:?}");
        for plan in &PLANS {
            assert!(
                keys.iter().any(|key| tree::fits(plan.path, key)),
                "{} has an effect now: take it out of the table",
                plan.path
            );
        }
    }
}
