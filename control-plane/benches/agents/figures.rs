//! What a run has measured: as a table for people, as JSON, and the verdict on it.

use serde::Serialize;

use crate::Outcome;

/// How much a change may cost a host more when there are more hosts.
const GROWTH: f64 = 1.25;

/// Times in seconds and milliseconds, memory in MiB, processors in percent of one. "Simulation" is the hosts' side, in a process of its own on
/// the same processors.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    pub hosts: usize,
    pub join_s: f64,
    pub join_again: u32,
    pub reports_again: u64,
    pub reported_s: f64,
    pub connected_s: f64,
    pub told_s: f64,
    pub join_processor_s: f64,
    pub join_simulation_s: f64,
    pub join_bytes_per_host: f64,
    pub join_streams: u64,
    pub memory_mib: f64,
    pub memory_peak_mib: f64,
    pub still_processor_percent: f64,
    pub still_simulation_percent: f64,
    pub still_bytes_per_host_s: f64,
    pub changes: u64,
    pub change_processor_percent: f64,
    pub change_simulation_percent: f64,
    pub change_memory_mib: f64,
    pub bytes_per_change_per_host: f64,
    pub frames_per_s: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    pub lost: u64,
    pub gaps: u64,
    pub back_s: f64,
    pub back_processor_s: f64,
    pub back_simulation_s: f64,
    pub back_bytes_per_host: f64,
    pub back_wholes: u64,
    pub back_lost: u64,
}

impl Figures {
    /// Whether nothing was lost.
    ///
    /// # Errors
    /// What was.
    fn judge(&self) -> Outcome<()> {
        let hosts = self.hosts;
        if self.gaps > 0 || self.lost > 0 || self.back_lost > 0 {
            return Err(format!(
                "{hosts} hosts: {} changes were not heard of, {} after the server was killed; {} frames did not follow the one before",
                self.lost, self.back_lost, self.gaps
            )
            .into());
        }
        // Each host needs one stream until the server is killed.
        if self.join_streams > hosts as u64 {
            let broken = self.join_streams - hosts as u64;
            return Err(format!("{hosts} hosts: {broken} streams broke in the storm").into());
        }
        Ok(())
    }
}

/// Whether nothing was lost in any run, and a change costs a host no more in a larger cluster.
///
/// # Errors
/// What is worse than it may be.
pub fn judge(all: &[Figures]) -> Outcome<()> {
    all.iter().try_for_each(Figures::judge)?;
    for pair in all.windows(2) {
        let (fewer, more) = (&pair[0], &pair[1]);
        let limit = fewer.bytes_per_change_per_host * GROWTH;
        if more.hosts > fewer.hosts && more.bytes_per_change_per_host > limit {
            return Err(format!(
                "a change takes {:.0} bytes to each of {} hosts, at most {limit:.0} are allowed after {} hosts",
                more.bytes_per_change_per_host, more.hosts, fewer.hosts
            )
            .into());
        }
    }
    Ok(())
}

/// For people.
pub fn table(all: &[Figures]) {
    let line = |name: &str, of: &dyn Fn(&Figures) -> String| {
        let cells: String = all
            .iter()
            .map(|figures| format!("{:>12}", of(figures)))
            .collect();
        println!("{name:<50}{cells}");
    };
    let pair = |server: f64, simulation: f64| format!("{server:.1}/{simulation:.1}");
    println!();
    line("hosts, with 50 containers each", &|f| f.hosts.to_string());
    line("all have joined, s", &|f| format!("{:.1}", f.join_s));
    line("  joins and reports that had to be repeated", &|f| {
        format!("{}/{}", f.join_again, f.reports_again)
    });
    line("all containers are reported, s", &|f| {
        format!("{:.1}", f.reported_s)
    });
    line("all are connected, s", &|f| format!("{:.1}", f.connected_s));
    line("all know of all containers, s", &|f| {
        format!("{:.1}", f.told_s)
    });
    line("  processor for all of it, s: server/simulation", &|f| {
        pair(f.join_processor_s, f.join_simulation_s)
    });
    line("  bytes to each host, KiB", &|f| {
        format!("{:.0}", f.join_bytes_per_host / 1024.0)
    });
    line("  streams that broke", &|f| {
        f.join_streams.saturating_sub(f.hosts as u64).to_string()
    });
    line("standing still: processor, % of one", &|f| {
        pair(f.still_processor_percent, f.still_simulation_percent)
    });
    line("  memory, MiB", &|f| format!("{:.0}", f.memory_mib));
    line("  memory at its peak, MiB", &|f| {
        format!("{:.0}", f.memory_peak_mib)
    });
    line("  bytes a second to each host", &|f| {
        format!("{:.0}", f.still_bytes_per_host_s)
    });
    line("100 changes/s: processor, % of one", &|f| {
        pair(f.change_processor_percent, f.change_simulation_percent)
    });
    line("  memory, MiB", &|f| format!("{:.0}", f.change_memory_mib));
    line("  bytes of a change to each host", &|f| {
        format!("{:.0}", f.bytes_per_change_per_host)
    });
    line("  frames a second to each host", &|f| {
        format!("{:.1}", f.frames_per_s)
    });
    line("  known everywhere, median ms", &|f| {
        format!("{:.1}", f.p50_ms)
    });
    line("  known everywhere, p99 ms", &|f| {
        format!("{:.1}", f.p99_ms)
    });
    line("  known everywhere, worst ms", &|f| {
        format!("{:.1}", f.max_ms)
    });
    line("  not heard of / out of order", &|f| {
        format!("{}/{}", f.lost, f.gaps)
    });
    line("server killed: all follow it again, s", &|f| {
        format!("{:.1}", f.back_s)
    });
    line("  processor for it, s", &|f| {
        pair(f.back_processor_s, f.back_simulation_s)
    });
    line("  bytes to each host, KiB", &|f| {
        format!("{:.1}", f.back_bytes_per_host / 1024.0)
    });
    line("  hosts that were told everything", &|f| {
        f.back_wholes.to_string()
    });
    line("  changes after it that were not heard of", &|f| {
        f.back_lost.to_string()
    });
    println!();
}
