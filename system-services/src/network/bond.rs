//! A bond's mode and options: the words of the configuration as the kernel's numbers, and which fit together. Pure.
//!
//! Owns the table of options (`Documentation/networking/bonding.rst`, drivers/net/bonding/bond_options.c).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use netlink_packet_route::link::{BondAllPortActive, BondMode, InfoBond};
use os_config::types::Ordered;

/// Milliseconds between looks at a member's carrier where nothing is said: with the kernel's default, never, a bond keeps using a dead link.
const MIIMON: u32 = 100;

/// One option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BondOption {
    /// Its name and value, for people: `miimon 100`.
    pub text: String,
    /// For the kernel.
    pub value: InfoBond,
}

impl fmt::Display for BondOption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// A bond as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bond {
    /// How it spreads packets over its members.
    pub mode: BondMode,
    /// All but the mode and the primary, those first that others rest on.
    pub options: Vec<BondOption>,
    /// The member that is used while it works.
    pub primary: Option<String>,
}

impl Default for Bond {
    fn default() -> Self {
        Self::of(&Ordered::default(), &mut |_, _| {})
    }
}

impl Bond {
    /// Reads `bond_opts`; `complain` is told the option and what is wrong with it.
    #[must_use]
    pub fn of(options: &Ordered<String>, complain: &mut dyn FnMut(&str, &str)) -> Self {
        let mode = match options.get("mode").map(|text| text.parse()) {
            None => BondMode::BalanceRr,
            Some(Ok(mode)) => mode,
            Some(Err(_)) => {
                complain("mode", "is no mode of bonds; balance-rr is taken");
                BondMode::BalanceRr
            }
        };
        let mut bond = Self {
            mode,
            options: Vec::new(),
            primary: None,
        };
        for (name, text) in options.iter().filter(|(name, _)| *name != "mode") {
            if !fits(name, mode) {
                complain(name, &format!("has no effect in mode {mode}; ignored"));
            } else if name == "primary" {
                bond.primary = Some(text.clone());
            } else if let Some(value) = value(name, text) {
                let text = format!("{name} {text}");
                bond.options.push(BondOption { text, value });
            } else {
                complain(
                    name,
                    "is not an option of bonds, or its value is wrong; ignored",
                );
            }
        }
        bond.watch_members();
        bond
    }

    /// Without a watch no failure of a member is seen. Delays are multiples of `miimon`, so it goes first.
    fn watch_members(&mut self) {
        let watches = |option: &BondOption| {
            matches!(option.value, InfoBond::MiiMon(_) | InfoBond::ArpInterval(_))
        };
        if !self.options.iter().any(watches) {
            self.options.push(BondOption {
                text: format!("miimon {MIIMON}"),
                value: InfoBond::MiiMon(MIIMON),
            });
        }
        self.options.sort_by_key(|option| !watches(option));
    }

    /// The options that differ from what the kernel has.
    pub fn differing<'a>(
        &'a self,
        present: &'a [InfoBond],
    ) -> impl Iterator<Item = &'a BondOption> {
        self.options
            .iter()
            .filter(|option| !present.contains(&option.value))
    }

    /// What can only be had by making the bond again: the kernel takes it without members, or while the bond is down, only.
    #[must_use]
    pub fn rebuild_for(&self, present: &[InfoBond]) -> Option<String> {
        if !present.contains(&InfoBond::Mode(self.mode)) {
            return Some(format!("mode {}", self.mode));
        }
        self.differing(present)
            .find(|option| {
                matches!(
                    option.value,
                    InfoBond::FailOverMac(_)
                        | InfoBond::AdLacpRate(_)
                        | InfoBond::AdLacpActive(_)
                        | InfoBond::AdSelect(_)
                        | InfoBond::AdUserPortKey(_)
                        | InfoBond::TlbDynamicLb(_)
                )
            })
            .map(ToString::to_string)
    }
}

/// Whether the kernel takes option `name` in `mode`.
fn fits(name: &str, mode: BondMode) -> bool {
    use BondMode::{ActiveBackup, BalanceAlb, BalanceRr, BalanceTlb, Ieee8023Ad};
    match name {
        "lacp_rate" | "lacp_active" | "ad_actor_sys_prio" | "ad_user_port_key"
        | "ad_actor_system" => mode == Ieee8023Ad,
        "packets_per_slave" => mode == BalanceRr,
        "tlb_dynamic_lb" => matches!(mode, BalanceTlb | BalanceAlb),
        "arp_interval" | "arp_validate" | "arp_missed_max" => {
            !matches!(mode, Ieee8023Ad | BalanceTlb | BalanceAlb)
        }
        "primary" => matches!(mode, ActiveBackup | BalanceTlb | BalanceAlb),
        _ => true,
    }
}

fn value(name: &str, text: &str) -> Option<InfoBond> {
    fn read<T: FromStr>(text: &str) -> Option<T> {
        text.parse().ok()
    }
    let text = text.trim();
    Some(match name {
        "miimon" => InfoBond::MiiMon(read(text)?),
        "updelay" => InfoBond::UpDelay(read(text)?),
        "downdelay" => InfoBond::DownDelay(read(text)?),
        "peer_notif_delay" => InfoBond::PeerNotifDelay(read(text)?),
        "use_carrier" => InfoBond::UseCarrier(flag(text)?),
        "arp_interval" => InfoBond::ArpInterval(read(text)?),
        "arp_ip_target" => InfoBond::ArpIpTarget(list::<Ipv4Addr>(text)?),
        "ns_ip6_target" => InfoBond::NsIp6Target(list::<Ipv6Addr>(text)?),
        "arp_validate" => InfoBond::ArpValidate(read(text)?),
        "arp_all_targets" => InfoBond::ArpAllTargets(read(text)?),
        "arp_missed_max" => InfoBond::MissedMax(read(text)?),
        "primary_reselect" => InfoBond::PrimaryReselect(read(text)?),
        "fail_over_mac" => InfoBond::FailOverMac(read(text)?),
        "xmit_hash_policy" => InfoBond::XmitHashPolicy(read(text)?),
        "resend_igmp" => InfoBond::ResendIgmp(read(text)?),
        "num_grat_arp" | "num_unsol_na" => InfoBond::NumPeerNotif(read(text)?),
        "all_slaves_active" => InfoBond::AllPortsActive(if flag(text)? {
            BondAllPortActive::Delivered
        } else {
            BondAllPortActive::Dropped
        }),
        "min_links" => InfoBond::MinLinks(read(text)?),
        "lp_interval" => InfoBond::LpInterval(read(text)?),
        "packets_per_slave" => InfoBond::PacketsPerPort(read(text)?),
        "lacp_rate" => InfoBond::AdLacpRate(read(text)?),
        "lacp_active" => InfoBond::AdLacpActive(flag(text)?),
        "ad_select" => InfoBond::AdSelect(read(text)?),
        "ad_actor_sys_prio" => InfoBond::AdActorSysPrio(read(text)?),
        "ad_user_port_key" => InfoBond::AdUserPortKey(read(text)?),
        "ad_actor_system" => InfoBond::AdActorSystem(mac(text)?),
        "tlb_dynamic_lb" => InfoBond::TlbDynamicLb(flag(text)?),
        _ => return None,
    })
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "1" | "on" | "true" | "yes" => Some(true),
        "0" | "off" | "false" | "no" => Some(false),
        _ => None,
    }
}

fn list<T: FromStr>(text: &str) -> Option<Vec<T>> {
    text.split(',').map(|one| one.trim().parse().ok()).collect()
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).ok())
        .collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bond(options: &[(&str, &str)]) -> (Bond, Vec<String>) {
        let options: Ordered<String> = options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut complaints = Vec::new();
        let bond = Bond::of(&options, &mut |name, what| {
            complaints.push(format!("{name} {what}"));
        });
        (bond, complaints)
    }

    fn texts(bond: &Bond) -> Vec<&str> {
        bond.options
            .iter()
            .map(|option| option.text.as_str())
            .collect()
    }

    #[test]
    fn every_mode_by_name_and_number() {
        let modes = [
            "balance-rr",
            "active-backup",
            "balance-xor",
            "broadcast",
            "802.3ad",
            "balance-tlb",
            "balance-alb",
        ];
        for (number, name) in modes.into_iter().enumerate() {
            let (by_name, complaints) = bond(&[("mode", name)]);
            assert_eq!(by_name.mode.to_string(), name);
            assert_eq!(by_name, bond(&[("mode", &number.to_string())]).0);
            assert!(complaints.is_empty());
        }
    }

    #[test]
    fn every_option_that_the_schema_knows_is_understood() {
        let values = [
            ("miimon", "100"),
            ("updelay", "200"),
            ("downdelay", "200"),
            ("peer_notif_delay", "100"),
            ("use_carrier", "1"),
            ("arp_interval", "0"),
            ("arp_ip_target", "10.0.0.1, 10.0.0.2"),
            ("ns_ip6_target", "fd00::1"),
            ("arp_validate", "all"),
            ("arp_all_targets", "any"),
            ("arp_missed_max", "2"),
            ("primary_reselect", "better"),
            ("fail_over_mac", "active"),
            ("xmit_hash_policy", "layer3+4"),
            ("resend_igmp", "1"),
            ("num_grat_arp", "2"),
            ("num_unsol_na", "2"),
            ("all_slaves_active", "on"),
            ("min_links", "1"),
            ("lp_interval", "1"),
            ("packets_per_slave", "2"),
            ("lacp_rate", "fast"),
            ("lacp_active", "on"),
            ("ad_select", "bandwidth"),
            ("ad_actor_sys_prio", "65535"),
            ("ad_user_port_key", "1"),
            ("ad_actor_system", "02:00:00:00:00:01"),
            ("tlb_dynamic_lb", "0"),
        ];
        for (name, text) in values {
            assert!(value(name, text).is_some(), "{name}");
        }
        let schema = ["mode", "primary"]
            .into_iter()
            .chain(values.map(|(name, _)| name));
        for name in schema {
            let key = format!("rancher.network.interfaces.bond0.bond_opts.{name}");
            assert!(os_config::schema::unknown(&key).is_none(), "{key}");
        }
    }

    #[test]
    fn members_are_watched_before_anything_else() {
        assert_eq!(texts(&bond(&[]).0), ["miimon 100"]);
        let (found, _) = bond(&[("updelay", "200"), ("miimon", "50")]);
        assert_eq!(texts(&found), ["miimon 50", "updelay 200"]);
        let (found, _) = bond(&[("arp_ip_target", "10.0.0.1"), ("arp_interval", "1000")]);
        assert_eq!(
            texts(&found),
            ["arp_interval 1000", "arp_ip_target 10.0.0.1"]
        );
    }

    #[test]
    fn what_does_not_fit_the_mode_is_left_out_and_named() {
        let (found, complaints) = bond(&[
            ("mode", "active-backup"),
            ("lacp_rate", "fast"),
            ("primary", "eth1"),
            ("miimon", "soon"),
        ]);
        assert_eq!(found.primary.as_deref(), Some("eth1"));
        assert_eq!(texts(&found), ["miimon 100"]);
        assert_eq!(
            complaints,
            [
                "lacp_rate has no effect in mode active-backup; ignored",
                "miimon is not an option of bonds, or its value is wrong; ignored"
            ]
        );
    }

    #[test]
    fn a_bond_is_made_again_only_for_what_cannot_be_changed() {
        let (found, _) = bond(&[
            ("mode", "802.3ad"),
            ("lacp_rate", "fast"),
            ("min_links", "2"),
        ]);
        let mut present = vec![InfoBond::Mode(BondMode::Ieee8023Ad), InfoBond::MiiMon(100)];
        assert_eq!(
            found.rebuild_for(&present).as_deref(),
            Some("lacp_rate fast")
        );
        present.extend(value("lacp_rate", "1"));
        assert_eq!(found.rebuild_for(&present), None);
        let left: Vec<_> = found.differing(&present).map(ToString::to_string).collect();
        assert_eq!(left, ["min_links 2"]);
        present[0] = InfoBond::Mode(BondMode::Broadcast);
        assert_eq!(found.rebuild_for(&present).as_deref(), Some("mode 802.3ad"));
    }
}
