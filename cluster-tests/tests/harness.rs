//! The harness itself: hosts with Dockers of three generations, links that are cut and lose packets, and nothing left of them afterwards.

use std::path::Path;

use cluster_tests::net::{Cable, Faults, GATEWAY, Net};
use cluster_tests::node::{End, Node, Plan};
use cluster_tests::root::Root;
use cluster_tests::stage::{Stage, on_stage};
use cluster_tests::{HarnessError, Result, image};
use qemu_tests::judge::{Judge, contains, ensure, equal};
use qemu_tests::wait::{Look, Patience, until};

#[test]
fn hosts_with_three_generations_of_docker_stand_beside_each_other() -> Result<()> {
    let mut holders = Vec::new();
    let mut mark = String::new();
    let outcome = on_stage("harness", |stage| {
        let mut net = Net::new(stage)?;
        let nodes = start(stage, &mut net)?;
        holders = nodes.iter().map(|node| node.space().holder()).collect();
        mark = stage.mark().to_owned();
        let mut judge = Judge::of(stage.name());
        for node in &nodes {
            judge.check(&format!("{}: a container runs", node.name), || {
                container_runs(node)
            });
        }
        judge_network(&mut judge, &net, &nodes);
        judge.check("a killed Docker comes back", || killed_docker(&nodes[0]));
        judge.check(
            "a host that starts anew has its disk, and nothing else",
            || starts_anew(&nodes[2]),
        );
        judge.verdict("")
    });
    outcome?;
    if holders.is_empty() {
        return Ok(());
    }
    nothing_is_left(&holders, &mark)
}

fn start(stage: &Stage, net: &mut Net) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for (name, root) in ["a", "b", "c"].into_iter().zip(Root::ALL) {
        let mut node = Node::start(stage, &Plan::new(name, root))?;
        net.join(&mut node)?;
        node.start_docker()?;
        nodes.push(node);
    }
    for node in &nodes {
        node.wait_for_docker()?;
        image::load(node)?;
    }
    Ok(nodes)
}

fn container_runs(node: &Node) -> Result<()> {
    let version = node.docker(&["version", "--format", "{{.Server.Version}}"])?;
    let expected = match node.root {
        Root::Docker20 => "20.10.",
        Root::Docker26 => "26.",
        Root::Docker28 => "28.",
    };
    ensure(version.starts_with(expected), || version.clone())?;
    equal(
        node.docker(&["info", "--format", "{{.Driver}}"])?,
        "overlay2",
    )?;
    node.docker(&["run", "-d", "--name", "web", image::NAME])?;
    equal(node.in_container("web", &["echo", "hello"])?, "hello")?;
    let outside = GATEWAY.to_string();
    node.in_container("web", &["ping", "-c", "1", "-W", "2", &outside])?;
    equal(node.run(&["uname", "-n"])?, node.name.as_str())
}

fn judge_network(judge: &mut Judge, net: &Net, nodes: &[Node]) {
    let [a, b, c] = nodes else { return };
    judge.check("hosts reach each other", || reaches(a, b, Reach::Yes));
    judge.check("a pulled cable cuts a host off, and only it", || {
        net.set_cable(b, Cable::Out)?;
        reaches(a, b, Reach::No)?;
        reaches(a, c, Reach::Yes)?;
        net.set_cable(b, Cable::In)?;
        reaches(a, b, Reach::Yes)
    });
    judge.check("groups do not reach each other", || {
        net.set_faults(&Faults::parting(&[&[a, b], &[c]]))?;
        reaches(a, b, Reach::Yes)?;
        reaches(a, c, Reach::No)
    });
    judge.check(
        "a silenced host reaches nobody, not the gateway either",
        || {
            net.set_faults(&Faults::silencing(&[a]))?;
            reaches(a, b, Reach::No)?;
            ensure(!pings(a, &GATEWAY.to_string())?, || "it does".into())?;
            reaches(b, c, Reach::Yes)
        },
    );
    judge.check("packets get lost, but not all", || {
        net.set_faults(&Faults::losing(20))?;
        let address = b.address.to_string();
        let words = ["ping", "-q", "-i", "0.01", "-W", "1", "-c", "200", &address];
        let output = a.tool(&words).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lost = text.split("% packet loss").next().unwrap_or_default();
        let lost = lost.rsplit(' ').next().unwrap_or_default();
        let lost: f64 = lost.parse().map_err(|_| HarnessError::Form {
            what: "ping's summary",
            detail: text.clone(),
        })?;
        // Two ways of 20 % each: 36 % are expected.
        ensure((15.0..60.0).contains(&lost), || text.clone())
    });
    judge.check("all is well again", || {
        net.set_faults(&Faults::default())?;
        net.set_mtu(a, 1400)?;
        contains(&a.run(&["ip", "link", "show", "eth0"])?, "mtu 1400")?;
        reaches(a, b, Reach::Yes)?;
        reaches(a, c, Reach::Yes)
    });
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Yes,
    No,
}

fn reaches(from: &Node, to: &Node, expected: Reach) -> Result<()> {
    let seen = pings(from, &to.address.to_string())?;
    ensure(seen == (expected == Reach::Yes), || {
        format!("{} reaches {}: {seen}", from.name, to.name)
    })
}

fn pings(from: &Node, address: &str) -> Result<bool> {
    // Two attempts: the first may wait for the neighbour's address.
    let words = ["ping", "-q", "-c", "2", "-i", "0.2", "-W", "1", address];
    Ok(from.tool(&words).output()?.status.success())
}

fn killed_docker(node: &Node) -> Result<()> {
    node.end("dockerd", End::Killed)?;
    node.start_docker()?;
    node.wait_for_docker()?;
    node.docker(&["start", "web"])?;
    equal(node.in_container("web", &["echo", "again"])?, "again")
}

fn starts_anew(node: &Node) -> Result<()> {
    node.write("/run/gone", "")?;
    node.write("/root/kept", "")?;
    node.docker(&["update", "--restart", "always", "web"])?;
    node.reboot()?;
    for daemon in ["containerd", "dockerd"] {
        ensure(!node.runs(daemon), || format!("{daemon} runs"))?;
    }
    equal(node.sh("ls /root; ls /run")?, "kept\nharness")?;
    let links = node.sh("ip -o link | wc -l; iptables-save | wc -l")?;
    equal(links.lines().next(), Some("2"))?;
    node.start_docker()?;
    node.wait_for_docker()?;
    until("the container to run again", Patience::seconds(20), || {
        let seen = node.docker(&["ps", "--format", "{{.Names}}"])?;
        Ok(if seen == "web" {
            Look::Seen(())
        } else {
            Look::NotYet(seen)
        })
    })
}

fn nothing_is_left(holders: &[u32], mark: &str) -> Result<()> {
    for holder in holders {
        let process = format!("/proc/{holder}");
        ensure(!Path::new(&process).exists(), || {
            format!("{process} is there")
        })?;
    }
    let folder = std::env::temp_dir().join(mark);
    ensure(!folder.exists(), || {
        format!("{} is there", folder.display())
    })?;
    for hierarchy in ["", "cpu", "memory", "pids", "systemd"] {
        let group = Path::new("/sys/fs/cgroup").join(hierarchy).join(mark);
        ensure(!group.exists(), || format!("{} is there", group.display()))?;
    }
    let mounts = std::fs::read_to_string("/proc/mounts")
        .map_err(HarnessError::file("read mounts", "/proc/mounts"))?;
    ensure(!mounts.contains(mark), || mounts.clone())
}
