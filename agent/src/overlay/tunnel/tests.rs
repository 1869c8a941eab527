//! What is sent to WireGuard, and when a host that has roamed is called back.

use super::*;
use netlink_packet_core::{Emitable, NetlinkMessage, NetlinkSerializable, ParseableParametrized};
use netlink_packet_generic::{GenlHeader, GenlMessage};

fn peer(endpoint: &str, allowed: &[&str]) -> Peer {
    Peer {
        endpoint: Some(endpoint.parse().unwrap()),
        allowed: allowed.iter().map(|net| net.parse().unwrap()).collect(),
        keepalive: KEEPALIVE,
        silent: Some(10),
    }
}

fn tunnel(peers: &[(u8, Peer)]) -> Tunnel {
    Tunnel {
        public: [9; 32],
        port: 51_820,
        peers: peers
            .iter()
            .map(|(key, peer)| ([*key; 32], peer.clone()))
            .collect(),
    }
}

#[test]
fn only_what_differs_is_sent() {
    let one = peer("192.0.2.1:51820", &["10.42.1.0/24"]);
    let two = peer("[2001:db8::2]:51820", &["10.42.2.0/24", "10.42.9.9/32"]);
    let wanted = tunnel(&[(1, one.clone()), (2, two.clone())]);
    assert_eq!(change(&wanted, &wanted, &BTreeMap::new()), None);
    let is = tunnel(&[(1, one.clone()), (3, two.clone())]);
    let found = change(&wanted, &is, &BTreeMap::new()).unwrap();
    assert_eq!(found.remove, [[3; 32]]);
    assert_eq!(found.set, BTreeMap::from([([2; 32], two)]));
    assert_eq!((found.key, found.port), (false, None));
    // An empty link is given everything.
    let found = change(&wanted, &Tunnel::default(), &BTreeMap::new()).unwrap();
    assert!(
        found.key && found.port == Some(51_820) && found.set.len() == 2 && found.greet.is_empty()
    );
}

#[test]
fn a_host_that_has_roamed_is_left_there() {
    let said: SocketAddr = "192.0.2.1:51820".parse().unwrap();
    let wanted = tunnel(&[(1, peer("192.0.2.1:51820", &["10.42.1.0/24"]))]);
    let roamed = peer("203.0.113.7:40000", &["10.42.1.0/24"]);
    let told = BTreeMap::from([([1; 32], said)]);
    assert_eq!(
        change(&wanted, &tunnel(&[(1, roamed.clone())]), &told),
        None
    );
    // So does an agent that has just started.
    assert_eq!(
        change(&wanted, &tunnel(&[(1, roamed.clone())]), &BTreeMap::new()),
        None
    );
    // It is said to be elsewhere now.
    let before = BTreeMap::from([([1; 32], "192.0.2.99:51820".parse().unwrap())]);
    let found = change(&wanted, &tunnel(&[(1, roamed.clone())]), &before).unwrap();
    assert_eq!(found.set[&[1; 32]].endpoint, Some(said));
    // It is not heard of any more.
    let silent = Peer {
        silent: Some(600),
        ..roamed.clone()
    };
    let found = change(&wanted, &tunnel(&[(1, silent)]), &told).unwrap();
    assert_eq!(found.set[&[1; 32]].endpoint, Some(said));
    // Other addresses behind it are no reason to call it back.
    let wanted = tunnel(&[(
        1,
        peer("192.0.2.1:51820", &["10.42.1.0/24", "10.42.7.7/32"]),
    )]);
    let found = change(&wanted, &tunnel(&[(1, roamed)]), &told).unwrap();
    assert_eq!(found.set[&[1; 32]].endpoint, None);
    assert_eq!(found.set[&[1; 32]].allowed.len(), 2);
}

#[test]
fn a_new_key_is_greeted_with_at_once() {
    let is = tunnel(&[(1, peer("192.0.2.1:51820", &["10.42.1.0/24"]))]);
    let wanted = Tunnel {
        public: [8; 32],
        ..is.clone()
    };
    let found = change(&wanted, &is, &BTreeMap::new()).unwrap();
    let messages = messages(&found, &[7; 32]);
    assert_eq!(messages.len(), 3);
    assert!(
        messages[0]
            .attributes
            .contains(&WireguardAttribute::PrivateKey([7; 32]))
    );
    for (message, seconds) in messages[1..].iter().zip([0, KEEPALIVE]) {
        let peer = WireguardPeer(vec![
            public(&[1; 32]),
            WireguardPeerAttribute::PersistentKeepalive(seconds),
        ]);
        assert!(
            message
                .attributes
                .contains(&WireguardAttribute::Peers(vec![peer])),
            "{message:?}"
        );
    }
}

#[test]
fn messages_fit_and_say_the_same_when_read_back() {
    let many: Vec<String> = (0..3000u32)
        .map(|at| format!("10.42.{}.{}/32", at / 250, at % 250))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut wanted = tunnel(&[(1, peer("192.0.2.1:51820", &many))]);
    for at in 0..500u16 {
        let [high, low] = at.to_be_bytes();
        let mut key = [200; 32];
        (key[0], key[1]) = (high, low);
        let allowed = format!("10.43.{high}.{low}/32");
        wanted
            .peers
            .insert(key, peer("[2001:db8::1]:51820", &[&allowed]));
    }
    let found = change(&wanted, &Tunnel::default(), &BTreeMap::new()).unwrap();
    let mut read = Tunnel {
        public: [9; 32],
        ..Tunnel::default()
    };
    for message in messages(&found, &[7; 32]) {
        let mut sent = NetlinkMessage::from(GenlMessage::from_payload(message.clone()));
        sent.finalize();
        assert!(sent.header.length < 40_000, "{} bytes", sent.header.length);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        let header = GenlHeader {
            cmd: message.cmd.into(),
            version: 1,
        };
        let back = WireguardMessage::parse_with_param(&bytes, header).unwrap();
        assert_eq!(back, message);
        take(&mut read, &back, 0);
    }
    for peer in wanted.peers.values_mut() {
        // Nothing was shaken hands with.
        peer.silent = None;
    }
    assert_eq!(read, wanted);
}

#[test]
fn the_bytes_are_those_of_the_kernel_interface() {
    let found = change(
        &tunnel(&[(1, peer("192.0.2.1:51820", &["10.42.1.0/24"]))]),
        &Tunnel {
            public: [9; 32],
            port: 51_820,
            ..Tunnel::default()
        },
        &BTreeMap::new(),
    );
    let messages = messages(&found.unwrap(), &[7; 32]);
    let message = GenlMessage::from_payload(messages[0].clone());
    let mut bytes = vec![0; NetlinkSerializable::buffer_len(&message)];
    NetlinkSerializable::serialize(&message, &mut bytes);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = [
        "01010000", // WG_CMD_SET_DEVICE, version 1
        "0b000200",
        "726f732d776700",
        "00", // IFNAME "ros-wg"
        "70000880",
        "6c000080", // PEERS, one
        "24000100",
        &"01".repeat(32), // PUBLIC_KEY
        "08000300",
        "02000000", // FLAGS: REPLACE_ALLOWEDIPS
        "14000400",
        "0200ca6cc0000201",
        "0000000000000000", // ENDPOINT 192.0.2.1:51820
        "06000500",
        "1900",
        "0000", // PERSISTENT_KEEPALIVE_INTERVAL 25
        "20000980",
        "1c000080", // ALLOWEDIPS, one
        "06000100",
        "0200",
        "0000", // FAMILY AF_INET
        "08000200",
        "0a2a0100", // IPADDR 10.42.1.0
        "05000300",
        "18",
        "000000", // CIDR_MASK 24
    ];
    assert_eq!(hex, expected.concat());
}
