//! Beside what is on the host already: the user's own firewall, which drops by default, and Docker restarted or its rules flushed. When a
//! host leaves, all is as it was before.

use std::time::Duration;

use api::host::HostKind;
use api::network::Encapsulation;
use cluster_tests::Result;
use cluster_tests::cluster::{AGENT, Cluster, start_agent};
use cluster_tests::container::{address, answers, idle, pings, web};
use cluster_tests::node::{End, Node};
use cluster_tests::root::Root;
use cluster_tests::stage::on_stage;
use qemu_tests::judge::{Judge, ensure};
use qemu_tests::wait::{Look, Patience, until};

const HOSTS: [(&str, Root); 2] = [("a", Root::Docker20), ("b", Root::Docker28)];
/// As ufw does it: nothing gets in but what is allowed; and a rule of the user's own in each chain of Docker's.
const IPTABLES: &str = "set -e
iptables -N user-input
iptables -A user-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A user-input -i lo -j ACCEPT
iptables -A user-input -p icmp -j ACCEPT
iptables -A user-input -p tcp --dport 22 -j ACCEPT
iptables -A INPUT -j user-input
iptables -P INPUT DROP
iptables -P FORWARD DROP
iptables -I DOCKER-USER -s 192.0.2.0/24 -j DROP
iptables -t nat -A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE";
/// For hosts whose iptables is nft's: a table beside it.
const NFT: &str = "table inet user {
  chain input { type filter hook input priority 10; policy accept; tcp dport 9 drop; }
  chain forward { type filter hook forward priority 10; policy accept; ip saddr 192.0.2.0/24 drop; }
}";
/// What was undone is done again by then.
const HEALED: Patience = Patience::seconds(45);

#[test]
fn the_users_own_rules_stay_and_all_of_ours_go() -> Result<()> {
    on_stage("own-rules", |stage| {
        let mut cluster = Cluster::alone(stage)?;
        cluster.set_encapsulation(Encapsulation::Vxlan)?;
        for (name, root) in HOSTS {
            cluster.add_host(stage, name, root)?;
        }
        let mut before = Vec::new();
        for node in &cluster.hosts {
            cluster.make_ready(node)?;
            node.sh(IPTABLES)?;
            if node.root != Root::Docker20 {
                node.run_with(&["nft", "-f", "-"], NFT.as_bytes())?;
            }
            before.push(Traces::of(node)?);
        }
        for node in &cluster.hosts {
            cluster.join(node)?;
        }
        cluster.wait_connected()?;
        cluster.wait_for_network()?;
        let mut judge = Judge::of(stage.name());
        judge_life(&mut judge, &cluster, &before);
        judge_leaving(&mut judge, &cluster, &before);
        judge.verdict(&cluster.last_words())
    })
}

fn all_answer(cluster: &Cluster) -> Result<()> {
    let [a, b] = &cluster.hosts[..] else {
        return Ok(());
    };
    for (from, to) in [(a, b), (b, a)] {
        let (box_name, web_name) = (format!("box-{}", from.name), format!("web-{}", to.name));
        pings(from, &box_name, &address(to, &web_name)?)?;
        answers(from, &box_name, &format!("http://{web_name}/"), &web_name)?;
    }
    Ok(())
}

fn healed(cluster: &Cluster) -> Result<()> {
    until("the network to be whole again", HEALED, || {
        Ok(match all_answer(cluster) {
            Ok(()) => Look::Seen(()),
            Err(error) => Look::NotYet(error.chain()),
        })
    })
}

fn judge_life(judge: &mut Judge, cluster: &Cluster, before: &[Traces]) {
    let [_, b] = &cluster.hosts[..] else { return };
    let begun = judge.check(
        "containers answer by name, beside a firewall that drops",
        || {
            for node in &cluster.hosts {
                let always = ["--restart", "always"];
                web(node, &format!("web-{}", node.name), &always)?;
                idle(node, &format!("box-{}", node.name))?;
                node.docker(&[
                    "update",
                    "--restart",
                    "always",
                    &format!("box-{}", node.name),
                ])?;
            }
            all_answer(cluster)
        },
    );
    if !begun {
        return;
    }
    judge.check("the user's rules are as they were", || {
        for (node, before) in cluster.hosts.iter().zip(before) {
            before.is_part_of(&Traces::of(node)?)?;
        }
        Ok(())
    });
    type Damage = (&'static str, &'static str);
    let damages: [Damage; 4] = [
        (
            "Docker's chain for users is flushed",
            "iptables -F DOCKER-USER; iptables -I DOCKER-USER -s 192.0.2.0/24 -j DROP",
        ),
        (
            "our chains are flushed",
            "for c in $(iptables -S | sed -n 's/^-N \\(ROS-.*\\)/\\1/p'); do iptables -F $c; done",
        ),
        (
            "the link between the hosts is gone",
            "ip link del $(ip -o link | sed -n 's/^[0-9]*: \\(ros-[^:@]*\\).*vxlan.*/\\1/p;s/^[0-9]*: \\(ros-vx[^:@]*\\).*/\\1/p' | head -1)",
        ),
        (
            "routes to the others are gone",
            "ip route | grep 10.42. | grep -v 'proto kernel' | while read r; do ip route del $r; done",
        ),
    ];
    for (what, script) in damages {
        judge.check(&format!("{what}, and back"), || {
            b.sh(script)?;
            healed(cluster)
        });
    }
    for how in [End::Asked, End::Killed] {
        judge.check(&format!("Docker is restarted ({how:?})"), || {
            b.end("dockerd", how)?;
            b.start_docker()?;
            b.wait_for_docker()?;
            healed(cluster)
        });
    }
    judge.check("no server is told of problems", || cluster.wait_connected());
}

fn judge_leaving(judge: &mut Judge, cluster: &Cluster, before: &[Traces]) {
    for (node, before) in cluster.hosts.iter().zip(before) {
        judge.check(
            &format!("{} leaves, and all is as before", node.name),
            || {
                for kind in ["web", "box"] {
                    node.docker(&["rm", "-f", &format!("{kind}-{}", node.name)])?;
                }
                leave(cluster, node)?;
                before.is_same(&Traces::of(node)?)
            },
        );
    }
    judge.check("it may join again", || {
        let [a, _] = &cluster.hosts[..] else {
            return Ok(());
        };
        cluster.join(a)?;
        until("it to be connected", Patience::seconds(20), || {
            let hosts = cluster.api.all::<HostKind>()?;
            let block = hosts
                .iter()
                .find(|host| host.meta.name == a.name && host.status.block.is_some());
            Ok(match block {
                Some(_) => Look::Seen(()),
                None => Look::NotYet(format!("{hosts:?}")),
            })
        })
    });
}

fn leave(cluster: &Cluster, node: &Node) -> Result<()> {
    node.end(AGENT, End::Asked)?;
    start_agent(node)?;
    node.run(&["ros", "agent", "leave"])?;
    let patience = Patience::seconds(20).every(Duration::from_millis(100));
    until("the agent to end", patience, || {
        Ok(if node.runs(AGENT) {
            Look::NotYet("it runs".into())
        } else {
            Look::Seen(())
        })
    })?;
    let left = cluster.api.all::<HostKind>()?;
    ensure(left.iter().all(|host| host.meta.name != node.name), || {
        format!("{left:?}")
    })
}

/// What is seen of a host's network, without what counts or ages.
struct Traces {
    lines: Vec<String>,
}

impl Traces {
    fn of(node: &Node) -> Result<Self> {
        let script = "for f in iptables ip6tables; do $f-save | sed 's/^/'$f' /'; done
ip -o link | sed 's/^[0-9]*: /link /; s/ state.*//; s/ mtu/ mtu/'
ip -o -4 addr | sed 's/^[0-9]*: /address /'
ip rule | sed 's/^/rule /'; ip route show table all | sed 's/^/route /'
docker network ls --format 'network {{.Name}}'
nft list ruleset 2>/dev/null | sed 's/^/nft /' | grep -v counter
find /var/lib/rancher /run/ros-agent /etc/docker -type f ! -name lock 2>/dev/null | sed 's/^/file /'";
        let text = node.sh(script)?;
        let mut lines: Vec<String> = text.lines().filter_map(steady).collect();
        lines.sort();
        Ok(Self { lines })
    }

    fn without(&self, other: &Self) -> Vec<&String> {
        let lines = self.lines.iter();
        lines.filter(|line| !other.lines.contains(line)).collect()
    }

    fn is_part_of(&self, later: &Self) -> Result<()> {
        let gone = self.without(later);
        ensure(gone.is_empty(), || format!("gone: {gone:#?}"))
    }

    fn is_same(&self, later: &Self) -> Result<()> {
        let left = later.without(self);
        ensure(left.is_empty(), || format!("left: {left:#?}"))?;
        self.is_part_of(later)
    }
}

/// A line without counters; none for those that say nothing.
fn steady(line: &str) -> Option<String> {
    let is_noise = line.contains(" #")
        || line.contains("COMMIT")
        || line.contains("fe80::")
        || line.contains("dev veth");
    // An empty table stays where one was used: iptables-legacy cannot remove it.
    let is_empty = line.contains("tables *")
        || line.contains(" ACCEPT [") && line.contains("tables :")
        || line.contains("nft table ")
        || line.contains("type filter hook") && line.contains("policy accept");
    let is_link = line.starts_with("link veth");
    let without_counters = line.split(" [").next().unwrap_or(line);
    (!is_noise && !is_empty && !is_link).then(|| without_counters.to_owned())
}
