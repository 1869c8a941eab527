//! A cluster to look around in: three hosts with Docker of three generations. Prints how to enter each; ends with its input.

use api::network::Encapsulation;
use cluster_tests::Result;
use cluster_tests::cluster::Cluster;
use cluster_tests::container::{idle, web};
use cluster_tests::node::Node;
use cluster_tests::root::Root;
use cluster_tests::stage::Stage;

const HOSTS: [(&str, Root); 3] = [
    ("a", Root::Docker20),
    ("b", Root::Docker26),
    ("c", Root::Docker28),
];

fn main() -> Result<()> {
    let stage = Stage::open("cluster")?;
    let cluster = Cluster::start(&stage, &HOSTS, Encapsulation::Vxlan)?;
    for node in &cluster.hosts {
        idle(node, &format!("box-{}", node.name))?;
        web(node, &format!("web-{}", node.name), &[])?;
    }
    let machines = [cluster.net.outside(), &cluster.server];
    for node in machines.into_iter().chain(&cluster.hosts) {
        println!("{}:", node.name);
        println!("  {}", way_in(node));
    }
    println!("Logs: {}", stage.logs().display());
    println!("Ends with its input (Ctrl-D).");
    drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    Ok(())
}

fn way_in(node: &Node) -> String {
    format!("nsenter {} sh", node.space().way_in().join(" "))
}
