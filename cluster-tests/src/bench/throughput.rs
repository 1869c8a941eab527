//! Throughput and latency between two network namespaces on two hosts, by iperf3 and ping. Owns the server that it starts.

use std::time::Duration;

use qemu_tests::wait::{Look, Patience, until};
use qemu_tests::{HarnessError, Result, iperf};

use super::Report;
use crate::container::address_in;
use crate::node::Node;

/// Seconds of one sample.
const SECONDS: &str = "3";

/// One way from a host to another.
pub struct Way<'a> {
    /// Its name in the report.
    pub name: &'a str,
    /// The host that asks, and its container; none: the host itself.
    pub from: (&'a Node, Option<&'a str>),
    /// The host that answers, likewise.
    pub to: (&'a Node, Option<&'a str>),
    /// The network of the containers.
    pub network: &'a str,
}

impl Way<'_> {
    /// Takes one sample of each figure.
    ///
    /// # Errors
    /// When a program fails.
    pub fn measure(&self, report: &mut Report) -> Result<()> {
        let target = match self.to {
            (node, None) => node.address.to_string(),
            (node, Some(container)) => address_in(node, container, self.network)?,
        };
        let pid = inside(self.to, &["iperf3", "-s", "-1", "-D"])?;
        drop(pid);
        let client = ["iperf3", "-c", &target, "-t", SECONDS, "-J"];
        let patience = Patience::seconds(5).every(Duration::from_millis(100));
        let answer = until("iperf3's server", patience, || {
            Ok(match inside(self.from, &client) {
                Ok(answer) => Look::Seen(answer),
                Err(error) => Look::NotYet(error.chain()),
            })
        })?;
        let bits = iperf::received(&answer)?;
        report.add(&format!("throughput {}", self.name), "Gbit/s", bits / 1e9);
        let ping = ["ping", "-q", "-i", "0.002", "-c", "1000", &target];
        let said = inside(self.from, &ping)?;
        let average = said
            .split(" = ")
            .nth(1)
            .and_then(|times| times.split('/').nth(1));
        let average: Option<f64> = average.and_then(|number| number.parse().ok());
        let average = average.ok_or_else(|| form("ping's summary", &said))?;
        report.add(&format!("latency {}", self.name), "ms", average);
        Ok(())
    }
}

fn form(what: &'static str, text: &str) -> HarnessError {
    HarnessError::Form {
        what,
        detail: text.to_owned(),
    }
}

/// Runs a program of the host in a container's network, or in the host's.
fn inside((node, container): (&Node, Option<&str>), words: &[&str]) -> Result<String> {
    let Some(container) = container else {
        return node.run(words);
    };
    let process = node.docker(&["inspect", "-f", "{{.State.Pid}}", container])?;
    let network = format!("--net=/proc/{process}/ns/net");
    node.run(&[&["nsenter", &network], words].concat())
}
