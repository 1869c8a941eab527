//! What was promised to happen before the user's Docker starts: hooks of the console. Without any, Docker waits for nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use os_config::Config;

use super::LOG;

/// Written by the console when its hooks have run.
const CONSOLE_DONE: &str = "/run/console-done";
/// Scripts that the console runs before it writes that file.
const SCRIPTS: [&str; 2] = [
    "/var/lib/rancher/conf/cloud-config-script",
    "/opt/rancher/bin/start.sh",
];
const PAUSE: Duration = Duration::from_millis(50);
/// A line in the log each time that so much more has passed.
const REMINDER: Duration = Duration::from_secs(30);

/// The hooks that are configured, by name.
pub fn promised(config: &Config, script_exists: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let console = |container: &str| container.is_empty() || container == "console";
    let hooks = [
        ("runcmd", !config.runcmd.is_empty()),
        (
            "write_files",
            config
                .write_files
                .iter()
                .any(|file| console(&file.container)),
        ),
        ("mounts", !config.mounts.is_empty()),
    ];
    let configured = hooks
        .into_iter()
        .filter(|(_, present)| *present)
        .map(|(name, _)| name);
    configured
        .chain(SCRIPTS.into_iter().filter(|path| script_exists(path)))
        .collect()
}

/// Waits until the console has kept the promises.
pub fn wait(config: &Config) {
    let promised = promised(config, |path| Path::new(path).exists());
    if promised.is_empty() || Path::new(CONSOLE_DONE).exists() {
        return;
    }
    LOG.info(format_args!(
        "waits until the console has done {}",
        promised.join(", ")
    ));
    let (begun, mut next) = (Instant::now(), REMINDER);
    while !Path::new(CONSOLE_DONE).exists() {
        if begun.elapsed() >= next {
            LOG.warn(format_args!(
                "the console has not finished {} after {} s: see `ros service logs console`",
                promised.join(", "),
                next.as_secs()
            ));
            next += REMINDER;
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_waits_only_for_hooks_that_exist() {
        let mut config = Config::default();
        assert_eq!(promised(&config, |_| false), Vec::<&str>::new());
        config
            .runcmd
            .push(serde_json::from_value(serde_json::json!("echo")).unwrap());
        assert_eq!(
            promised(&config, |path| path.starts_with("/opt")),
            ["runcmd", "/opt/rancher/bin/start.sh"]
        );
    }
}
