//! What the keys of bonds, bridges and VLANs may hold, as data. The names of bond options are the kernel's
//! (`Documentation/networking/bonding.rst`). Owns forms only: what keys say of one another is the network service's.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Key;
use super::Schema::{Formatted, OneOf};
use super::formats::Format;
use super::keys::key;

/// The kernel's limit is 16 bytes with the final NUL (`IFNAMSIZ`).
const LONGEST_NAME: usize = 15;
/// The kernel's `BOND_MAX_ARP_TARGETS` and `BOND_MAX_NS_TARGETS`.
const MOST_TARGETS: usize = 16;

pub(super) static LINK_NAME: Format = Format {
    name: "the name of a link",
    advice: "write at most 15 characters without space, `/` and `:`",
    instead: None,
    fits: is_link_name,
};

pub(super) static BRIDGE: Format = Format {
    name: "true, false or the name of a bridge",
    advice: "write true for a bridge, or for its members its name, of at most 15 characters",
    instead: None,
    fits: is_link_name,
};

pub(super) static VLANS: Format = Format {
    name: "a list of VLANs",
    advice: "write it like \"100,200:name\": numbers from 1 to 4094, names of at most 15 characters",
    instead: None,
    fits: |text| text.split(',').all(is_vlan),
};

static NUMBER: Format = Format {
    name: "a number",
    advice: "write a whole number from 0 to 2147483647",
    instead: None,
    fits: |text| text.parse::<i32>().is_ok_and(|number| number >= 0),
};

static SMALL_NUMBER: Format = Format {
    name: "a small number",
    advice: "write a whole number from 0 to 255",
    instead: None,
    fits: |text| text.parse::<u8>().is_ok(),
};

static SHORT_NUMBER: Format = Format {
    name: "a number of this option",
    advice: "write a whole number from 0 to 65535",
    instead: None,
    fits: |text| text.parse::<u16>().is_ok(),
};

static PORT_KEY: Format = Format {
    name: "a port key",
    advice: "write a whole number from 0 to 1023",
    instead: None,
    fits: |text| text.parse::<u16>().is_ok_and(|number| number < 1024),
};

static IPV4_TARGETS: Format = Format {
    name: "a list of IPv4 addresses",
    advice: "write it like \"192.168.1.1,192.168.1.2\", at most 16",
    instead: None,
    fits: |text| are_targets(text, |one| one.parse::<Ipv4Addr>().is_ok()),
};

static IPV6_TARGETS: Format = Format {
    name: "a list of IPv6 addresses",
    advice: "write it like \"fd00::1,fd00::2\", at most 16",
    instead: None,
    fits: |text| are_targets(text, |one| one.parse::<Ipv6Addr>().is_ok()),
};

static MAC: Format = Format {
    name: "a hardware address",
    advice: "write it like 02:00:00:00:00:01",
    instead: None,
    fits: |text| {
        let parts: Vec<&str> = text.split(':').collect();
        let byte = |part: &&str| part.len() == 2 && u8::from_str_radix(part, 16).is_ok();
        parts.len() == 6 && parts.iter().all(byte)
    },
};

const MODES: [&str; 14] = [
    "balance-rr",
    "active-backup",
    "balance-xor",
    "broadcast",
    "802.3ad",
    "balance-tlb",
    "balance-alb",
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
];
const FLAGS: [&str; 8] = ["0", "1", "off", "on", "false", "true", "no", "yes"];
const HASHES: [&str; 12] = [
    "layer2",
    "layer3+4",
    "layer2+3",
    "encap2+3",
    "encap3+4",
    "vlan+srcmac",
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
];
const VALIDATE: [&str; 14] = [
    "none",
    "active",
    "backup",
    "all",
    "filter",
    "filter_active",
    "filter_backup",
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
];

/// Keys of `bond_opts`. All are texts, for the file's words are kept.
pub(super) static BOND_OPTIONS: &[Key] = &[
    key("mode", OneOf(&MODES)),
    key("miimon", Formatted(&NUMBER)),
    key("updelay", Formatted(&NUMBER)),
    key("downdelay", Formatted(&NUMBER)),
    key("peer_notif_delay", Formatted(&NUMBER)),
    key("use_carrier", OneOf(&FLAGS)),
    key("arp_interval", Formatted(&NUMBER)),
    key("arp_ip_target", Formatted(&IPV4_TARGETS)),
    key("ns_ip6_target", Formatted(&IPV6_TARGETS)),
    key("arp_validate", OneOf(&VALIDATE)),
    key("arp_all_targets", OneOf(&["any", "all", "0", "1"])),
    key("arp_missed_max", Formatted(&SMALL_NUMBER)),
    key("primary", Formatted(&LINK_NAME)),
    key(
        "primary_reselect",
        OneOf(&["always", "better", "failure", "0", "1", "2"]),
    ),
    key(
        "fail_over_mac",
        OneOf(&["none", "active", "follow", "0", "1", "2"]),
    ),
    key("xmit_hash_policy", OneOf(&HASHES)),
    key("resend_igmp", Formatted(&SMALL_NUMBER)),
    key("num_grat_arp", Formatted(&SMALL_NUMBER)),
    key("num_unsol_na", Formatted(&SMALL_NUMBER)),
    key("all_slaves_active", OneOf(&FLAGS)),
    key("min_links", Formatted(&NUMBER)),
    key("lp_interval", Formatted(&NUMBER)),
    key("packets_per_slave", Formatted(&SHORT_NUMBER)),
    key("lacp_rate", OneOf(&["slow", "fast", "0", "1"])),
    key("lacp_active", OneOf(&FLAGS)),
    key(
        "ad_select",
        OneOf(&["stable", "bandwidth", "count", "0", "1", "2"]),
    ),
    key("ad_actor_sys_prio", Formatted(&SHORT_NUMBER)),
    key("ad_user_port_key", Formatted(&PORT_KEY)),
    key("ad_actor_system", Formatted(&MAC)),
    key("tlb_dynamic_lb", OneOf(&FLAGS)),
];

/// As the kernel's `dev_valid_name` has it.
fn is_link_name(text: &str) -> bool {
    (1..=LONGEST_NAME).contains(&text.len())
        && !matches!(text, "." | "..")
        && !text.contains(|c: char| matches!(c, '/' | ':') || c.is_whitespace())
}

/// `100` or `100:name`.
fn is_vlan(text: &str) -> bool {
    let (id, name) = match text.split_once(':') {
        Some((id, name)) => (id, Some(name.trim())),
        None => (text, None),
    };
    let is_id = id
        .trim()
        .parse::<u16>()
        .is_ok_and(|id| (1..=4094).contains(&id));
    is_id && name.is_none_or(is_link_name)
}

fn are_targets(text: &str, is_address: impl Fn(&str) -> bool) -> bool {
    text.split(',').count() <= MOST_TARGETS && text.split(',').all(|one| is_address(one.trim()))
}
