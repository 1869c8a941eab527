//! The call of the user's dockerd: arguments and configuration file, from `rancher.docker` and the user's own daemon.json. Pure.

use os_config::{DockerBlock, docker_args};
use serde_json::{Map, Value};

use super::CONFIG_FILE;

const CONTAINERD: &str = "/run/containerd/containerd.sock";
/// Where dockerd looks for its configuration unless told otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/docker/daemon.json";
/// Namespace of the user's containers in the machine's containerd; the system's Docker has another.
const NAMESPACE: &str = "moby";

/// Flags and the names of the same settings in daemon.json, where they differ by more than the dashes (dockerd's own list).
const PLURALS: [(&str, &str); 4] = [
    ("host", "hosts"),
    ("insecure-registry", "insecure-registries"),
    ("registry-mirror", "registry-mirrors"),
    ("log-opt", "log-opts"),
];

/// How dockerd is called.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Arguments.
    pub arguments: Vec<String>,
    /// Content of its configuration file.
    pub config: Map<String, Value>,
    /// What was wrong with the user's file.
    pub problem: Option<String>,
}

impl Settings {
    /// From the block, the text of the user's daemon.json, and `$DOCKER_OPTS`.
    pub fn new(block: &DockerBlock, user_config: Option<&str>, options: Vec<String>) -> Self {
        let (mut config, problem) = read(user_config);
        let mut block = block.clone();
        // In the file, so that it can be changed while the daemon runs: see `stop`.
        let live_restore = block.live_restore.take().unwrap_or(true);
        config
            .entry("live-restore")
            .or_insert(Value::Bool(live_restore));
        // Images would otherwise go to containerd, whose data does not outlive the boot.
        let features = config
            .entry("features")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(features) = features {
            features
                .entry("containerd-snapshotter")
                .or_insert(Value::Bool(false));
        }
        block.config_file = Some(CONFIG_FILE.to_owned());
        block
            .containerd
            .get_or_insert_with(|| CONTAINERD.to_owned());
        let mut arguments = docker_args(&block);
        arguments.extend([
            format!("--containerd-namespace={NAMESPACE}"),
            format!("--containerd-plugins-namespace=plugins.{NAMESPACE}"),
        ]);
        arguments.extend(options);
        arguments.retain(|argument| !is_said_in(&config, argument));
        Self {
            arguments,
            config,
            problem,
        }
    }
}

fn read(text: Option<&str>) -> (Map<String, Value>, Option<String>) {
    match text
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(serde_json::from_str)
    {
        None => (Map::new(), None),
        Some(Ok(Value::Object(map))) => (map, None),
        Some(Ok(_)) => (Map::new(), Some("it is not a JSON object".to_owned())),
        Some(Err(error)) => (Map::new(), Some(error.to_string())),
    }
}

/// dockerd refuses to start when a setting stands both among the flags and in its file: the user's file wins. Options of a log driver
/// go with the driver.
fn is_said_in(config: &Map<String, Value>, argument: &str) -> bool {
    let Some(name) = argument
        .strip_prefix("--")
        .map(|rest| rest.split('=').next().unwrap_or(rest))
    else {
        return false;
    };
    let key = PLURALS
        .iter()
        .find(|(flag, _)| *flag == name)
        .map_or(name, |(_, key)| key);
    let driver_changed = key == "log-opts" && config.contains_key("log-driver");
    config.contains_key(key) || driver_changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn block() -> DockerBlock {
        let value = json!({"group": "docker", "host": ["unix:///var/run/docker.sock"], "log_opts": {"max-size": "25m"}});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_plain_machine() {
        let settings = Settings::new(&block(), None, vec!["--debug".into()]);
        assert_eq!(
            settings.arguments,
            [
                "--config-file=/run/ros/docker/daemon.json",
                "--containerd=/run/containerd/containerd.sock",
                "--group=docker",
                "--host=unix:///var/run/docker.sock",
                "--log-opt=max-size=25m",
                "--containerd-namespace=moby",
                "--containerd-plugins-namespace=plugins.moby",
                "--debug",
            ]
        );
        assert_eq!(
            Value::Object(settings.config),
            json!({"live-restore": true, "features": {"containerd-snapshotter": false}})
        );
    }

    #[test]
    fn the_users_file_wins_over_flags() {
        let file = r#"{"log-driver": "local", "hosts": ["unix:///x"], "live-restore": false}"#;
        let settings = Settings::new(&block(), Some(file), vec![]);
        assert!(
            !settings
                .arguments
                .iter()
                .any(|argument| argument.starts_with("--log") || argument.starts_with("--host")),
            "{:?}",
            settings.arguments
        );
        assert_eq!(settings.config["live-restore"], json!(false));
        assert_eq!(settings.problem, None);
    }

    #[test]
    fn a_broken_file_is_left_out_and_named() {
        let settings = Settings::new(&block(), Some("{"), vec![]);
        assert_eq!(settings.config["live-restore"], json!(true));
        assert!(settings.problem.unwrap().contains("EOF"));
    }
}
