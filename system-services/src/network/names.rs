//! `/etc/resolv.conf`, `/etc/hosts` and the host name: what they should say. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use os_config::Config;

/// What a DHCP server said, as the hook left it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lease {
    /// Our address.
    pub address: Option<IpAddr>,
    /// Name servers.
    pub nameservers: Vec<IpAddr>,
    /// Search domains.
    pub search: Vec<String>,
    /// Host name.
    pub host_name: Option<String>,
}

impl Lease {
    /// Reads the hook's file: `name=value` lines. What does not parse is left out: a DHCP server is not trusted with more than addresses
    /// and names.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let values: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .collect();
        let words = |name: &str| {
            values
                .get(name)
                .copied()
                .unwrap_or_default()
                .split_whitespace()
        };
        let domains = |name: &str| -> Vec<String> {
            words(name)
                .map(|word| word.trim_end_matches('.'))
                .filter(|word| is_domain(word))
                .map(str::to_owned)
                .collect()
        };
        let mut search = domains("domain_search");
        if search.is_empty() {
            search = domains("domain_name");
        }
        Self {
            address: words("ip_address")
                .next()
                .and_then(|word| word.parse().ok()),
            nameservers: words("domain_name_servers")
                .filter_map(|word| word.parse().ok())
                .collect(),
            search,
            host_name: domains("host_name").into_iter().next(),
        }
    }
}

fn is_domain(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && label
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        })
}

/// Leases by link name.
pub type Leases = BTreeMap<String, Lease>;

/// `/etc/resolv.conf`: the configuration's servers, else DHCP's, else the defaults; likewise the search list.
#[must_use]
pub fn resolv_conf(config: &Config, leases: &Leases) -> String {
    let network = &config.rancher.network;
    let mut servers: Vec<String> = network.dns.nameservers.clone();
    if servers.is_empty() {
        for server in leases.values().flat_map(|lease| &lease.nameservers) {
            let server = server.to_string();
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
    }
    if servers.is_empty() {
        servers.clone_from(&config.rancher.defaults.network.dns.nameservers);
    }
    let mut search: Vec<&str> = network.dns.search.iter().map(String::as_str).collect();
    if search.is_empty() {
        for domain in leases.values().flat_map(|lease| &lease.search) {
            if !search.contains(&domain.as_str()) {
                search.push(domain);
            }
        }
    }
    let mut text = String::from("# Written by netconf; change rancher.network.dns instead.\n");
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    text
}

/// The host name: configured (a datasource's counts as that), else DHCP's, else the default.
#[must_use]
pub fn host_name<'a>(config: &'a Config, leases: &'a Leases) -> &'a str {
    let from_dhcp = || {
        leases
            .values()
            .find_map(|lease| lease.host_name.as_deref())
            .filter(|_| config.hostname.is_none())
    };
    match &config.hostname {
        Some(_) => config.host_name(),
        None => from_dhcp().unwrap_or_else(|| config.host_name()),
    }
}

/// `/etc/hosts` with the host's own name on 127.0.1.1; other lines stay.
#[must_use]
pub fn hosts(old: &str, host_name: &str) -> String {
    let mut lines: Vec<String> = old
        .lines()
        .filter(|line| line.split_whitespace().next() != Some("127.0.1.1"))
        .map(str::to_owned)
        .collect();
    let names = |address: &str, lines: &[String]| {
        lines
            .iter()
            .any(|line| line.split_whitespace().next() == Some(address))
    };
    for (position, (address, line)) in [
        ("127.0.0.1", "127.0.0.1\tlocalhost"),
        ("::1", "::1\tlocalhost ip6-localhost ip6-loopback"),
    ]
    .into_iter()
    .enumerate()
    {
        if !names(address, &lines) {
            lines.insert(position.min(lines.len()), line.to_owned());
        }
    }
    let short = host_name.split('.').next().unwrap_or(host_name);
    let own = if short == host_name {
        format!("127.0.1.1\t{host_name}")
    } else {
        format!("127.0.1.1\t{host_name} {short}")
    };
    lines.push(own);
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Leases {
        let lease = Lease::parse(
            "reason=BOUND\nip_address=10.0.2.15\ndomain_name_servers=10.0.2.3 nonsense\ndomain_name=example.org.\nhost_name=guest;rm\n",
        );
        Leases::from([("eth0".to_owned(), lease)])
    }

    #[test]
    fn a_lease_is_not_trusted_with_more_than_names() {
        let lease = &lease()["eth0"];
        assert_eq!(lease.nameservers, ["10.0.2.3".parse::<IpAddr>().unwrap()]);
        assert_eq!(lease.search, ["example.org"]);
        assert_eq!(lease.host_name, None);
    }

    #[test]
    fn the_users_servers_beat_dhcp_and_dhcp_beats_defaults() {
        let mut config = Config::default();
        config.rancher.defaults.network.dns.nameservers = vec!["8.8.8.8".into()];
        assert!(resolv_conf(&config, &Leases::new()).ends_with("\nnameserver 8.8.8.8\n"));
        assert!(
            resolv_conf(&config, &lease()).ends_with("\nsearch example.org\nnameserver 10.0.2.3\n")
        );
        config.rancher.network.dns.nameservers = vec!["1.1.1.1".into()];
        config.rancher.network.dns.search = vec!["mine".into()];
        assert!(resolv_conf(&config, &lease()).ends_with("\nsearch mine\nnameserver 1.1.1.1\n"));
    }

    #[test]
    fn dhcp_names_the_host_only_when_nothing_else_does() {
        let leases = Leases::from([(
            "eth0".to_owned(),
            Lease {
                host_name: Some("from-dhcp".into()),
                ..Lease::default()
            },
        )]);
        let mut config = Config::default();
        assert_eq!(host_name(&config, &Leases::new()), "rancher");
        assert_eq!(host_name(&config, &leases), "from-dhcp");
        config.hostname = Some("mine".into());
        assert_eq!(host_name(&config, &leases), "mine");
    }

    #[test]
    fn hosts_keeps_other_lines_and_is_stable() {
        let first = hosts("10.0.0.9 nas\n127.0.1.1 old\n", "web.example.org");
        assert_eq!(
            first,
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.9 nas\n127.0.1.1\tweb.example.org web\n"
        );
        assert_eq!(hosts(&first, "web.example.org"), first);
    }
}
