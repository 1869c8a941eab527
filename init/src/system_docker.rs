//! Phase `system-docker`: the Docker daemon that runs the system's services.
//!
//! Its settings are `rancher.system_docker`; what would break the machine (its bridge, its firewall rules, its storage driver, which
//! containerd) is ours.

use std::path::{Path, PathBuf};

use os_config::{Config, DockerBlock, docker_args};

use crate::machine::Machine;
use crate::outcome::Halted;
use crate::record::{self, RUN};
use crate::supervise::{Launch, Output};
use crate::{containerd, plan};

const DATA_ROOT: &str = "/var/lib/system-docker";

/// Starts it, or starts it anew when its settings have changed.
pub fn run(machine: &mut Machine) -> Result<(), Halted> {
    let config = &machine.loaded.config;
    record::write_whole(
        &Path::new(RUN).join("system-docker.json"),
        &daemon_json(&config.rancher.system_docker),
    )?;
    let launch = launch(config);
    let group = machine
        .groups
        .as_ref()
        .map(|groups| groups.of("system-docker"))
        .transpose()?;
    machine
        .supervisor
        .keep_running("system-docker", launch, group);
    Ok(())
}

/// Settings that Docker takes from a file only, or that a SIGHUP should be able to re-read.
fn daemon_json(block: &DockerBlock) -> String {
    // A setting that stands both here and among the flags keeps dockerd from starting.
    let live_restore = if block.live_restore.is_none() {
        "\"live-restore\": true, "
    } else {
        ""
    };
    format!("{{{live_restore}\"features\": {{\"containerd-snapshotter\": false}}}}\n")
}

/// Where it keeps images and containers: an absolute path, else the default.
pub fn data_root(block: &DockerBlock) -> &str {
    [&block.data_root, &block.graph]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .find(|path| path.starts_with('/'))
        .unwrap_or(DATA_ROOT)
}

/// The block with what we depend on filled in.
fn settled(block: &DockerBlock) -> DockerBlock {
    let mut block = block.clone();
    // Services use the host's network. A bridge address would contradict the missing bridge.
    block.bridge = Some("none".into());
    block.bip = None;
    block.containerd = Some(containerd::SOCKET.into());
    block.config_file = Some(format!("{RUN}/system-docker.json"));
    block.data_root = Some(data_root(&block).to_owned());
    block
        .exec_root
        .get_or_insert_with(|| "/var/run/system-docker".into());
    block
        .pid_file
        .get_or_insert_with(|| "/var/run/system-docker.pid".into());
    block.group.get_or_insert_with(|| "root".into());
    // The images of the system are there in this driver's layout only.
    block.storage_driver = Some("overlay2".into());
    block.userland_proxy.get_or_insert(false);
    if block.host.is_empty() {
        block.host.push("unix:///var/run/system-docker.sock".into());
    }
    block
}

/// The whole call, from the configuration.
pub fn launch(config: &Config) -> Launch {
    let block = settled(&config.rancher.system_docker);
    let ours = [
        "--containerd-namespace=system",
        "--containerd-plugins-namespace=plugins.system",
        "--iptables=false",
        "--ip6tables=false",
        "--cgroup-parent=/system",
        // runc, in Go, takes longer to start a container than the service in it takes to start (docs/adr/0010).
        "--add-runtime=crun=/usr/bin/crun",
        "--default-runtime=crun",
    ];
    let mut command = vec!["dockerd".to_owned()];
    command.extend(ours.map(str::to_owned));
    command.extend(docker_args(&block));
    let mut environment = plan::environment(config);
    environment.extend(
        block
            .environment
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let file = config
        .rancher
        .defaults
        .system_docker_logs
        .as_deref()
        .unwrap_or("/var/log/system-docker.log");
    let output = if config.rancher.debug {
        Output::Console
    } else {
        Output::File(PathBuf::from(file))
    };
    Launch {
        command,
        environment,
        output,
        oom_score: -900,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_setting_can_break_the_machine() {
        let block = DockerBlock {
            bridge: Some("docker-sys".into()),
            bip: Some("172.18.42.1/16".into()),
            storage_driver: Some("vfs".into()),
            ..DockerBlock::default()
        };
        let settled = settled(&block);
        assert_eq!(
            (settled.bridge.as_deref(), settled.bip),
            (Some("none"), None)
        );
        assert_eq!(settled.storage_driver.as_deref(), Some("overlay2"));
    }

    #[test]
    fn the_data_root_has_two_names_and_a_default() {
        let of = |data_root: Option<&str>, graph: Option<&str>| {
            let block = DockerBlock {
                data_root: data_root.map(str::to_owned),
                graph: graph.map(str::to_owned),
                ..DockerBlock::default()
            };
            assert_eq!(
                settled(&block).data_root.as_deref(),
                Some(super::data_root(&block))
            );
            super::data_root(&block).to_owned()
        };
        assert_eq!(of(None, None), "/var/lib/system-docker");
        assert_eq!(of(Some(""), Some("here")), "/var/lib/system-docker");
        assert_eq!(of(None, Some("/b")), "/b");
        assert_eq!(of(Some("/a"), Some("/b")), "/a");
    }

    #[test]
    fn live_restore_stands_in_one_place_only() {
        let parsed: serde_json::Value =
            serde_json::from_str(&daemon_json(&DockerBlock::default())).unwrap();
        assert_eq!(parsed["live-restore"], true);
        let block = DockerBlock {
            live_restore: Some(false),
            ..DockerBlock::default()
        };
        let parsed: serde_json::Value = serde_json::from_str(&daemon_json(&block)).unwrap();
        assert!(parsed.get("live-restore").is_none());
    }

    /// The defaults as they are shipped, read as they are at boot.
    fn shipped() -> Config {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("usr/share/ros");
        std::fs::create_dir_all(&directory).unwrap();
        let defaults = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../system-services/os-config.yml"
        );
        std::fs::copy(defaults, directory.join("os-config.yml")).unwrap();
        let loaded = os_config::store::load(
            &os_config::Place::new(root.path()),
            &os_config::Cmdline::default(),
        );
        assert_eq!(loaded.problems, []);
        loaded.config
    }

    #[test]
    fn the_call_with_the_shipped_defaults() {
        let launch = launch(&shipped());
        let expected = "dockerd --containerd-namespace=system --containerd-plugins-namespace=plugins.system \
            --iptables=false --ip6tables=false --cgroup-parent=/system \
            --add-runtime=crun=/usr/bin/crun --default-runtime=crun --bridge=none \
            --config-file=/run/ros/system-docker.json --containerd=/run/containerd/containerd.sock \
            --exec-root=/var/run/system-docker --group=root --data-root=/var/lib/system-docker \
            --host=unix:///var/run/system-docker.sock --log-opt=max-size=25m --log-opt=max-file=2 \
            --pidfile=/var/run/system-docker.pid --storage-driver=overlay2 --userland-proxy=false";
        assert_eq!(launch.command.join(" "), expected);
        // A flag that is given twice keeps dockerd from starting.
        let mut names: Vec<&str> = launch
            .command
            .iter()
            .filter_map(|flag| flag.split_once('='))
            .map(|(name, _)| name)
            .collect();
        names.retain(|name| *name != "--log-opt");
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn debug_logs_go_to_the_console() {
        let mut config = Config::default();
        assert_eq!(
            launch(&config).output,
            Output::File("/var/log/system-docker.log".into())
        );
        config.rancher.debug = true;
        assert_eq!(launch(&config).output, Output::Console);
    }
}
