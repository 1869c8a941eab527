//! `make bench-cluster`: what each encapsulation lets through between containers on two machines under QEMU, a Debian and one of the image,
//! beside what passes between the machines themselves. WireGuard needs a kernel that has it, which the machine that measures may lack.

use cluster_tests::bench::Report;
use qemu_tests::artefacts::build_folder;
use qemu_tests::cluster::{Foreign, Place, SOON, ours};
use qemu_tests::guest::Guest;
use qemu_tests::stage::on_stage;
use qemu_tests::{HarnessError, Result, iperf};

/// Samples of each way; the containers' way and the machines' take turns.
const ROUNDS: u32 = 5;
const SECONDS: u32 = 4;
/// An encapsulation, and the link that a host has with it.
const WAYS: [(&str, &str); 3] = [("wireguard", "ros-wg"), ("vxlan", "ros-vx"), ("direct", "")];
/// Port of the machines' own iperf3.
const MACHINES: u16 = 5202;

fn main() -> Result<()> {
    on_stage("bench-vms", &["mmdebstrap"], |stage| {
        let debian = Foreign::boot(stage, None)?;
        let join = debian.found_cluster()?;
        let one = ours(stage, "one", Place::Shared(11), &join)?;
        debian.wait_for_hosts(2)?;
        let archive = iperf::image()?;
        for guest in [&debian.guest, &one] {
            guest.ssh.ok_with_input("docker load", &archive)?;
            guest.ssh.wait_for("docker network inspect ros", SOON)?;
        }
        one.ssh
            .ok("docker run -d --name sink --network ros iperf:1 -s")?;
        one.ssh.ok(&format!(
            "docker run -d --name machine --network host iperf:1 -s -p {MACHINES}"
        ))?;
        let mut report = Report::default();
        for (name, link) in WAYS {
            change(&debian, &one, name, link)?;
            for round in 1..=ROUNDS {
                eprintln!("bench: {name}, round {round} of {ROUNDS}");
                measure(&debian, &one, name, &mut report)?;
            }
        }
        let names = WAYS.map(|(name, _)| (format!("throughput {name}"), "throughput machines"));
        let ratios: Vec<(&str, &str)> = names
            .iter()
            .map(|(one, other)| (one.as_str(), *other))
            .collect();
        print!("{}", report.table(&ratios));
        let file = build_folder().join("bench-vms.json");
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        std::fs::write(&file, text).map_err(HarnessError::file("write figures", &file))
    })
}

/// All packets go that way from now on.
fn change(debian: &Foreign, one: &Guest, name: &str, link: &str) -> Result<()> {
    debian
        .root
        .ok(&format!("ros networks set ros --encapsulation {name}"))?;
    let links = format!("test \"$(ip -o link | grep -o -E 'ros-(wg|vx)' | sort -u)\" = '{link}'");
    debian.root.wait_for(&links, SOON)?;
    one.ssh.wait_for(&links, SOON)?;
    let reached = format!(
        "docker run --rm --network ros iperf:1 -c {} -t 1",
        sink(one)?
    );
    debian.root.wait_for(&reached, SOON).map(drop)
}

fn sink(one: &Guest) -> Result<String> {
    one.ssh
        .ok("docker inspect -f '{{.NetworkSettings.Networks.ros.IPAddress}}' sink")
}

fn measure(debian: &Foreign, one: &Guest, name: &str, report: &mut Report) -> Result<()> {
    let containers = format!("--network ros iperf:1 -c {}", sink(one)?);
    let machines = format!("--network host iperf:1 -c 192.168.99.11 -p {MACHINES}");
    for (name, way) in [("machines", machines), (name, containers)] {
        let answer = debian
            .root
            .ok(&format!("docker run --rm {way} -t {SECONDS} -J"))?;
        report.add(
            &format!("throughput {name}"),
            "Mbit/s",
            iperf::received(&answer)? / 1e6,
        );
    }
    Ok(())
}
