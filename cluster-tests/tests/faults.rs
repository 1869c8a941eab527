//! What must not disturb containers: a server that is gone, agents that are killed, a host that starts without a server, links that fail.

use std::time::{Duration, Instant};

use api::host::{HostKind, HostState};
use api::network::Encapsulation;
use api::project::ProjectKind;
use cluster_tests::Result;
use cluster_tests::cluster::{AGENT, Cluster, SERVER, start_agent};
use cluster_tests::container::{
    Name, address, answers, fetch, idle, name_becomes, pings, run, web,
};
use cluster_tests::load::{Counts, Load};
use cluster_tests::net::{Cable, Faults};
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
/// How long a fault lasts while a load runs.
const WHILE: Duration = Duration::from_secs(8);
/// Fewest requests in that time on a busy machine.
const REQUESTS: u64 = 20;
/// Seconds after which a host counts as gone here; the default would make the test wait for minutes.
const GONE: u32 = 25;

#[test]
fn containers_are_not_disturbed() -> Result<()> {
    on_stage("faults", |stage| {
        let cluster = Cluster::start(stage, &HOSTS, Encapsulation::Vxlan)?;
        let [a, _, _] = &cluster.hosts[..] else {
            return Ok(());
        };
        for node in &cluster.hosts {
            let always = ["--restart", "always", "--network", "ros"];
            run(node, &format!("box-{}", node.name), &always, &[])?;
        }
        web(a, "web", &["--restart", "always"])?;
        let mut judge = Judge::of(stage.name());
        for node in &cluster.hosts {
            judge.check(&format!("{}: the name is known", node.name), || {
                answers(node, &box_of(node), "http://web/", "web")
            });
        }
        judge_loads(&mut judge, &cluster)?;
        judge_cold_start(&mut judge, &cluster);
        judge_links(&mut judge, &cluster);
        judge.verdict(&cluster.last_words())
    })
}

fn box_of(node: &Node) -> String {
    format!("box-{}", node.name)
}

/// Lets the fault last, with the load running.
fn last() {
    std::thread::sleep(WHILE);
}

fn judge_loads(judge: &mut Judge, cluster: &Cluster) -> Result<()> {
    let [a, b, c] = &cluster.hosts[..] else {
        return Ok(());
    };
    let by_name = Load::start(b, "box-b", "http://web/")?;
    let by_address = Load::start(c, "box-c", &format!("http://{}/", address(a, "web")?))?;
    let undisturbed = |before: (Counts, Counts)| {
        by_name.undisturbed_since(before.0, REQUESTS)?;
        by_address.undisturbed_since(before.1, REQUESTS)
    };
    let now = || Ok((by_name.counts()?, by_address.counts()?));
    judge.check("the server is killed: no request fails", || {
        let before = now()?;
        cluster.server.end(SERVER, End::Killed)?;
        last();
        undisturbed(before)
    });
    judge.check("without a server, names of other hosts resolve", || {
        answers(c, "box-c", "http://web.rancher.internal/", "web")
    });
    judge.check("without a server, metadata is given", || {
        let url = "http://rancher-metadata/latest/self/container/name";
        equal(fetch(b, "box-b", url)?, "box-b")
    });
    judge.check(
        "without a server, a host's own new container is known to it",
        || {
            web(b, "alone", &[])?;
            answers(b, "box-b", "http://alone/", "alone")
        },
    );
    judge.check(
        "the server comes back: no request fails, and all is told",
        || {
            let before = now()?;
            let start = Instant::now();
            cluster.start_server()?;
            cluster.wait_connected()?;
            say(&format!(
                "  all hosts are connected {:.1} s after the server's start",
                start.elapsed().as_secs_f64()
            ));
            answers(c, "box-c", "http://alone/", "alone")?;
            last();
            undisturbed(before)
        },
    );
    judge.check(
        "the agent of the web server's host is killed: no request fails",
        || {
            let before = now()?;
            a.end(AGENT, End::Killed)?;
            last();
            undisturbed(before)
        },
    );
    judge.check("it comes back: no request fails", || {
        let before = now()?;
        start_agent(a)?;
        cluster.wait_connected()?;
        last();
        undisturbed(before)
    });
    judge.check(
        "the agent of the asking host is killed: no request by address fails",
        || {
            let before = by_address.counts()?;
            c.end(AGENT, End::Killed)?;
            last();
            by_address.undisturbed_since(before, REQUESTS)?;
            start_agent(c)?;
            answers(c, "box-c", "http://web/", "web")
        },
    );
    by_name.stop()?;
    by_address.stop()
}

fn judge_cold_start(judge: &mut Judge, cluster: &Cluster) {
    let [_, b, _] = &cluster.hosts[..] else {
        return;
    };
    judge.check(
        "a host starts anew without a server: its containers have network and names",
        || {
            cluster.server.end(SERVER, End::Killed)?;
            b.reboot()?;
            b.start_docker()?;
            start_agent(b)?;
            b.wait_for_docker()?;
            until("its container to run", Patience::seconds(40), || {
                let running = b.docker(&["ps", "--format", "{{.Names}}"])?;
                Ok(if running.contains("box-b") {
                    Look::Seen(())
                } else {
                    Look::NotYet(running)
                })
            })?;
            answers(b, "box-b", "http://web/", "web")
        },
    );
    judge.check("the server comes back, and knows it", || {
        cluster.start_server()?;
        cluster.wait_connected()
    });
}

fn judge_links(judge: &mut Judge, cluster: &Cluster) {
    let [a, b, c] = &cluster.hosts[..] else {
        return;
    };
    judge.check(
        "a host that is cut off counts as reconnecting, then as disconnected",
        || {
            cluster
                .api
                .edit::<ProjectKind>("default", |project| project.disconnected_after = GONE)?;
            cluster.net.set_faults(&Faults::silencing(&[c]))?;
            let start = Instant::now();
            state_becomes(cluster, c, HostState::Reconnecting, 15)?;
            say(&format!(
                "  noticed after {:.1} s",
                start.elapsed().as_secs_f64()
            ));
            state_becomes(cluster, c, HostState::Disconnected, u64::from(GONE) + 5)?;
            pings(a, "box-a", &address(b, "box-b")?)
        },
    );
    judge.check(
        "what changed meanwhile is known to it when it is back",
        || {
            web(a, "meanwhile", &[])?;
            cluster.net.set_faults(&Faults::default())?;
            cluster.wait_connected()?;
            answers(c, "box-c", "http://meanwhile/", "meanwhile")
        },
    );
    judge.check("a pulled cable is no end", || {
        cluster.net.set_cable(b, Cable::Out)?;
        std::thread::sleep(Duration::from_secs(3));
        cluster.net.set_cable(b, Cable::In)?;
        cluster.wait_connected()?;
        answers(b, "box-b", "http://web/", "web")
    });
    judge.check("of a lossy network, agents and names make the best", || {
        cluster.net.set_faults(&Faults::losing(5))?;
        web(b, "lossy", &[])?;
        name_becomes(c, "box-c", "lossy", Name::Known)?;
        idle(a, "new")?;
        for _ in 0..5 {
            answers(a, "new", "http://lossy/", "lossy")?;
        }
        std::thread::sleep(Duration::from_secs(10));
        let hosts = cluster.api_hosts()?;
        let lost: Vec<_> = hosts
            .iter()
            .filter(|host| host.status.state != HostState::Connected)
            .collect();
        ensure(lost.is_empty(), || format!("{lost:?}"))?;
        cluster.net.set_faults(&Faults::default())
    });
}

fn state_becomes(cluster: &Cluster, node: &Node, expected: HostState, limit: u64) -> Result<()> {
    until(
        &format!("{} to be {expected:?}", node.name),
        Patience::seconds(limit),
        || {
            let hosts = cluster.api.all::<HostKind>()?;
            let host = hosts.iter().find(|host| host.meta.name == node.name);
            let seen = host.map(|host| host.status.state);
            Ok(if seen == Some(expected) {
                Look::Seen(())
            } else {
                Look::NotYet(format!("{seen:?}"))
            })
        },
    )
}
