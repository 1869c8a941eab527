//! The rules as they are loaded, and what changes when some of them are gone.

use super::*;

fn rules(encapsulation: Encapsulation) -> Rules {
    let link = match encapsulation {
        Encapsulation::Wireguard => "ros-wg",
        Encapsulation::Vxlan => "ros-vx",
        Encapsulation::Direct => "eth0",
    };
    Rules {
        subnet: "10.42.0.0/16".parse().unwrap(),
        encapsulation,
        port: encapsulation.usual_port().unwrap_or(0),
        links: BTreeSet::from([link.to_owned()]),
        peers: ["192.0.2.2", "192.0.2.3", "198.51.100.1"]
            .map(|peer| peer.parse().unwrap())
            .into(),
        bridges: BTreeSet::from(["docker0".to_owned(), "ros-br".to_owned()]),
        no_dns: BTreeSet::new(),
        filters: false,
        asked_from_host: BTreeSet::new(),
    }
}

const NAMES: &str = "\
*nat
:ROS-PREROUTING - [0:0]
-A ROS-PREROUTING ! -d 10.42.0.0/16 -i ros-br -p udp -m udp --dport 53 -m recent --rcheck --seconds 25 --name ros-alive --mask 0.0.0.0 --rsource -j DNAT --to-destination 169.254.169.250:53
-A ROS-PREROUTING ! -d 10.42.0.0/16 -i ros-br -p tcp -m tcp --dport 53 -m recent --rcheck --seconds 25 --name ros-alive --mask 0.0.0.0 --rsource -j DNAT --to-destination 169.254.169.250:53
-I PREROUTING 1 -j ROS-PREROUTING
COMMIT
";

const VXLAN: &str = "\
*filter
:ROS-BRIDGES - [0:0]
:ROS-FORWARD - [0:0]
:ROS-INPUT - [0:0]
:ROS-SERVICES - [0:0]
-A ROS-BRIDGES -i docker0 -j ACCEPT
-A ROS-BRIDGES -i ros-br -j ACCEPT
-A ROS-FORWARD -s 10.42.0.0/16 -d 10.42.0.0/16 -i ros-br -o ros-vx -j ACCEPT
-A ROS-FORWARD -s 10.42.0.0/16 -d 10.42.0.0/16 -i ros-vx -o ros-br -j ACCEPT
-A ROS-FORWARD -i ros-vx -j DROP
-A ROS-INPUT -d 169.254.169.250/32 -j ROS-SERVICES
-A ROS-INPUT -s 192.0.2.2/31 -p udp -m udp --dport 4789 -j ACCEPT
-A ROS-INPUT -s 198.51.100.1/32 -p udp -m udp --dport 4789 -j ACCEPT
-A ROS-INPUT -p udp -m udp --dport 4789 -j DROP
-A ROS-SERVICES -i lo -j RETURN
-A ROS-SERVICES -p udp -m udp --dport 53 -j ROS-BRIDGES
-A ROS-SERVICES -p tcp -m tcp --dport 53 -j ROS-BRIDGES
-A ROS-SERVICES -p tcp -m tcp --dport 80 -j ROS-BRIDGES
-A ROS-SERVICES -j DROP
-I INPUT 1 -j ROS-INPUT
-I DOCKER-USER 1 -j ROS-FORWARD
COMMIT
*mangle
:ROS-MSS - [0:0]
-A ROS-MSS -i ros-vx -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-A ROS-MSS -o ros-vx -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-I FORWARD 1 -j ROS-MSS
COMMIT
*nat
:ROS-POSTROUTING - [0:0]
-A ROS-POSTROUTING -s 10.42.0.0/16 ! -d 10.42.0.0/16 ! -o ros-+ -j MASQUERADE
-I POSTROUTING 1 -j ROS-POSTROUTING
COMMIT
";

fn docker() -> Loaded {
    parse("*filter\n:INPUT ACCEPT [0:0]\n:DOCKER-USER - [0:0]\n-A DOCKER-USER -j RETURN\nCOMMIT\n")
}

/// What iptables-save prints after `change` was loaded into nothing but Docker's chains.
fn loaded(chains: &Chains) -> Loaded {
    let mut loaded = docker();
    loaded.chains.clone_from(chains);
    loaded.jumps = jumps(chains, true)
        .into_iter()
        .map(|(table, from, to)| (table.into(), from.into(), format!("-j {to}")))
        .collect();
    loaded
}

#[test]
fn all_rules_of_a_vxlan() {
    let chains = chains(&rules(Encapsulation::Vxlan), Family::V4);
    let text: Vec<String> = parts(&chains, &docker())
        .iter()
        .filter_map(|(chains, loaded)| change(chains, loaded))
        .collect();
    assert_eq!(text, [VXLAN, NAMES]);
    assert_eq!(change(&chains, &loaded(&chains)), None);
}

#[test]
fn saved_rules_are_read_back() {
    let chains = chains(&rules(Encapsulation::Vxlan), Family::V4);
    let saved = format!("{VXLAN}{NAMES}")
        .replace("-I INPUT 1", "-A INPUT")
        .replace("-I DOCKER-USER 1", "-A DOCKER-USER");
    let saved = saved
        .replace("-I FORWARD 1", "-A FORWARD")
        .replace("-I PREROUTING 1", "-A PREROUTING");
    let saved = saved.replace("-I POSTROUTING 1", "-A POSTROUTING");
    let saved = saved.replace("*filter\n", "# a comment\n*filter\n:INPUT DROP [7:9]\n:DOCKER-USER - [0:0]\n-A INPUT -s 192.0.2.66/32 -j DROP\n");
    let loaded = parse(&saved);
    assert!(loaded.docker_user);
    assert_eq!(loaded.chains, chains);
    assert_eq!(change(&chains, &loaded), None);
}

#[test]
fn only_what_is_amiss_is_loaded() {
    let chains = chains(&rules(Encapsulation::Vxlan), Family::V4);
    // Docker was started anew: its chain has lost our jump.
    let mut now = loaded(&chains);
    now.jumps.retain(|(_, from, _)| from != "DOCKER-USER");
    assert_eq!(
        change(&chains, &now).unwrap(),
        "*filter\n-I DOCKER-USER 1 -j ROS-FORWARD\nCOMMIT\n"
    );
    // Docker's chain has come later than we: the jump moves.
    let mut now = loaded(&chains);
    now.jumps[1].1 = "FORWARD".into();
    assert_eq!(
        change(&chains, &now).unwrap(),
        "*filter\n-I DOCKER-USER 1 -j ROS-FORWARD\n-D FORWARD -j ROS-FORWARD\nCOMMIT\n"
    );
    // Twice is once too often.
    let mut now = loaded(&chains);
    now.jumps.push(now.jumps[0].clone());
    assert_eq!(
        change(&chains, &now).unwrap(),
        "*filter\n-D INPUT -j ROS-INPUT\nCOMMIT\n"
    );
    // A rule is gone: its chain is loaded whole, the others are left.
    let mut now = loaded(&chains);
    now.chains
        .get_mut(&("mangle".into(), "ROS-MSS".into()))
        .unwrap()
        .pop();
    let text = change(&chains, &now).unwrap();
    assert!(
        text.starts_with("*mangle\n:ROS-MSS - [0:0]\n-A ROS-MSS -i") && text.lines().count() == 5,
        "{text}"
    );
}

#[test]
fn nothing_of_ours_is_left_when_nothing_is_wanted() {
    let chains = chains(&rules(Encapsulation::Vxlan), Family::V4);
    let text = change(&Chains::new(), &loaded(&chains)).unwrap();
    for (_, chain) in chains.keys() {
        assert!(
            text.contains(&format!(":{chain} - [0:0]\n"))
                && text.contains(&format!("-X {chain}\n")),
            "{text}"
        );
    }
    assert_eq!(text.matches("-D ").count(), 5, "{text}");
    assert_eq!(change(&Chains::new(), &docker()), None);
}

#[test]
fn wireguard_is_heard_from_anywhere_and_direct_needs_no_port() {
    let lines = |encapsulation, chain: &str| {
        let mut all = chains(&rules(encapsulation), Family::V4);
        all.remove(&("filter".to_owned(), chain.to_owned()))
            .unwrap()
            .join("\n")
    };
    assert!(
        lines(Encapsulation::Wireguard, "ROS-INPUT")
            .ends_with("\n-p udp -m udp --dport 51820 -j ACCEPT")
    );
    assert_eq!(
        lines(Encapsulation::Direct, "ROS-INPUT"),
        "-d 169.254.169.250/32 -j ROS-SERVICES"
    );
    // The link is not ours: what else comes by it is not our business.
    assert!(!lines(Encapsulation::Direct, "ROS-FORWARD").contains("DROP"));
    assert!(
        !chains(&rules(Encapsulation::Direct), Family::V4)
            .contains_key(&("mangle".into(), "ROS-MSS".into()))
    );
}

#[test]
fn docker_28_and_ipv6_need_more() {
    let mut rules = rules(Encapsulation::Wireguard);
    assert!(chains(&rules, Family::V6).is_empty());
    rules.filters = true;
    rules.peers.insert("2001:db8::2".parse().unwrap());
    let raw = &chains(&rules, Family::V4)[&("raw".into(), "ROS-RAW".into())];
    assert_eq!(
        raw,
        &["-s 10.42.0.0/16 -d 10.42.0.0/16 -i ros-wg -j ACCEPT"]
    );
    let input = &chains(&rules, Family::V6)[&("filter".into(), "ROS-INPUT".into())];
    assert_eq!(input, &["-p udp -m udp --dport 51820 -j ACCEPT"]);
    rules.encapsulation = Encapsulation::Vxlan;
    let input = &chains(&rules, Family::V6)[&("filter".into(), "ROS-INPUT".into())];
    assert!(
        input[0].starts_with("-s 2001:db8::2/128 ") && input.len() == 2,
        "{input:?}"
    );
}

#[test]
fn containers_may_keep_their_own_resolvers() {
    let mut rules = rules(Encapsulation::Vxlan);
    rules.no_dns.insert("10.42.1.9".parse().unwrap());
    let names = &chains(&rules, Family::V4)[&("nat".into(), "ROS-PREROUTING".into())];
    assert_eq!(names[0], "-s 10.42.1.9/32 -i ros-br -j RETURN");
    assert_eq!(names.len(), 3);
}

#[test]
fn names_asked_from_the_host_are_loaded_by_themselves() {
    let mut rules = rules(Encapsulation::Vxlan);
    rules.asked_from_host = [[127, 0, 0, 1], [192, 0, 2, 53]].map(Ipv4Addr::from).into();
    let chains = chains(&rules, Family::V4);
    let all = parts(&chains, &docker());
    assert_eq!(change(&all[0].0, &all[0].1).unwrap(), VXLAN);
    let alive = "-m recent --rcheck --seconds 25 --name ros-alive --mask 0.0.0.0 --rsource";
    let asked = |target: &str| {
        let of = |resolver: &str| {
            format!(
                "-d {resolver}/32 -p udp -m udp --dport 53 {alive} -m u32 --u32 \"0x0>>0x16&0x3c@0x8&0xf900=0x100&&0x0>>0x16&0x3c@0x14>>0x18=0x1:0x3f&&\
                 0x0>>0x16&0x3c@0x14>>0x18@0x14&0xffffff=0x1,0x1c\" -j {target}\n\
                 -d {resolver}/32 -p udp -m udp --dport 53 {alive} -m u32 --u32 \"0x0>>0x16&0x3c@0x8&0xf900=0x100\" -m string \
                 --hex-string \"|0772616e6368657208696e7465726e616c00|\" --algo bm --icase -j {target}\n"
            )
        };
        format!(
            "-m mark --mark 0x53 -j RETURN\n{}{}",
            of("127.0.0.1"),
            of("192.0.2.53")
        )
    };
    for (at, table, chain, target) in [
        (
            2,
            "nat",
            "ROS-OUTPUT",
            "DNAT --to-destination 169.254.169.250:53",
        ),
        (3, "raw", "ROS-ZONE", "CT --zone-orig 83"),
    ] {
        let rules: String = asked(target)
            .lines()
            .map(|rule| format!("-A {chain} {rule}\n"))
            .collect();
        assert_eq!(
            change(&all[at].0, &all[at].1).unwrap(),
            format!("*{table}\n:{chain} - [0:0]\n{rules}-I OUTPUT 1 -j {chain}\nCOMMIT\n")
        );
    }
    for (chains, loaded) in parts(&chains, &loaded(&chains)) {
        assert_eq!(change(&chains, &loaded), None);
    }
}
