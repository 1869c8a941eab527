//! A server that is lost while containers ask each other: what fails, and how long until all is as before. Owns the load.

use std::time::{Duration, Instant};

use qemu_tests::Result;

use super::Report;
use crate::cluster::{Cluster, SERVER};
use crate::load::Load;
use crate::node::End;

/// How long it is away.
const AWAY: Duration = Duration::from_secs(10);

/// Takes one sample: `from` on the second host asks `url` all the while.
///
/// # Errors
/// When the server does not come back.
pub fn measure(cluster: &Cluster, from: &str, url: &str, report: &mut Report) -> Result<()> {
    let [_, asking, ..] = &cluster.hosts[..] else {
        return Ok(());
    };
    let load = Load::start(asking, from, url)?;
    std::thread::sleep(Duration::from_secs(1));
    cluster.server.end(SERVER, End::Killed)?;
    std::thread::sleep(AWAY);
    let start = Instant::now();
    cluster.start_server()?;
    report.add("server back: API", "s", start.elapsed().as_secs_f64());
    cluster.wait_connected()?;
    report.add(
        "server back: all hosts connected",
        "s",
        start.elapsed().as_secs_f64(),
    );
    let counts = load.counts()?;
    load.stop()?;
    report.add("server lost: failed requests", "", counts.bad as f64);
    report.add("server lost: answered requests", "", counts.good as f64);
    Ok(())
}
