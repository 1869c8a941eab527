//! The resolver of a host beside dnsmasq and aardvark-dns, with the same 10,000 names: queries a second as fast as they are answered, latency at
//! two steady rates, processor time a query, memory. One run, medians of rounds; a table and a line of JSON.
//!
//! `cargo bench -p agent --bench dns`; servers that are not installed are left out, and said so.
// A program for developers: a failure ends it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, missing_docs)]

mod changes;
mod load;
mod servers;

use std::time::Duration;

use load::{Load, Measured, Pace};
use servers::Server;

/// Names in the zone.
const NAMES: u32 = 10_000;
/// Rounds, of which the medians are shown.
const ROUNDS: usize = 5;
/// For how long each load lasts.
const LASTS: Duration = Duration::from_secs(1);
/// Queries that are out at the same time when nothing else limits them.
const WINDOW: usize = 64;
/// Queries a second of the steady loads: what a busy host has, and what even a slow server manages.
const BUSY: u32 = 10_000;
const CALM: u32 = 200;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        servers::serve_ours();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let starts: [fn(&std::path::Path) -> Option<Server>; 3] =
        [servers::ours, servers::dnsmasq, servers::aardvark];
    println!("p50 and p99 in us: with {WINDOW} queries out at all times, then at steady rates");
    let mut rows = Vec::new();
    for start in starts {
        let Some(server) = start(folder.path()) else {
            continue;
        };
        let row = Row::measure(&server);
        println!("{}", row.line());
        rows.push(row);
    }
    let own = &rows[0];
    for other in &rows[1..] {
        println!("{}", own.beside(other));
    }
    let changes = changes::measure();
    let json: Vec<_> = rows.iter().map(Row::json).collect();
    println!(
        "{}",
        serde_json::json!({"names": NAMES, "servers": json, "changes": changes})
    );
}

struct Row {
    name: &'static str,
    resident: f64,
    fast: Measured,
    calm: Measured,
    /// None: it is too slow for that.
    busy: Option<Measured>,
}

impl Row {
    fn measure(server: &Server) -> Self {
        let rounds = |pace| {
            let all = (0..ROUNDS).map(|seed| {
                let seed = u32::try_from(seed).unwrap();
                let load = Load {
                    server,
                    pace,
                    lasts: LASTS,
                    seed,
                };
                load.run()
            });
            Measured::median(all.collect())
        };
        let fast = rounds(Pace::Window(WINDOW));
        let is_able = fast.rate > 2.0 * f64::from(BUSY);
        Self {
            name: server.name,
            fast,
            calm: rounds(Pace::Rate(CALM)),
            busy: is_able.then(|| rounds(Pace::Rate(BUSY))),
            resident: server.resident(),
        }
    }

    fn lost(&self) -> usize {
        self.fast.lost + self.calm.lost + self.busy.map_or(0, |busy| busy.lost)
    }

    fn line(&self) -> String {
        let (fast, calm) = (self.fast, self.calm);
        let busy = self.busy.map_or("too slow".into(), |busy| {
            format!("{:>5.0} {:>6.0}", busy.p50, busy.p99)
        });
        format!(
            "{:<13} {:>8.0}/s {:>6.0} {:>6.0} us, {:>7.2} us processor; at {BUSY}/s {busy} us; at {CALM}/s {:>5.0} {:>6.0} us; {:>5.1} MB; lost {}",
            self.name,
            fast.rate,
            fast.p50,
            fast.p99,
            fast.cpu,
            calm.p50,
            calm.p99,
            self.resident,
            self.lost(),
        )
    }

    fn beside(&self, other: &Self) -> String {
        let busy = self.busy.zip(other.busy);
        let busy = busy.map_or(String::new(), |(own, other)| {
            format!(", p99 at {BUSY}/s {:.2}", own.p99 / other.p99)
        });
        format!(
            "{} : {}: queries a second {:.2}, processor time {:.2}, p99 as fast as it goes {:.2}, p99 at {CALM}/s {:.2}{busy}",
            self.name,
            other.name,
            self.fast.rate / other.fast.rate,
            self.fast.cpu / other.fast.cpu,
            self.fast.p99 / other.fast.p99,
            self.calm.p99 / other.calm.p99,
        )
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "name": self.name,
            "queries_per_second": self.fast.rate.round(),
            "fast": self.fast.json(),
            "busy": self.busy.map(|busy| busy.json()),
            "calm": self.calm.json(),
            "cpu_us_per_query": self.fast.cpu,
            "resident_mb": self.resident,
            "lost": self.lost(),
        })
    }
}
