//! Texts with a form: what they are called, what they must look like, what to write. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The form of a text. Empty text always fits: it means "not set".
#[derive(Debug)]
pub struct Format {
    /// "… is not" this.
    pub(super) name: &'static str,
    /// What to write.
    pub(super) advice: &'static str,
    /// What a wrong text is replaced by; `None`: the value is not used.
    pub(super) instead: Option<&'static str>,
    pub(super) fits: fn(&str) -> bool,
}

/// Linux allows 64 bytes (`sethostname(2)`); the characters are those of RFC 1123, and `_`, which is common.
pub(super) static HOST_NAME: Format = Format {
    name: "a host name",
    advice: "write at most 64 letters, digits, `-` and `.`",
    instead: None,
    fits: is_host_name,
};

/// A wrong mode must not make a secret readable to all: the strictest common one is taken.
pub(super) static MODE: Format = Format {
    name: "a file mode",
    advice: "write octal digits in quotes, such as \"0644\"; the file gets 0600",
    instead: Some("0600"),
    fits: |text| {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        (3..=5).contains(&digits.len()) && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte))
    },
};

pub(super) static CIDR: Format = Format {
    name: "an address with prefix length",
    advice: "write it like 192.168.1.5/24 or fd00::5/64",
    instead: None,
    fits: |text| {
        let Some((address, prefix)) = text.trim().split_once('/') else {
            return false;
        };
        let longest = match address.parse() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        prefix.parse::<u8>().is_ok_and(|prefix| prefix <= longest)
    },
};

pub(super) static ADDRESS: Format = Format {
    name: "an IP address",
    advice: "write it like 192.168.1.1 or fd00::1",
    instead: None,
    fits: |text| {
        text.trim()
            .split('%')
            .next()
            .is_some_and(|address| address.parse::<IpAddr>().is_ok())
    },
};

pub(super) static IPV4: Format = Format {
    name: "an IPv4 address",
    advice: "write it like 192.168.1.1",
    instead: None,
    fits: |text| text.trim().parse::<Ipv4Addr>().is_ok(),
};

pub(super) static IPV6: Format = Format {
    name: "an IPv6 address",
    advice: "write it like fd00::1",
    instead: None,
    fits: |text| {
        text.trim()
            .split('%')
            .next()
            .is_some_and(|address| address.parse::<Ipv6Addr>().is_ok())
    },
};

/// A label of RFC 1123: it becomes a part of names in the cluster.
pub(super) static CLUSTER_NAME: Format = Format {
    name: "a name in a cluster",
    advice: "write at most 63 letters a-z, digits and `-`, the first and last no `-`",
    instead: None,
    fits: |text| {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_short = text.len() <= 63;
        is_short && text.bytes().all(letter) && !text.starts_with('-') && !text.ends_with('-')
    },
};

pub(super) static SERVER_URL: Format = Format {
    name: "the address of a server",
    advice: "write it like https://10.0.0.5 or https://cluster.example.com:6440",
    instead: None,
    fits: |text| {
        text.trim()
            .strip_prefix("https://")
            .is_some_and(is_host_with_port)
    },
};

pub(super) static LISTEN: Format = Format {
    name: "an address with port",
    advice: "write it like 10.0.0.5:6440 or \"[::]:6440\"",
    instead: None,
    fits: |text| text.trim().parse::<SocketAddr>().is_ok(),
};

/// `host`, `host:port`, `[fd00::1]` or `[fd00::1]:port`, perhaps with a slash after it.
fn is_host_with_port(text: &str) -> bool {
    let text = text.strip_suffix('/').unwrap_or(text);
    let (is_host, port) = if let Some(rest) = text.strip_prefix('[') {
        let Some((host, port)) = rest.split_once(']') else {
            return false;
        };
        (host.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        let at = text.find(':').unwrap_or(text.len());
        let (host, port) = text.split_at(at);
        (is_host_name(host), port)
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// True for a name that the kernel takes and that is one word in `/etc/hosts`.
pub(crate) fn is_host_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=64).contains(&text.len()) && text.bytes().all(letter) && !text.starts_with(['-', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let cases: [(&Format, &[&str], &[&str]); 8] = [
            (
                &HOST_NAME,
                &["a", "web-1.example.com", "a_b"],
                &["a b", "-a", "a/b", "a\nb", "ä", &"a".repeat(65)],
            ),
            (
                &MODE,
                &["0644", "644", "0o600", "01777"],
                &["8", "rw", "0x1", "0888", "000000"],
            ),
            (
                &CIDR,
                &["10.0.0.1/24", "fe80::1/64", "0.0.0.0/0"],
                &["10.0.0.1", "10.0.0.1/33", "10.0.0.300/24", "x/1", "::1/129"],
            ),
            (
                &ADDRESS,
                &["8.8.8.8", "::1", "fe80::1%eth0"],
                &["8.8.8", "dns.example"],
            ),
            (&IPV4, &["10.0.0.1"], &["::1"]),
            (
                &CLUSTER_NAME,
                &["web-1", "7", &"a".repeat(63)],
                &["Web", "a.b", "-a", "a-", "a_b", &"a".repeat(64)],
            ),
            (
                &SERVER_URL,
                &[
                    "https://10.0.0.5",
                    "https://a.example:6440/",
                    "https://[fd00::1]",
                    "https://[fd00::1]:6440",
                ],
                &[
                    "10.0.0.5",
                    "http://10.0.0.5",
                    "https://",
                    "https://a:0",
                    "https://a:66666",
                    "https://u@a",
                    "https://a/b",
                    "https://fd00::1",
                    "https://[fd00::1",
                    "https://a b",
                ],
            ),
            (
                &LISTEN,
                &["10.0.0.5:6440", "[::]:6440"],
                &["6440", ":6440", "host:6440", "::"],
            ),
        ];
        for (format, good, bad) in cases {
            good.iter()
                .for_each(|text| assert!((format.fits)(text), "{} {text}", format.name));
            bad.iter()
                .for_each(|text| assert!(!(format.fits)(text), "{} {text}", format.name));
        }
    }
}
