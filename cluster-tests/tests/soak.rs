//! Agents, servers and Dockers are killed at random, containers come and go, links fail; afterwards everything that must hold is looked at.
//! `CLUSTER_SOAK_SECONDS` makes it longer, `CLUSTER_SOAK_SEED` makes the same choices again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use api::container::{ContainerKind, ContainerState};
use api::network::Encapsulation;
use cluster_tests::Result;
use cluster_tests::chance::Chance;
use cluster_tests::cluster::{AGENT, Cluster, NETWORK, SERVER, start_agent};
use cluster_tests::container::{run, web};
use cluster_tests::net::Faults;
use cluster_tests::node::{End, Node};
use cluster_tests::root::Root;
use cluster_tests::stage::on_stage;
use qemu_tests::judge::{Judge, ensure, equal, say};
use qemu_tests::wait::{Look, Patience, until};

const HOSTS: [(&str, Root); 3] = [
    ("a", Root::Docker20),
    ("b", Root::Docker26),
    ("c", Root::Docker28),
];
/// Web servers that come and go on each host.
const SERVERS: u64 = 3;
/// After the last fault, all is well by then.
const SETTLED: Patience = Patience::seconds(60).every(Duration::from_secs(1));

#[test]
fn after_minutes_of_random_faults_everything_holds() -> Result<()> {
    let seconds = number("CLUSTER_SOAK_SECONDS").unwrap_or(60);
    let mut chance =
        Chance::new(number("CLUSTER_SOAK_SEED").unwrap_or_else(|| std::process::id().into()));
    on_stage("soak", |stage| {
        say(&format!("  seed {}, {seconds} s", chance.seed()));
        let cluster = Cluster::start(stage, &HOSTS, Encapsulation::Vxlan)?;
        for node in &cluster.hosts {
            let always = ["--restart", "always", "--network", NETWORK];
            run(node, &box_of(node), &always, &[])?;
            for number in 0..SERVERS {
                web(
                    node,
                    &server_of(node, number),
                    &["--restart", "unless-stopped"],
                )?;
            }
        }
        let before = traces(&cluster)?;
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut done: BTreeMap<&str, u32> = BTreeMap::new();
        while Instant::now() < end {
            *done.entry(harm(&cluster, &mut chance)?).or_default() += 1;
            std::thread::sleep(Duration::from_millis(200 + chance.below(1500)));
        }
        say(&format!("  done: {done:?}"));
        repair(&cluster)?;
        let mut judge = Judge::of(stage.name());
        judge.check("all hosts are connected and have no problem", || {
            cluster.wait_connected()
        });
        judge.check(
            "the API has what the Dockers have, and nothing else",
            || told(&cluster),
        );
        judge.check("names resolve on each host exactly to what runs", || {
            names(&cluster)
        });
        judge.check("all reach each other", || all_reach(&cluster));
        judge.check("no link, route or rule is left over", || {
            until(
                "the links, routes and rules that there were",
                SETTLED,
                || {
                    let now = traces(&cluster)?;
                    Ok(if now == before {
                        Look::Seen(())
                    } else {
                        Look::NotYet(difference(&before, &now))
                    })
                },
            )
        });
        judge.verdict(&cluster.last_words())
    })
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

fn box_of(node: &Node) -> String {
    format!("box-{}", node.name)
}

fn server_of(node: &Node, number: u64) -> String {
    format!("web-{}-{number}", node.name)
}

/// One fault, or the end of one; what it was.
fn harm(cluster: &Cluster, chance: &mut Chance) -> Result<&'static str> {
    let node = chance.of(&cluster.hosts);
    Ok(match chance.below(12) {
        0 | 1 => {
            node.end(AGENT, End::Killed)?;
            "agent killed"
        }
        2 | 3 => {
            let dead = cluster.hosts.iter().filter(|node| !node.runs(AGENT));
            dead.into_iter().try_for_each(start_agent)?;
            "agents started"
        }
        4 => {
            cluster.server.end(SERVER, End::Killed)?;
            "server killed"
        }
        5 | 6 if !cluster.server.runs(SERVER) => {
            cluster.start_server()?;
            "server started"
        }
        7 => {
            node.end("dockerd", End::Killed)?;
            node.start_docker()?;
            node.wait_for_docker()?;
            "Docker killed"
        }
        8 => {
            cluster.net.set_faults(&Faults::silencing(&[node]))?;
            "host cut off"
        }
        9 => {
            cluster.net.set_faults(&Faults::losing(5))?;
            "5 % lost"
        }
        10 => {
            cluster.net.set_faults(&Faults::default())?;
            "links healed"
        }
        _ => {
            let name = server_of(node, chance.below(SERVERS));
            let verb = if chance.below(2) == 0 {
                "start"
            } else {
                "stop"
            };
            let words: &[&str] = if verb == "stop" {
                &["stop", "-t", "0", &name]
            } else {
                &["start", &name]
            };
            node.docker(words)?;
            "container started or stopped"
        }
    })
}

/// Everything runs and nothing fails from here on.
fn repair(cluster: &Cluster) -> Result<()> {
    cluster.net.set_faults(&Faults::default())?;
    if !cluster.server.runs(SERVER) {
        cluster.start_server()?;
    }
    for node in &cluster.hosts {
        node.wait_for_docker()?;
        if !node.runs(AGENT) {
            start_agent(node)?;
        }
    }
    // All of them, so that what is compared with the beginning is the same.
    for node in &cluster.hosts {
        for number in 0..SERVERS {
            let name = server_of(node, number);
            if number == 0 {
                node.docker(&["stop", "-t", "0", &name])?;
            } else {
                node.docker(&["start", &name])?;
            }
        }
    }
    Ok(())
}

/// What runs on a host, with its address.
fn running(node: &Node) -> Result<BTreeMap<String, String>> {
    let format =
        format!("{{{{.Name}}}} {{{{(index .NetworkSettings.Networks \"{NETWORK}\").IPAddress}}}}");
    let ids = node.docker(&["ps", "-q"])?;
    let ids: Vec<&str> = ids.lines().collect();
    let text = node.docker(&[&["inspect", "-f", &format], &ids[..]].concat())?;
    let pairs = text
        .lines()
        .filter_map(|line| line.trim_start_matches('/').split_once(' '));
    Ok(pairs
        .map(|(name, address)| (name.to_owned(), address.to_owned()))
        .collect())
}

fn all_running(cluster: &Cluster) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for node in &cluster.hosts {
        all.extend(running(node)?);
    }
    Ok(all)
}

fn told(cluster: &Cluster) -> Result<()> {
    until("the API to be right", SETTLED, || {
        let expected = all_running(cluster)?;
        let known = cluster.api.all::<ContainerKind>()?;
        let known: BTreeMap<String, String> = known
            .into_iter()
            .filter(|one| one.status.state == ContainerState::Running)
            .map(|one| {
                (
                    one.meta.name,
                    one.status
                        .address
                        .map(|a| a.to_string())
                        .unwrap_or_default(),
                )
            })
            .collect();
        Ok(if known == expected {
            Look::Seen(())
        } else {
            Look::NotYet(format!("the API: {known:?}; the Dockers: {expected:?}"))
        })
    })
}

fn names(cluster: &Cluster) -> Result<()> {
    let expected = all_running(cluster)?;
    for node in &cluster.hosts {
        for other in &cluster.hosts {
            for name in (0..SERVERS).map(|number| server_of(other, number)) {
                let output = node
                    .tool(&[
                        "docker",
                        "exec",
                        &box_of(node),
                        "nslookup",
                        "-type=a",
                        &name,
                    ])
                    .output()?;
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let address = text
                    .split("Address:")
                    .nth(2)
                    .map(|rest| rest.trim().to_owned());
                equal(address.as_ref(), expected.get(&name)).map_err(|error| {
                    cluster_tests::HarnessError::Verdict {
                        detail: format!("{name} on {}: {}: {text}", node.name, error.chain()),
                    }
                })?;
            }
        }
    }
    Ok(())
}

fn all_reach(cluster: &Cluster) -> Result<()> {
    let all = all_running(cluster)?;
    for node in &cluster.hosts {
        let script = all.iter().fold(String::new(), |script, (name, address)| {
            format!("{script} ping -q -c 1 -W 2 {address} > /tmp/ping || echo {name};")
        });
        let lost = node.in_container(&box_of(node), &["sh", "-c", &script])?;
        ensure(lost.is_empty(), || {
            format!("{} does not reach {lost}", node.name)
        })?;
    }
    Ok(())
}

/// Links, routes and rules of each host, without those that are a container's.
fn traces(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let script = "ip -o link | sed 's/^[0-9]*: /link /; s/ mtu.*//' | grep -v veth
ip route | sed 's/^/route /; s/ linkdown//'
bridge fdb show 2>/dev/null | grep dst | sed 's/^/fdb /'
iptables-save | grep '^-A ROS-' | sed 's/^/rule /'
docker network ls --format 'network {{.Name}}'";
    let mut all = BTreeSet::new();
    for node in &cluster.hosts {
        let text = node.sh(script)?;
        // Rules name containers' addresses, which Docker may give anew.
        let lines = text
            .lines()
            .filter(|line| !line.contains("/32") || line.contains("169.254"));
        all.extend(lines.map(|line| format!("{}: {line}", node.name)));
    }
    Ok(all)
}

fn difference(before: &BTreeSet<String>, now: &BTreeSet<String>) -> String {
    let gone: Vec<_> = before.difference(now).collect();
    let new: Vec<_> = now.difference(before).collect();
    format!("gone: {gone:?}, new: {new:?}")
}
