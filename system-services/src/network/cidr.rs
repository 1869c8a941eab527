//! An address with the length of its network's prefix. Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
