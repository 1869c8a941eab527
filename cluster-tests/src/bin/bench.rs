//! `make bench-cluster`: containers on two hosts, by our network and by Docker Swarm's, in turns; names; a server that is lost. Prints a table
//! and writes `build/bench-cluster.json`.

use api::network::Encapsulation;
use cluster_tests::bench::propagation::{self, Watched};
use cluster_tests::bench::throughput::Way;
use cluster_tests::bench::{Report, lost, swarm};
use cluster_tests::cluster::{Cluster, NETWORK};
use cluster_tests::container::{run, web};
use cluster_tests::root::Root;
use cluster_tests::stage::Stage;
use cluster_tests::{HarnessError, Result};
use qemu_tests::artefacts::build_folder;

const HOSTS: [(&str, Root); 2] = [("a", Root::Docker26), ("b", Root::Docker26)];
/// Samples of each way; the ways take turns, so that a busy moment of the machine meets all of them.
const ROUNDS: u32 = 5;
/// Containers that are started in each network.
const STARTS: u32 = 30;
const RATIOS: [(&str, &str); 9] = [
    ("throughput vxlan", "throughput swarm beside vxlan"),
    ("throughput vxlan", "throughput hosts beside vxlan"),
    ("throughput direct", "throughput swarm beside direct"),
    ("throughput direct", "throughput hosts beside direct"),
    ("latency vxlan", "latency swarm beside vxlan"),
    ("latency vxlan", "latency hosts beside vxlan"),
    ("latency direct", "latency swarm beside direct"),
    ("latency direct", "latency hosts beside direct"),
    (
        "name after `docker start` ours",
        "name after `docker start` swarm",
    ),
];

fn main() -> Result<()> {
    let stage = Stage::open("bench")?;
    let mut report = Report::default();
    let cluster = Cluster::start(&stage, &HOSTS, Encapsulation::Vxlan)?;
    swarm::make(&cluster.hosts)?;
    for node in &cluster.hosts {
        run(node, "ours", &["--network", NETWORK], &[])?;
        run(node, "theirs", &["--network", swarm::NETWORK], &[])?;
    }
    ways(&cluster, "vxlan", &mut report)?;
    names(&cluster, &mut report)?;
    web(&cluster.hosts[0], "web", &[])?;
    for _ in 0..3 {
        lost::measure(&cluster, "ours", "http://web/", &mut report)?;
    }
    cluster.change_encapsulation(Encapsulation::Direct)?;
    ways(&cluster, "direct", &mut report)?;
    print!("{}", report.table(&RATIOS));
    save(&report)
}

fn ways(cluster: &Cluster, ours: &str, report: &mut Report) -> Result<()> {
    let [a, b] = &cluster.hosts[..] else {
        return Ok(());
    };
    let ways = [
        // What they are compared with is measured in the same minutes: the machine is not always as fast.
        (format!("hosts beside {ours}"), None, ""),
        (ours.to_owned(), Some("ours"), NETWORK),
        (
            format!("swarm beside {ours}"),
            Some("theirs"),
            swarm::NETWORK,
        ),
    ];
    for round in 1..=ROUNDS {
        eprintln!("bench: {ours}, round {round} of {ROUNDS}");
        for (name, container, network) in &ways {
            let way = Way {
                name,
                from: (b, *container),
                to: (a, *container),
                network,
            };
            way.measure(report)?;
        }
    }
    Ok(())
}

fn names(cluster: &Cluster, report: &mut Report) -> Result<()> {
    let [a, b] = &cluster.hosts[..] else {
        return Ok(());
    };
    let ways = [
        ("ours", NETWORK, "ours"),
        ("swarm", swarm::NETWORK, "theirs"),
    ];
    for number in 1..=STARTS {
        for (name, network, from) in ways {
            let watched = Watched {
                name,
                network,
                on: a,
                from: (b, from),
            };
            watched.measure(number, report)?;
        }
        propagation::measure_docker(a, number, report)?;
    }
    Ok(())
}

fn save(report: &Report) -> Result<()> {
    let file = build_folder().join("bench-cluster.json");
    let text = serde_json::to_string_pretty(report).unwrap_or_default();
    std::fs::write(&file, text).map_err(HarnessError::file("write figures", &file))
}
