//! The network as configured, checked and ready to plan with. Pure.
//!
//! Owns the rules by which an entry of `rancher.network.interfaces` matches a link.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use os_config::Config;
use os_config::types::Interface;

use super::observe::Observed;

/// An address with its prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// Leading bits that name the network.
    pub prefix: u8,
}

impl Cidr {
    /// True when `other` is in the same network.
    #[must_use]
    pub fn contains(&self, other: IpAddr) -> bool {
        let shift = |bits: u32| bits.saturating_sub(u32::from(self.prefix));
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let differing = u32::from(a) ^ u32::from(b);
                differing.checked_shr(shift(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let differing = u128::from(a) ^ u128::from(b);
                differing.checked_shr(shift(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = text.trim().split_once('/').ok_or(())?;
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let prefix: u8 = prefix.parse().map_err(|_| ())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= longest)
            .then_some(Self { address, prefix })
            .ok_or(())
    }
}

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
    fn parse(text: &str) -> Self {
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
    /// Commands before.
    pub pre_up: Vec<String>,
    /// Commands after.
    pub post_up: Vec<String>,
}

impl Setup {
    /// True when the DHCP client looks after the link.
    #[must_use]
    pub fn uses_dhcp(&self) -> bool {
        self.dhcp == Some(true) || self.ipv4ll
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
    /// What cannot be done as configured, for people.
    pub complaints: Vec<String>,
}

impl Desired {
    /// Reads `rancher.network`.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let mut desired = Self::default();
        for (name, interface) in &config.rancher.network.interfaces {
            let matcher = Matcher::parse(interface.matches.as_deref().unwrap_or(name));
            let setup = setup(name, interface, &mut desired.complaints);
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

    /// The setup of a link: the best fitting rule's, the first of equals.
    #[must_use]
    pub fn setup_of(&self, name: &str, mac: &str) -> Option<&Setup> {
        let mut best: Option<(usize, &Setup)> = None;
        for rule in &self.rules {
            if let Some(fit) = rule.matcher.fit(name, mac)
                && best.is_none_or(|(other, _)| fit > other)
            {
                best = Some((fit, &rule.setup));
            }
        }
        best.map(|(_, setup)| setup)
    }

    /// Static links that a name or a MAC asks for and that are not there (yet).
    #[must_use]
    pub fn missing(&self, observed: &Observed) -> Vec<String> {
        self.rules
            .iter()
            .filter(|rule| !rule.setup.addresses.is_empty())
            .filter(|rule| !matches!(rule.matcher, Matcher::Glob(_)))
            .filter(|rule| {
                !observed
                    .links
                    .iter()
                    .any(|link| rule.matcher.fit(&link.name, &link.mac).is_some())
            })
            .map(|rule| rule.matcher.to_string())
            .collect()
    }
}

fn setup(name: &str, interface: &Interface, complaints: &mut Vec<String>) -> Setup {
    let mut complain = |text: String| complaints.push(format!("interfaces.{name}: {text}"));
    let mut addresses = Vec::new();
    for text in interface.address.iter().chain(&interface.addresses) {
        match text.parse::<Cidr>() {
            Ok(cidr) if addresses.contains(&cidr) => {}
            Ok(cidr) => addresses.push(cidr),
            Err(()) => complain(format!(
                "`{text}` is not an address with prefix length, such as 192.168.1.5/24; ignored"
            )),
        }
    }
    let mut gateways = Vec::new();
    for text in interface.gateway.iter().chain(&interface.gateway_ipv6) {
        match text.parse::<IpAddr>() {
            Ok(gateway) => gateways.push(gateway),
            Err(_) => complain(format!("gateway `{text}` is not an address; ignored")),
        }
    }
    Setup {
        dhcp: interface.dhcp,
        dhcp_args: interface.dhcp_args.clone(),
        addresses,
        gateways,
        mtu: (interface.mtu > 0).then_some(interface.mtu),
        ipv4ll: interface.ipv4ll,
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
                .setup_of(name, mac)
                .map(|setup| setup.addresses[0].to_string())
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
        assert!(desired.setup_of("lo", "").is_none());
        assert!(desired.setup_of("veth12", "").is_none());
        assert!(desired.setup_of("docker0", "").is_some());
    }

    #[test]
    fn nothing_configured_means_dhcp_on_ethernet() {
        let desired = Desired::of(&Config::default());
        assert_eq!(desired.setup_of("eth3", "").unwrap().dhcp, Some(true));
        assert!(desired.setup_of("wlan0", "").is_none());
    }

    #[test]
    fn what_cannot_be_done_is_said() {
        let found = desired(&[("eth0", "10.0.0.1")]);
        assert_eq!(
            found.complaints,
            [
                "interfaces.eth0: `10.0.0.1` is not an address with prefix length, such as 192.168.1.5/24; ignored"
            ]
        );
    }

    #[test]
    fn networks_contain_their_addresses() {
        let cidr: Cidr = "10.1.2.3/24".parse().unwrap();
        assert!(cidr.contains("10.1.2.254".parse().unwrap()));
        assert!(!cidr.contains("10.1.3.1".parse().unwrap()));
        let host: Cidr = "10.1.2.3/32".parse().unwrap();
        assert!(!host.contains("10.1.2.1".parse().unwrap()));
        let all: Cidr = "10.1.2.3/0".parse().unwrap();
        assert!(all.contains("1.1.1.1".parse().unwrap()));
        let six: Cidr = "fd00::1/64".parse().unwrap();
        assert!(six.contains("fd00::ffff".parse().unwrap()));
        assert!(!six.contains("fd01::1".parse().unwrap()));
        assert_eq!("10.0.0.1/33".parse::<Cidr>(), Err(()));
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
