//! From a container's start on one host to the answer to its name on another. Owns the containers that it starts.

use jiff::Timestamp;
use qemu_tests::Result;

use super::Report;
use super::lookup::{network_of, until_answered};
use crate::container::started;
use crate::image;
use crate::node::Node;

/// A network, and who looks at it from where.
pub struct Watched<'a> {
    /// Its name in the report.
    pub name: &'a str,
    /// Its name in Docker.
    pub network: &'a str,
    /// Where containers start.
    pub on: &'a Node,
    /// The host that asks, and its container in the network.
    pub from: (&'a Node, &'a str),
}

impl Watched<'_> {
    /// Starts one container and takes the time.
    ///
    /// # Errors
    /// When the name is not answered in time.
    pub fn measure(&self, number: u32, report: &mut Report) -> Result<()> {
        let name = format!("new-{}-{number}", self.name);
        let create = [
            "create",
            "--name",
            &name,
            "--network",
            self.network,
            image::NAME,
        ];
        self.on.docker(&create)?;
        let network = network_of(self.from.0, self.from.1)?;
        let (begun, answered) = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| until_answered(&network, &name));
            let begun = Timestamp::now();
            self.on.docker(&["start", &name])?;
            let answered = waiting.join();
            Ok::<_, qemu_tests::HarnessError>((begun, answered))
        })?;
        let answered = answered.unwrap_or_else(|_| Ok(Timestamp::now()))?;
        let started = started(self.on, &name)?;
        // Less than nothing: the name was there before the program ran, as Swarm does it.
        let since_start = answered.duration_since(started).as_secs_f64();
        let since_asked = answered.duration_since(begun).as_secs_f64();
        report.add(&format!("name after start {}", self.name), "s", since_start);
        report.add(
            &format!("name after `docker start` {}", self.name),
            "s",
            since_asked,
        );
        self.on.docker(&["rm", "-f", &name]).map(drop)
    }
}

/// What Docker alone takes to start a container, in its own network: the part of the others that no cluster can take away.
///
/// # Errors
/// When Docker does not start it.
pub fn measure_docker(on: &Node, number: u32, report: &mut Report) -> Result<()> {
    let name = format!("new-plain-{number}");
    on.docker(&["create", "--name", &name, image::NAME])?;
    let begun = Timestamp::now();
    on.docker(&["start", &name])?;
    let taken = started(on, &name)?.duration_since(begun).as_secs_f64();
    report.add("started after `docker start`, Docker alone", "s", taken);
    on.docker(&["rm", "-f", &name]).map(drop)
}
