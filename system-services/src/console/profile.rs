//! What a login shell gets: proxy variables, a longer PATH, and the banner above the login prompt.
//!
//! Pure: text in, text out.

use std::fmt::Write as _;

use os_config::Problem;
use os_config::types::{Network, Ordered};

/// Proxy variables under both spellings, from `rancher.network` and, over it, `rancher.environment`.
#[must_use]
pub fn proxies(network: &Network, environment: &Ordered<String>) -> Vec<(String, String)> {
    let configured = [
        ("http_proxy", &network.http_proxy),
        ("https_proxy", &network.https_proxy),
        ("no_proxy", &network.no_proxy),
    ];
    let mut variables = Vec::new();
    for (name, value) in configured {
        let upper = name.to_uppercase();
        let value = environment
            .get(name)
            .or_else(|| environment.get(&upper))
            .or(value.as_ref())
            .filter(|value| !value.is_empty());
        if let Some(value) = value {
            variables.push((name.to_owned(), value.clone()));
            variables.push((upper, value.clone()));
        }
    }
    variables
}

/// `/etc/profile.d/proxy.sh`
#[must_use]
pub fn proxy_script(variables: &[(String, String)]) -> String {
    let mut text = String::new();
    for (name, value) in variables {
        // Writing to a String cannot fail.
        writeln!(text, "export {name}={}", shell_words::quote(value)).ok();
    }
    text
}

/// `/etc/profile.d/path.sh`: `PATH` or `path` of the environment, a comma list, after the shell's own.
#[must_use]
pub fn path_script(environment: &Ordered<String>) -> String {
    let added: Vec<&str> = ["PATH", "path"]
        .iter()
        .filter_map(|name| environment.get(*name))
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|folder| !folder.is_empty())
        .collect();
    if added.is_empty() {
        return String::new();
    }
    format!(
        "export PATH=\"$PATH\":{}\n",
        shell_words::quote(&added.join(":"))
    )
}

/// What the banner tells.
#[derive(Debug, Clone, Copy)]
pub struct Banner<'a> {
    /// Release, with its `v`.
    pub version: &'a str,
    /// Kernel release.
    pub kernel: &'a str,
    /// Interfaces, by name.
    pub interfaces: &'a [String],
    /// What is wrong with the configuration.
    pub problems: &'a [Problem],
}

/// `/etc/issue`: agetty fills in host name (`\n`), terminal (`\l`) and addresses (`\4{eth0}`) when it shows it.
#[must_use]
pub fn issue(banner: Banner<'_>) -> String {
    let mut text = format!(
        "\nRancherOS {} \\n \\l\nKernel {}\n",
        banner.version, banner.kernel
    );
    for name in banner.interfaces {
        writeln!(text, "{name}: \\4{{{name}}} \\6{{{name}}}").ok();
    }
    text.push_str(&problems(banner.problems).replace('\\', "\\\\"));
    text.push('\n');
    text
}

/// `/etc/motd`: what is wrong with the configuration; empty when nothing is.
#[must_use]
pub fn problems(problems: &[Problem]) -> String {
    if problems.is_empty() {
        return String::new();
    }
    let mut text = String::from("\nThe configuration has problems (sudo ros config validate):\n");
    for problem in problems {
        let line = problem.to_string().replace(['\n', '\r'], " ");
        writeln!(text, "  {line}").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use os_config::Severity;
    use os_config::problem::Position;

    #[test]
    fn proxies_are_quoted_and_the_environment_wins() {
        let network = Network {
            http_proxy: Some("http://old".into()),
            no_proxy: Some("a b".into()),
            ..Network::default()
        };
        let environment = Ordered::from([("HTTP_PROXY".to_owned(), "http://new:3128".to_owned())]);
        assert_eq!(
            proxy_script(&proxies(&network, &environment)),
            "export http_proxy=http://new:3128\nexport HTTP_PROXY=http://new:3128\nexport no_proxy='a b'\nexport NO_PROXY='a b'\n"
        );
    }

    #[test]
    fn path_grows() {
        let environment = Ordered::from([("PATH".to_owned(), "/opt/a,/opt/b".to_owned())]);
        assert_eq!(
            path_script(&environment),
            "export PATH=\"$PATH\":/opt/a:/opt/b\n"
        );
        assert_eq!(path_script(&Ordered::new()), "");
    }

    #[test]
    fn the_banner_shows_addresses_and_problems() {
        let problem = Problem::new(
            Severity::Error,
            &Position::whole("/x/boot.yml"),
            "rancher.ssh.port",
            "a\\b",
        );
        let interfaces = ["eth0".to_owned()];
        let text = issue(Banner {
            version: "v2.0.0",
            kernel: "6.12.1",
            interfaces: &interfaces,
            problems: &[problem],
        });
        assert_eq!(
            text,
            "\nRancherOS v2.0.0 \\n \\l\nKernel 6.12.1\neth0: \\4{eth0} \\6{eth0}\n\nThe configuration has problems (sudo ros config validate):\n  /x/boot.yml: rancher.ssh.port: a\\\\b\n\n"
        );
    }
}
