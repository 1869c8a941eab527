//! Whether the others are told an address for this host that it has no more: after a DHCP server has given it another one. Owns no address
//! and changes none: what it finds is reported, and the server decides.

use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};

use api::Id;

use crate::Catalog;

/// An address that this host has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// What the others are told.
    pub told: IpAddr,
    /// Where it speaks to the server from.
    pub now: IpAddr,
}

/// Compares what the others are told of `host` with what it has. As long as it still has that address nothing is to be changed, whichever
/// one it speaks to a server from: a host with several addresses keeps the one it was told with.
#[must_use]
pub fn moved(
    catalog: &Catalog,
    host: &Id,
    from: Option<IpAddr>,
    is_own: impl Fn(IpAddr) -> bool,
) -> Option<Moved> {
    let told = catalog.hosts.get(host)?.address?;
    let now = from.filter(|from| reaches_far(*from))?;
    (told != now && !is_own(told)).then_some(Moved { told, now })
}

/// Whether this host has the address. Where the kernel lets programs use addresses that it has not (`ip_nonlocal_bind`), it has all.
#[must_use]
pub fn is_own(address: IpAddr) -> bool {
    let bound = UdpSocket::bind((address, 0));
    !matches!(bound, Err(error) if error.kind() == ErrorKind::AddrNotAvailable)
}

/// A server on the same machine is spoken to from an address that means nothing to others.
fn reaches_far(address: IpAddr) -> bool {
    let is_of_link = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !address.is_loopback() && !address.is_unspecified() && !is_of_link
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::agent::{Fact, Frame, HostFact};
    use api::host::HostState;

    fn catalog(host: &Id, address: Option<&str>) -> Catalog {
        let mut catalog = Catalog::default();
        let fact = HostFact {
            id: host.clone(),
            name: "a".into(),
            hostname: String::new(),
            address: address.map(|address| address.parse().unwrap()),
            block: None,
            public_key: None,
            labels: Default::default(),
            state: HostState::Connected,
        };
        let whole = Frame::Whole {
            store: "s".into(),
            revision: 1,
            facts: vec![Fact::Host(fact)],
        };
        catalog.take(whole).unwrap();
        catalog
    }

    #[test]
    fn only_who_has_left_its_address_has_moved() {
        let (host, none) = (Id::from_bits("h", 1), |_| false);
        let known = catalog(&host, Some("10.0.0.5"));
        let at = |address: &str| Some(address.parse().unwrap());
        let expected = Moved {
            told: "10.0.0.5".parse().unwrap(),
            now: "10.0.0.9".parse().unwrap(),
        };
        assert_eq!(moved(&known, &host, at("10.0.0.9"), none), Some(expected));
        // It speaks from another one of its addresses, and has the first one still.
        let both = |address| address == expected.told || address == expected.now;
        assert_eq!(moved(&known, &host, at("10.0.0.9"), both), None);
        // From where nobody else reaches it.
        for near in ["127.0.0.1", "169.254.1.1", "fe80::1", "::1"] {
            assert_eq!(moved(&known, &host, at(near), none), None, "{near}");
        }
        // Nothing is known.
        assert_eq!(moved(&known, &host, None, none), None);
        assert_eq!(moved(&known, &host, at("10.0.0.5"), none), None);
        assert_eq!(
            moved(&catalog(&host, None), &host, at("10.0.0.9"), none),
            None
        );
        assert_eq!(
            moved(&Catalog::default(), &host, at("10.0.0.9"), none),
            None
        );
    }

    #[test]
    fn the_kernel_knows_what_is_own() {
        assert!(is_own("127.0.0.1".parse().unwrap()));
        // Of a network for examples (RFC 5737).
        assert!(!is_own("192.0.2.1".parse().unwrap()));
    }
}
