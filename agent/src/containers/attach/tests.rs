//! What labels ask for, and what of it can be.

use super::*;
use serde_json::json;

fn ros() -> DockerNetwork {
    DockerNetwork {
        id: "n1".into(),
        name: "ros".into(),
        subnet: Some("10.42.0.0/16".parse().unwrap()),
        block: Some("10.42.1.0/24".parse().unwrap()),
    }
}

fn want(labels: serde_json::Value, mode: &str, ip: Option<&str>) -> Wanted {
    let mut networks = json!({"bridge": {"NetworkID": "b", "IPAddress": "172.17.0.2"}});
    if let Some(ip) = ip {
        networks["ros"] = json!({"NetworkID": "n1", "IPAddress": ip});
    }
    let inspected = serde_json::from_value(json!({
        "Id": "abc",
        "Config": {"Labels": labels},
        "HostConfig": {"NetworkMode": mode},
        "NetworkSettings": {"Networks": networks},
    }))
    .unwrap();
    wanted(&inspected, &ros())
}

const IP: &str = "io.rancher.container.requested_ip";
const NET: &str = "io.rancher.container.network";

#[test]
fn labels_attach() {
    let at = |last| Ipv4Addr::new(10, 42, 1, last);
    assert_eq!(want(json!({}), "default", None), Wanted::Nothing);
    assert_eq!(
        want(json!({NET: "false"}), "default", None),
        Wanted::Nothing
    );
    assert_eq!(
        want(json!({NET: "True"}), "default", None),
        Wanted::Connect(vec![])
    );
    assert_eq!(
        want(
            json!({NET: "true", IP: "10.42.1.7, 10.42.1.8/16"}),
            "bridge",
            None
        ),
        Wanted::Connect(vec![at(7), at(8)])
    );
    assert_eq!(
        want(json!({NET: "true"}), "bridge", Some("10.42.1.2")),
        Wanted::Nothing
    );
    assert_eq!(
        want(json!({IP: "10.42.1.7"}), "ros", Some("10.42.1.7")),
        Wanted::Nothing
    );
    assert_eq!(
        want(json!({IP: "10.42.1.7"}), "ros", Some("10.42.1.2")),
        Wanted::Move(vec![at(7)])
    );
}

#[test]
fn what_cannot_be_says_why() {
    for (labels, mode, said) in [
        (json!({NET: "true"}), "host", "--network host"),
        (json!({NET: "true"}), "container:x", "--network container:x"),
        (
            json!({NET: "true", IP: "10.42.1"}),
            "bridge",
            "`10.42.1` is not an IPv4 address",
        ),
    ] {
        let Wanted::Refused(why) = want(labels, mode, None) else {
            panic!("not refused");
        };
        assert!(why.contains(said), "{why}");
    }
}

/// One that does not run and has tried to, with an address that it is to have.
fn failed(error: &str, fixed: &str) -> ContainerInspectResponse {
    let ipam = if fixed.is_empty() {
        json!({})
    } else {
        json!({"IPv4Address": fixed})
    };
    serde_json::from_value(json!({
        "Id": "abc",
        "State": {"Status": "created", "Running": false, "ExitCode": 128, "Error": error},
        "Config": {"Labels": {NET: "true", IP: "10.42.1.7"}},
        "HostConfig": {"NetworkMode": "bridge"},
        "NetworkSettings": {"Networks": {"ros": {"NetworkID": "", "IPAddress": "", "IPAMConfig": ipam}}},
    }))
    .unwrap()
}

#[test]
fn an_address_that_hinders_a_start_is_taken_away() {
    for error in [
        "Address already in use",
        "Invalid address 10.42.1.7: It does not belong to any of this network's subnets",
    ] {
        let Wanted::Release(why) = wanted(&failed(error, "10.42.1.7"), &ros()) else {
            panic!("{error}: kept");
        };
        assert!(why.contains(error), "{why}");
        // It is gone, and is not asked for again before a start.
        let Wanted::Refused(again) = wanted(&failed(error, ""), &ros()) else {
            panic!("{error}: asked for again");
        };
        assert_eq!(again, why);
    }
    // Of other reasons for a start to fail, none is about it.
    for error in [
        "",
        "OCI runtime create failed: exec: \"/nothing\": no such file",
        "driver failed programming external connectivity on endpoint web: listen tcp 0.0.0.0:80: bind: address already in use",
    ] {
        let kept = wanted(&failed(error, "10.42.1.7"), &ros());
        assert_eq!(kept, Wanted::Nothing, "{error}");
    }
    // Nor is what its user has set.
    let other = wanted(&failed("Address already in use", "10.42.1.8"), &ros());
    assert!(matches!(other, Wanted::Move(_)), "{other:?}");
}

/// A Docker that is not asked: a socket of nobody's will do.
fn nobody() -> Docker {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let _nobody = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let socket = socket.to_str().unwrap();
    Docker::connect_with_unix(socket, 1, bollard::API_DEFAULT_VERSION).unwrap()
}

#[test]
fn what_does_not_run_is_given_what_it_can_start_with() {
    let network = ros();
    let docker = nobody();
    let place = Place {
        docker: &docker,
        network: &network,
        taken: BTreeMap::from([("10.42.1.7".parse().unwrap(), "web".to_owned())]),
    };
    let asked = [
        "10.42.1.7",
        "10.99.0.7",
        "10.42.1.1",
        "10.42.1.0",
        "10.42.255.255",
        "10.42.1.9",
        "10.42.2.9",
    ];
    let asked: Vec<Ipv4Addr> = asked.iter().map(|text| text.parse().unwrap()).collect();
    let mut one = failed("", "");
    let (free, refusals) = place.free(&one, asked.clone());
    assert_eq!(free, asked[5..]);
    for (said, part) in refusals.iter().zip([
        "10.42.1.7: container web has it",
        "10.99.0.7: it is not in network ros (10.42.0.0/16)",
        "10.42.1.1: it is this host's own",
        "10.42.1.0: it is this host's own",
        "10.42.255.255: it is that of network ros itself",
    ]) {
        assert_eq!(said, part);
    }
    assert_eq!(refusals.len(), 5);
    // What runs is told by Docker at once.
    one.state = Some(bollard::models::ContainerState {
        running: Some(true),
        ..Default::default()
    });
    assert_eq!(place.free(&one, asked.clone()), (asked, Vec::new()));
}

#[test]
fn what_runs_with_another_address_waits_or_cannot_have_it() {
    let network = ros();
    let docker = nobody();
    let place = Place {
        docker: &docker,
        network: &network,
        taken: BTreeMap::new(),
    };
    let foreign: Ipv4Addr = "10.99.0.7".parse().unwrap();
    let free: Ipv4Addr = "10.42.1.7".parse().unwrap();
    let waits = place.waits(&[foreign, free]);
    assert!(waits.contains("it gets 10.42.1.7"), "{waits}");
    let never = place.waits(&[foreign]);
    assert!(
        never.contains("10.99.0.7: it is not in network ros"),
        "{never}"
    );
}
