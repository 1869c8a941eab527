//! Docker daemon flags from a docker block. Pure; owns the flags' names and order.

use crate::types::DockerBlock;

/// Log drivers that write files, with the options of theirs that the shipped defaults set. dockerd does not start when another driver
/// is given them (Docker, "Configure logging drivers").
const FILE_DRIVERS: [&str; 2] = ["json-file", "local"];
const FILE_OPTIONS: [&str; 2] = ["max-size", "max-file"];

/// The arguments for `dockerd` that `block` asks for: flags for what is set, then `tls_args` with `tls`, then
/// `extra_args`. `log_opts` that only files know are left out for other drivers. Names are those of dockerd 23 and later;
/// `restart`, `exec`, `args` have no flag and give nothing.
#[must_use]
pub fn docker_args(block: &DockerBlock) -> Vec<String> {
    let mut args = Args::default();
    args.text("--bridge", block.bridge.as_deref());
    args.text("--bip", block.bip.as_deref());
    args.text("--config-file", block.config_file.as_deref());
    args.text("--containerd", block.containerd.as_deref());
    args.flag("--debug", block.debug);
    args.text("--exec-root", block.exec_root.as_deref());
    args.text("--group", block.group.as_deref());
    args.text(
        "--data-root",
        block.data_root.as_deref().or(block.graph.as_deref()),
    );
    args.texts("--host", &block.host);
    args.texts("--insecure-registry", &block.insecure_registry);
    args.flag("--live-restore", block.live_restore);
    args.text("--log-driver", block.log_driver.as_deref());
    let to_files = block
        .log_driver
        .as_deref()
        .is_none_or(|driver| driver.is_empty() || FILE_DRIVERS.contains(&driver));
    for (name, value) in &block.log_opts {
        if !to_files && FILE_OPTIONS.contains(&name.as_str()) {
            continue;
        }
        args.text("--log-opt", Some(&format!("{name}={value}")));
    }
    args.text("--pidfile", block.pid_file.as_deref());
    args.text("--registry-mirror", block.registry_mirror.as_deref());
    args.flag("--selinux-enabled", block.selinux_enabled);
    args.text(
        "--storage-driver",
        block
            .storage_driver
            .as_deref()
            .filter(|driver| *driver != "auto"),
    );
    args.flag("--userland-proxy", block.userland_proxy);
    if block.tls {
        args.0.extend(block.tls_args.iter().cloned());
    }
    args.0.extend(block.extra_args.iter().cloned());
    args.0
}

/// Arguments in the form `--name=value`: a value that begins with a dash stays a value.
#[derive(Default)]
struct Args(Vec<String>);

impl Args {
    fn text(&mut self, name: &str, value: Option<&str>) {
        self.0.extend(
            value
                .filter(|value| !value.is_empty())
                .map(|value| format!("{name}={value}")),
        );
    }

    fn texts(&mut self, name: &str, values: &[String]) {
        values.iter().for_each(|value| self.text(name, Some(value)));
    }

    fn flag(&mut self, name: &str, value: Option<bool>) {
        match value {
            Some(true) => self.0.push(name.to_owned()),
            Some(false) => self.0.push(format!("{name}=false")),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_gives_no_flags() {
        assert_eq!(docker_args(&DockerBlock::default()), [""; 0]);
    }

    #[test]
    fn the_defaults_of_the_user_daemon() {
        let block = DockerBlock {
            group: Some("docker".into()),
            host: vec!["unix:///var/run/docker.sock".into()],
            log_opts: [("max-size", "25m"), ("max-file", "2")]
                .map(|(k, v)| (k.into(), v.into()))
                .into(),
            storage_driver: Some("auto".into()),
            tls_args: vec!["--tlsverify".into()],
            graph: Some("/var/lib/docker".into()),
            userland_proxy: Some(false),
            debug: Some(true),
            restart: Some(false),
            exec: Some(true),
            args: vec!["ignored".into()],
            extra_args: vec!["--mtu=1400".into()],
            ..DockerBlock::default()
        };
        let expected = [
            "--debug",
            "--group=docker",
            "--data-root=/var/lib/docker",
            "--host=unix:///var/run/docker.sock",
            "--log-opt=max-size=25m",
            "--log-opt=max-file=2",
            "--userland-proxy=false",
            "--mtu=1400",
        ];
        assert_eq!(docker_args(&block), expected);
        let with_tls = docker_args(&DockerBlock {
            tls: true,
            data_root: Some("/d".into()),
            ..block
        });
        assert!(
            with_tls.contains(&"--tlsverify".to_owned())
                && with_tls.contains(&"--data-root=/d".to_owned())
        );
    }

    #[test]
    fn options_of_log_files_go_with_drivers_that_write_files() {
        let mut block = DockerBlock {
            log_opts: [("max-size", "25m"), ("tag", "x")]
                .map(|(k, v)| (k.into(), v.into()))
                .into(),
            ..DockerBlock::default()
        };
        for (driver, expected) in [
            (
                "local",
                &[
                    "--log-driver=local",
                    "--log-opt=max-size=25m",
                    "--log-opt=tag=x",
                ][..],
            ),
            ("syslog", &["--log-driver=syslog", "--log-opt=tag=x"]),
        ] {
            block.log_driver = Some(driver.into());
            assert_eq!(docker_args(&block), expected);
        }
    }
}
