//! What lies between the hosts: another encapsulation while containers talk, hosts of a parted network, smaller packets.

use std::time::Duration;

use api::network::Encapsulation;
use cluster_tests::Result;
use cluster_tests::cluster::Cluster;
use cluster_tests::container::{address, answers, pings, run, web};
use cluster_tests::load::Load;
use cluster_tests::net::Faults;
use cluster_tests::node::Node;
use cluster_tests::root::Root;
use cluster_tests::stage::on_stage;
use qemu_tests::judge::{Judge, contains, ensure, say};
use qemu_tests::wait::{Look, Patience, until};

const HOSTS: [(&str, Root); 3] = [
    ("a", Root::Docker20),
    ("b", Root::Docker26),
    ("c", Root::Docker28),
];
/// Time in which all hosts have taken over a change, and the old way's packets have come or been lost.
const SETTLED: Duration = Duration::from_secs(3);
/// Requests that may fail while the hosts change one after the other: each waits for two seconds.
const LOST: u64 = 3;
/// Fewest requests in that time on a busy machine.
const REQUESTS: u64 = 10;

#[test]
fn what_lies_between_hosts_may_change() -> Result<()> {
    on_stage("links", |stage| {
        let cluster = Cluster::start(stage, &HOSTS, Encapsulation::Vxlan)?;
        cluster.add_context()?;
        for node in &cluster.hosts {
            run(node, &box_of(node), &["--network", "ros"], &[])?;
        }
        web(&cluster.hosts[0], "web", &[])?;
        let mut judge = Judge::of(stage.name());
        for how in [Encapsulation::Direct, Encapsulation::Vxlan] {
            judge_change(&mut judge, &cluster, how);
        }
        judge_parted(&mut judge, &cluster);
        judge.verdict(&cluster.last_words())
    })
}

fn box_of(node: &Node) -> String {
    format!("box-{}", node.name)
}

fn judge_change(judge: &mut Judge, cluster: &Cluster, how: Encapsulation) {
    judge.check(
        &format!("{how:?} from now on, while containers talk"),
        || {
            let url = format!("http://{}/", address(&cluster.hosts[0], "web")?);
            let asking = cluster.hosts.iter().skip(1);
            let loads = asking
                .map(|node| Load::start(node, &box_of(node), &url))
                .collect::<Result<Vec<_>>>()?;
            std::thread::sleep(SETTLED);
            let before = loads.iter().map(Load::counts).collect::<Result<Vec<_>>>()?;
            cluster.change_encapsulation(how)?;
            std::thread::sleep(SETTLED);
            for (load, before) in loads.iter().zip(before) {
                let after = load.counts()?;
                let lost = after.bad - before.bad;
                say(&format!("  {lost} requests were lost by the change"));
                ensure(lost <= LOST, || format!("{before:?}, then {after:?}"))?;
                std::thread::sleep(SETTLED);
                load.undisturbed_since(after, REQUESTS)?;
                load.stop()?;
            }
            Ok(())
        },
    );
    judge.check(&format!("{how:?}: all reach each other, and names"), || {
        for from in &cluster.hosts {
            for to in &cluster.hosts {
                pings(from, &box_of(from), &address(to, &box_of(to))?)?;
            }
            answers(from, &box_of(from), "http://web/", "web")?;
        }
        Ok(())
    });
}

fn judge_parted(judge: &mut Judge, cluster: &Cluster) {
    let [a, b, c] = &cluster.hosts[..] else {
        return;
    };
    let server = &cluster.server;
    let check = |expected: &str| {
        until(
            "what `ros cluster check` says",
            Patience::seconds(60),
            || {
                let output = server.tool(&["ros", "cluster", "check"]).output()?;
                let text = qemu_tests::tool::said(&output);
                let is_well = output.status.success();
                Ok(
                    if is_well == expected.is_empty() && text.contains(expected) {
                        Look::Seen(text)
                    } else {
                        Look::NotYet(text)
                    },
                )
            },
        )
    };
    judge.check("all is well, says the check", || check("").map(drop));
    judge.check(
        "a parted network: each part goes on, and the check says who is cut off",
        || {
            cluster.net.set_faults(&Faults::parting(&[&[a], &[b, c]]))?;
            pings(b, &box_of(b), &address(c, &box_of(c))?)?;
            ensure(
                pings(b, &box_of(b), &address(a, &box_of(a))?).is_err(),
                || "the network is not parted".into(),
            )?;
            let text = check("a")?;
            say(&format!("  {}", text.replace('\n', "\n  ")));
            contains(&text, "b")
        },
    );
    judge.check("it is one again", || {
        cluster.net.set_faults(&Faults::default())?;
        answers(b, &box_of(b), "http://web/", "web")?;
        check("").map(drop)
    });
    judge.check(
        "links with smaller packets: large answers come all the same",
        || {
            for node in [a, b, c] {
                cluster.net.set_mtu(node, 1400)?;
            }
            run(
                a,
                "large",
                &["--network", "ros"],
                &[
                    "sh",
                    "-c",
                    "head -c 3000000 /dev/zero > /www/index.html; exec httpd -f -h /www",
                ],
            )?;
            until("the large answer", Patience::seconds(40), || {
                let command = "wget -q -T 5 -O - http://large/ | wc -c";
                let said = b.in_container(&box_of(b), &["sh", "-c", command])?;
                Ok(if said == "3000000" {
                    Look::Seen(())
                } else {
                    Look::NotYet(said)
                })
            })
        },
    );
}
