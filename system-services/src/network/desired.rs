//! The network as configured, checked and ready to plan with. Pure.
//!
//! Owns the rules by which an entry of `rancher.network.interfaces` matches a link.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use os_config::Config;
use os_config::types::Interface;

use super::cidr::Cidr;
use super::complaint::Complaint;
use super::links::{Made, Member, Vlan, stack};
use super::observe::Observed;

/// What a rule applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matcher {
    /// Hardware address, lower case; may hold `*`.
    Mac(String),
    /// Exactly this name.
    Name(String),
    /// Names like this, `*` and `?`.
    Glob(String),
}

impl Matcher {
    /// Reads the name of an entry, or its `match`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let mac = text
            .strip_prefix("mac=")
            .or_else(|| text.strip_prefix("mac:"));
        match mac {
            Some(mac) => Self::Mac(mac.to_ascii_lowercase()),
            None if text.contains(['*', '?']) => Self::Glob(text.to_owned()),
            None => Self::Name(text.to_owned()),
        }
    }

    /// How well it fits, higher is better; `None`: not at all. A MAC beats a name, a name beats a glob, a longer glob a shorter one.
    fn fit(&self, name: &str, mac: &str) -> Option<usize> {
        let literal = |pattern: &str| pattern.chars().filter(|c| !matches!(c, '*' | '?')).count();
        match self {
            Self::Mac(pattern) => {
                (!mac.is_empty() && glob(pattern, mac)).then(|| 2000 + literal(pattern))
            }
            Self::Name(wanted) => (wanted == name).then_some(1000),
            Self::Glob(pattern) => {
                (glob(pattern, name) && !is_container_link(name)).then(|| literal(pattern))
            }
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => write!(formatter, "mac={mac}"),
            Self::Name(name) | Self::Glob(name) => formatter.write_str(name),
        }
    }
}

/// Links of Docker and the loopback are nobody's but their maker's, unless named.
fn is_container_link(name: &str) -> bool {
    name == "lo"
        || ["veth", "docker", "br-", "virbr", "tunl", "cni"]
            .iter()
            .any(|start| name.starts_with(start))
}

/// `*` any text, `?` any character.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && (pattern[p] == '?' || pattern[p] == text[t]) && pattern[p] != '*' {
            (p, t) = (p + 1, t + 1);
        } else if p < pattern.len() && pattern[p] == '*' {
            retry = Some((p, t));
            p += 1;
        } else if let Some((star, from)) = retry {
            (p, t) = (star + 1, from + 1);
            retry = Some((star, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// What a link is to have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setup {
    /// `None`: not said.
    pub dhcp: Option<bool>,
    /// Arguments of the DHCP client in place of ours.
    pub dhcp_args: Option<String>,
    /// Static addresses.
    pub addresses: Vec<Cidr>,
    /// Default gateways, at most one a family.
    pub gateways: Vec<IpAddr>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// A link-local IPv4 address.
    pub ipv4ll: bool,
    /// What it is a member of.
    pub member: Option<Member>,
    /// The VLANs on it.
    pub vlans: Vec<Vlan>,
    /// Commands before.
    pub pre_up: Vec<String>,
    /// Commands after.
    pub post_up: Vec<String>,
}

impl Setup {
    /// True when the DHCP client looks after the link.
    #[must_use]
    pub fn uses_dhcp(&self) -> bool {
        self.member.is_none() && (self.dhcp == Some(true) || self.ipv4ll)
    }

    /// True when the network is not up without the link.
    fn is_awaited(&self) -> bool {
        !self.addresses.is_empty() || self.member.is_some() || !self.vlans.is_empty()
    }
}

/// One entry of `interfaces`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Which links.
    pub matcher: Matcher,
    /// What they get.
    pub setup: Setup,
}

/// The network as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// In the order of the files.
    pub rules: Vec<Rule>,
    /// Bonds and bridges to make, by name.
    pub made: BTreeMap<String, Made>,
    /// What cannot be done as configured, for people.
    pub complaints: Vec<Complaint>,
}

impl Desired {
    /// Reads `rancher.network`.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let mut desired = Self::default();
        let interfaces = &config.rancher.network.interfaces;
        let matchers: Vec<Matcher> = interfaces
            .iter()
            .map(|(name, entry)| Matcher::parse(entry.matches.as_deref().unwrap_or(name)))
            .collect();
        let stack = stack(interfaces, &matchers, &mut desired.complaints);
        desired.made = stack.made;
        let entries = interfaces.iter().zip(matchers).zip(stack.entries);
        for (((name, interface), matcher), stacking) in entries {
            let setup = Setup {
                member: stacking.member,
                vlans: stacking.vlans,
                ..setup(name, interface, &mut desired.complaints)
            };
            desired.rules.push(Rule { matcher, setup });
        }
        if desired.rules.is_empty() {
            let setup = Setup {
                dhcp: Some(true),
                ..Setup::default()
            };
            let matcher = Matcher::Glob("eth*".into());
            desired.rules.push(Rule { matcher, setup });
        }
        desired
    }

    /// The rule of a link: the best fitting one, the first of equals.
    #[must_use]
    pub fn rule_of(&self, name: &str, mac: &str) -> Option<&Rule> {
        let mut best: Option<(usize, &Rule)> = None;
        for rule in &self.rules {
            if let Some(fit) = rule.matcher.fit(name, mac)
                && best.is_none_or(|(other, _)| fit > other)
            {
                best = Some((fit, rule));
            }
        }
        best.map(|(_, rule)| rule)
    }

    /// Links with static addresses, members and links below VLANs that a name or a MAC asks for and that are not there (yet).
    #[must_use]
    pub fn missing(&self, observed: &Observed) -> Vec<String> {
        self.rules
            .iter()
            .filter(|rule| rule.setup.is_awaited())
            .filter(|rule| !matches!(rule.matcher, Matcher::Glob(_)))
            .filter(|rule| {
                !observed
                    .links
                    .iter()
                    .any(|link| rule.matcher.fit(&link.name, link.own_mac()).is_some())
            })
            .map(|rule| rule.matcher.to_string())
            .collect()
    }
}

fn setup(name: &str, interface: &Interface, complaints: &mut Vec<Complaint>) -> Setup {
    let mut complain = |key: &str, what: String| {
        complaints.push(Complaint {
            interface: name.to_owned(),
            key: key.to_owned(),
            what,
        });
    };
    let mut addresses = Vec::new();
    let one = interface.address.iter().map(|text| ("address", text));
    let more = interface.addresses.iter().map(|text| ("addresses", text));
    for (key, text) in one.chain(more) {
        match text.parse::<Cidr>() {
            Ok(cidr) if addresses.contains(&cidr) => {}
            Ok(cidr) => addresses.push(cidr),
            Err(()) => {
                let example = "such as 192.168.1.5/24; ignored";
                let what = format!("`{text}` is not an address with prefix length, {example}");
                complain(key, what);
            }
        }
    }
    let mut gateways = Vec::new();
    let four = interface.gateway.iter().map(|text| ("gateway", text));
    let six = interface
        .gateway_ipv6
        .iter()
        .map(|text| ("gateway_ipv6", text));
    for (key, text) in four.chain(six) {
        match text.parse::<IpAddr>() {
            Ok(gateway) => gateways.push(gateway),
            Err(_) => complain(key, format!("`{text}` is not an address; ignored")),
        }
    }
    Setup {
        dhcp: interface.dhcp,
        dhcp_args: interface.dhcp_args.clone(),
        addresses,
        gateways,
        mtu: (interface.mtu > 0).then_some(interface.mtu),
        ipv4ll: interface.ipv4ll,
        member: None,
        vlans: Vec::new(),
        pre_up: interface.pre_up.clone(),
        post_up: interface.post_up.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(entries: &[(&str, &str)]) -> Desired {
        let mut config = Config::default();
        for (name, address) in entries {
            let interface = Interface {
                address: Some((*address).to_owned()),
                ..Interface::default()
            };
            config
                .rancher
                .network
                .interfaces
                .insert((*name).to_owned(), interface);
        }
        Desired::of(&config)
    }

    #[test]
    fn a_mac_beats_a_name_and_a_name_beats_a_glob() {
        let desired = desired(&[
            ("eth*", "10.0.0.1/8"),
            ("e*", "10.0.0.2/8"),
            ("eth1", "10.0.0.3/8"),
            ("mac:AA:bb:cc:*", "10.0.0.4/8"),
        ]);
        let address = |name, mac| {
            desired
                .rule_of(name, mac)
                .map(|rule| rule.setup.addresses[0].to_string())
        };
        assert_eq!(
            address("eth0", "00:00:00:00:00:00"),
            Some("10.0.0.1/8".into())
        );
        assert_eq!(address("ens3", ""), Some("10.0.0.2/8".into()));
        assert_eq!(address("eth1", ""), Some("10.0.0.3/8".into()));
        assert_eq!(
            address("eth1", "aa:bb:cc:00:00:01"),
            Some("10.0.0.4/8".into())
        );
        assert_eq!(address("wlan0", ""), None);
    }

    #[test]
    fn globs_leave_container_links_alone() {
        let desired = desired(&[("*", "10.0.0.1/8"), ("docker0", "10.0.0.2/8")]);
        assert!(desired.rule_of("lo", "").is_none());
        assert!(desired.rule_of("veth12", "").is_none());
        assert!(desired.rule_of("docker0", "").is_some());
    }

    #[test]
    fn nothing_configured_means_dhcp_on_ethernet() {
        let desired = Desired::of(&Config::default());
        assert_eq!(desired.rule_of("eth3", "").unwrap().setup.dhcp, Some(true));
        assert!(desired.rule_of("wlan0", "").is_none());
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let found = desired(&[("eth0", "10.0.0.1")]);
        let texts: Vec<String> = found.complaints.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "interfaces.eth0.address: `10.0.0.1` is not an address with prefix length, such as 192.168.1.5/24; ignored"
            ]
        );
    }

    #[test]
    fn stars_match_any_text() {
        for (pattern, text, matches) in [
            ("eth*", "eth0", true),
            ("eth*", "eth", true),
            ("*0", "eth10", true),
            ("e?h*0", "eth10", true),
            ("eth?", "eth10", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b", "a-c", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }
}
