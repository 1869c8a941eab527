//! What a person with three hosts sees: plain `docker run` on one, and its name on the others. Docker of three generations, over VXLAN.

use std::time::Duration;

use api::container::ContainerKind;
use api::network::Encapsulation;
use cluster_tests::Result;
use cluster_tests::cluster::Cluster;
use cluster_tests::container::{
    AT_ONCE, Name, address, answers, fetch, idle, name_becomes, pings, run, started, web,
};
use cluster_tests::image::WHO;
use cluster_tests::net::{GATEWAY, OUTSIDE};
use cluster_tests::node::Node;
use cluster_tests::root::Root;
use cluster_tests::stage::on_stage;
use jiff::Timestamp;
use qemu_tests::judge::{Judge, contains, ensure, equal};
use qemu_tests::wait::{Look, Patience, until};

const HOSTS: [(&str, Root); 3] = [
    ("a", Root::Docker20),
    ("b", Root::Docker26),
    ("c", Root::Docker28),
];
/// What this test's own programs take to see what has happened.
const LOOKING: Duration = Duration::from_millis(300);

#[test]
fn what_runs_on_one_host_answers_by_name_on_the_others() -> Result<()> {
    on_stage("native-docker", |stage| {
        let cluster = Cluster::start(stage, &HOSTS, Encapsulation::Vxlan)?;
        let mut judge = Judge::of(stage.name());
        for node in &cluster.hosts {
            idle(node, &box_of(node))?;
        }
        judge_names(&mut judge, &cluster);
        judge_addresses(&mut judge, &cluster);
        judge_times(&mut judge, &cluster);
        judge_labels(&mut judge, &cluster);
        judge_outside(&mut judge, &cluster);
        judge_resolvers(&mut judge, &cluster);
        judge.verdict(&cluster.last_words())
    })
}

fn box_of(node: &Node) -> String {
    format!("box-{}", node.name)
}

fn judge_names(judge: &mut Judge, cluster: &Cluster) {
    judge.check("a web server starts", || web(&cluster.hosts[0], "web", &[]));
    for node in &cluster.hosts {
        for name in ["web", "web.rancher.internal", "WEB"] {
            judge.check(&format!("{}: {name} answers", node.name), || {
                answers(node, &box_of(node), &format!("http://{name}/"), "web")
            });
        }
        judge.check(
            &format!("{}: a name that is not there is not", node.name),
            || {
                ensure(
                    fetch(node, &box_of(node), "http://nobody/").is_err(),
                    || "it answers".into(),
                )
            },
        );
    }
}

fn judge_addresses(judge: &mut Judge, cluster: &Cluster) {
    for from in &cluster.hosts {
        for to in &cluster.hosts {
            judge.check(&format!("{} reaches {}", box_of(from), box_of(to)), || {
                pings(from, &box_of(from), &address(to, &box_of(to))?)
            });
        }
    }
    judge.check("the API has the addresses that Docker has", || {
        let known = cluster.api.all::<ContainerKind>()?;
        for node in &cluster.hosts {
            let name = box_of(node);
            let own = address(node, &name)?;
            let seen = known.iter().find(|one| one.meta.name == name);
            let seen = seen.and_then(|one| one.status.address);
            equal(seen.map(|seen| seen.to_string()), Some(own))?;
        }
        Ok(())
    });
    judge.check("who asks is known by its own address", || {
        let [a, b, _] = &cluster.hosts[..] else {
            return Ok(());
        };
        let url = format!("http://{}/cgi-bin/who", address(a, "web")?);
        equal(fetch(b, "box-b", &url)?, address(b, "box-b")?)
    });
    judge.check("large answers pass", || {
        let [a, _, c] = &cluster.hosts[..] else {
            return Ok(());
        };
        a.in_container(
            "web",
            &["sh", "-c", "head -c 3000000 /dev/zero > /www/large"],
        )?;
        let count = "wget -q -T 5 -O - http://web/large | busybox wc -c";
        equal(c.in_container("box-c", &["sh", "-c", count])?, "3000000")
    });
}

fn took(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

fn judge_times(judge: &mut Judge, cluster: &Cluster) {
    let [a, b, c] = &cluster.hosts[..] else {
        return;
    };
    judge.check("a name is known elsewhere at once", || {
        // Asked before it is there, so that the answer `no` is in every cache.
        let outcome = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| name_becomes(b, "box-b", "late", Name::Known));
            std::thread::sleep(Duration::from_millis(500));
            web(a, "late", &[])?;
            waiting.join().unwrap_or_else(|_| Ok(Timestamp::now()))
        });
        let took = took(started(a, "late")?, outcome?);
        ensure(took < AT_ONCE + LOOKING, || format!("it took {took:?}"))
    });
    judge.check("a name is gone elsewhere at once", || {
        name_becomes(c, "box-c", "late", Name::Known)?;
        a.docker(&["stop", "-t", "0", "late"])?;
        let stopped = Timestamp::now();
        for node in [b, c] {
            let gone = name_becomes(node, &box_of(node), "late", Name::Unknown)?;
            let took = took(stopped, gone);
            ensure(took < AT_ONCE + LOOKING, || {
                format!("{}: it took {took:?}", node.name)
            })?;
        }
        Ok(())
    });
    judge.check("started again, it answers", || {
        a.docker(&["start", "late"])?;
        answers(c, "box-c", "http://late/", "late")
    });
}

fn judge_labels(judge: &mut Judge, cluster: &Cluster) {
    let [a, b, c] = &cluster.hosts[..] else {
        return;
    };
    judge.check("a label attaches a container", || {
        let script = "echo labelled > /www/index.html; exec httpd -f -h /www";
        let args = ["--label", "io.rancher.container.network=true"];
        run(b, "labelled", &args, &["sh", "-c", script])?;
        answers(a, "box-a", "http://labelled/", "labelled")
    });
    judge.check("an address is given as requested", || {
        let own = address(c, "box-c")?;
        let wished = format!("{}.77", own.rsplit_once('.').map_or("", |(block, _)| block));
        let label = format!("io.rancher.container.requested_ip={wished}");
        let script = "echo wish > /www/index.html; exec httpd -f -h /www";
        let args = [
            "--label",
            "io.rancher.container.network=true",
            "--label",
            &label,
        ];
        run(c, "wish", &args, &["sh", "-c", script])?;
        answers(a, "box-a", "http://wish/", "wish")?;
        equal(address(c, "wish")?, wished)
    });
    judge.check("Compose uses the network", || {
        let file = "services:\n  shop:\n    image: box:1\n    container_name: shop\n    networks: [ros]\n    \
            command: sh -c 'echo shop > /www/index.html; exec httpd -f -h /www'\nnetworks:\n  ros:\n    external: true\n";
        b.write("/srv/compose.yml", file)?;
        b.docker(&["compose", "-f", "/srv/compose.yml", "up", "-d"])?;
        answers(c, "box-c", "http://shop/", "shop")
    });
}

fn judge_outside(judge: &mut Judge, cluster: &Cluster) {
    let outside = cluster.net.outside();
    for node in &cluster.hosts {
        judge.check(
            &format!("{}: a published port is reached from outside", node.name),
            || {
                let name = format!("published-{}", node.name);
                web(node, &name, &["-p", "8080:80"])?;
                let url = format!("http://{}:8080/", node.address);
                until("the published port", Patience::seconds(20), || {
                    let output = outside
                        .tool(&["busybox", "wget", "-q", "-T", "2", "-O", "-", &url])
                        .output()?;
                    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                    Ok(if text == name {
                        Look::Seen(())
                    } else {
                        Look::NotYet(text)
                    })
                })
            },
        );
    }
    judge.check("the outside answers", || {
        outside.write("/srv/cgi-bin/who", WHO)?;
        outside.sh("chmod +x /srv/cgi-bin/who")?;
        outside.spawn(
            "httpd",
            &["busybox", "httpd", "-f", "-p", "8000", "-h", "/srv"],
        )
    });
    for node in &cluster.hosts {
        judge.check(
            &format!("{}: the outside sees the host's address", node.name),
            || {
                let url = format!("http://{OUTSIDE}:8000/cgi-bin/who");
                answers(node, &box_of(node), &url, &node.address.to_string())
            },
        );
    }
    judge.check("`ros hosts` shows them", || {
        cluster.add_context()?;
        let server = &cluster.server;
        let table = server.run(&["ros", "hosts"])?;
        HOSTS
            .iter()
            .try_for_each(|(name, _)| contains(&table, name))
    });
}

/// Hosts with a resolver of their own: on loopback Docker's resolver asks it from the host's network, whatever its version is.
fn judge_resolvers(judge: &mut Judge, cluster: &Cluster) {
    let [_, _, c] = &cluster.hosts[..] else {
        return;
    };
    judge.check(
        "c: what a resolver must know goes where it was sent",
        || {
            let before = turned(c)?;
            for (kind, name) in [("ns", "com"), ("ns", "."), ("a", "example.com")] {
                ask_gateway(c, kind, name)?;
                equal(turned_by(c, before)?, 0)?;
            }
            ask_gateway(c, "a", "web")?;
            ensure(turned_by(c, before)? > 0, || "`web` is not turned".into())
        },
    );
    judge.check("c: nothing is turned when the agent is gone", || {
        let before = turned(c)?;
        c.sh("echo -0.0.0.0 > /proc/net/xt_recent/ros-alive")?;
        ask_gateway(c, "a", "web")?;
        equal(turned_by(c, before)?, 0)
    });
    for node in &cluster.hosts {
        judge.check(
            &format!("{}: names resolve with a resolver on loopback", node.name),
            || {
                node.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")?;
                let name = format!("loopback-{}", node.name);
                idle(node, &name)?;
                answers(node, &name, "http://web/", "web")?;
                answers(node, &name, "http://web.rancher.internal/", "web")?;
                // One that was chosen for a container.
                let chosen = format!("chosen-{}", node.name);
                let args = ["--network", "ros", "--dns", "10.77.0.99"];
                run(node, &chosen, &args, &[])?;
                answers(node, &chosen, "http://web/", "web")?;
                // Started with the resolver of before.
                answers(node, &box_of(node), "http://web/", "web")
            },
        );
    }
}

/// Asks the resolver in the host's resolv.conf from the host itself. Nobody is there to answer.
fn ask_gateway(node: &Node, kind: &str, name: &str) -> Result<()> {
    let (kind, gateway) = (format!("-type={kind}"), GATEWAY.to_string());
    let words = ["timeout", "1", "busybox", "nslookup", &kind, name, &gateway];
    node.tool(&words).output().map(drop)
}

/// Questions of the host that came to its agent: flows that were turned.
fn turned(node: &Node) -> Result<u64> {
    let table = node.run(&["iptables", "-t", "nat", "-xnvL", "ROS-OUTPUT"])?;
    let rules = table.lines().filter(|line| line.contains(" DNAT "));
    let counts = rules.filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(counts.sum())
}

fn turned_by(node: &Node, before: u64) -> Result<u64> {
    Ok(turned(node)?.saturating_sub(before))
}
