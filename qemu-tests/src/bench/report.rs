//! Figures from samples, the table for people and the JSON for machines. Pure but for the two sizes it is handed.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::bench::budget::Budgets;
use crate::bench::measure::Sample;
use crate::bench::median;

/// Everything one bench run found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What the figures were taken with.
    pub method: String,
    /// Boots by variant: `ours`, `debian`, `ours-first-boot`, `ours-iso-bios`, …
    pub samples: BTreeMap<String, Vec<Sample>>,
    /// Sizes in bytes by name.
    pub sizes: BTreeMap<String, u64>,
    /// Seconds of the warm rebuild, when it was asked for.
    pub rebuild_s: Option<f64>,
}

impl Report {
    /// The figures that have a budget.
    pub fn figures(&self) -> BTreeMap<String, f64> {
        let mut figures = BTreeMap::new();
        let ratio = |of: fn(&Sample) -> Option<f64>| {
            Some(self.median_of("ours", of)? / self.median_of("debian", of)?)
        };
        let mib = |name: &str| {
            self.sizes
                .get(name)
                .map(|bytes| *bytes as f64 / f64::from(1 << 20))
        };
        let found = [
            ("boot_ratio", ratio(|sample| Some(sample.version_s))),
            ("memory_ratio", ratio(|sample| sample.memory_kib)),
            ("iso_mib", mib("ros.iso")),
            ("rebuild_s", self.rebuild_s),
        ];
        for (name, value) in found {
            if let Some(value) = value {
                figures.insert(name.to_owned(), value);
            }
        }
        figures
    }

    /// Where the time of one variant goes: when each milestone was reached, and the step to it.
    fn milestones(&self, variant: &str) -> String {
        let samples = self.samples.get(variant).map_or(&[][..], Vec::as_slice);
        let Some(first) = samples.first() else {
            return String::new();
        };
        let mut text = format!("\n| {variant}: milestone | at s | step s |\n|---|---|---|\n");
        let mut before = 0.0;
        for (name, _) in &first.milestones {
            let times: Vec<f64> = samples
                .iter()
                .flat_map(|sample| &sample.milestones)
                .filter_map(|(other, at)| (other == name).then_some(*at))
                .collect();
            if let Some(at) = median(&times) {
                text.push_str(&format!("| {name} | {at:.1} | {:.1} |\n", at - before));
                before = at;
            }
        }
        text
    }

    fn median_of(&self, variant: &str, of: fn(&Sample) -> Option<f64>) -> Option<f64> {
        let samples = self.samples.get(variant)?;
        median(&samples.iter().filter_map(of).collect::<Vec<_>>())
    }

    /// The tables for the terminal, in Markdown.
    pub fn table(&self, budgets: &Budgets) -> String {
        let mut text = String::from(
            "| variant | boots | API s | `docker version` s (all) | processor s | ssh login s | idle MiB |\n|---|---|---|---|---|---|---|\n",
        );
        for (variant, samples) in &self.samples {
            let cell = |of: fn(&Sample) -> Option<f64>, scale: f64| {
                self.median_of(variant, of)
                    .map_or("-".to_owned(), |value| format!("{:.1}", value / scale))
            };
            let all: Vec<String> = samples
                .iter()
                .map(|sample| format!("{:.1}", sample.version_s))
                .collect();
            text.push_str(&format!(
                "| {variant} | {} | {} | **{}** ({}) | {} | {} | {} |\n",
                samples.len(),
                cell(|sample| Some(sample.api_s), 1.0),
                cell(|sample| Some(sample.version_s), 1.0),
                all.join(", "),
                cell(|sample| Some(sample.cpu_s), 1.0),
                cell(|sample| Some(sample.login_s), 1.0),
                cell(|sample| sample.memory_kib, 1024.0),
            ));
        }
        for variant in ["ours", "debian"] {
            text.push_str(&self.milestones(variant));
        }
        text.push_str("\n| size | bytes | MiB |\n|---|---|---|\n");
        for (name, bytes) in &self.sizes {
            text.push_str(&format!(
                "| {name} | {bytes} | {:.1} |\n",
                *bytes as f64 / f64::from(1 << 20)
            ));
        }
        text.push_str("\n| figure | measured | aim | limit | verdict |\n|---|---|---|---|---|\n");
        for (name, value) in self.figures() {
            let Some(budget) = budgets.get(&name) else {
                continue;
            };
            let verdict = match value {
                value if value > budget.limit => "OVER THE LIMIT",
                value if value > budget.aim => "within the limit",
                _ => "reaches the aim",
            };
            text.push_str(&format!(
                "| {name}: {} | {value:.3} {} | {} | {} | {verdict} |\n",
                budget.what, budget.unit, budget.aim, budget.limit
            ));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(version_s: f64, memory_kib: f64) -> Sample {
        Sample {
            version_s,
            memory_kib: Some(memory_kib),
            ..Sample::default()
        }
    }

    #[test]
    fn ratios_are_of_medians() {
        let mut report = Report::default();
        report.samples.insert(
            "ours".into(),
            vec![sample(9.0, 50.0), sample(10.0, 60.0), sample(30.0, 70.0)],
        );
        report
            .samples
            .insert("debian".into(), vec![sample(40.0, 120.0)]);
        report.sizes.insert("ros.iso".into(), 64 << 20);
        let figures = report.figures();
        assert!((figures["boot_ratio"] - 0.25).abs() < 1e-9);
        assert!((figures["memory_ratio"] - 0.5).abs() < 1e-9);
        assert!((figures["iso_mib"] - 64.0).abs() < 1e-9);
        assert!(!figures.contains_key("rebuild_s"));
    }

    #[test]
    fn steps_are_between_medians() {
        let boot = |first, second| Sample {
            milestones: vec![("kernel".into(), first), ("docker".into(), second)],
            ..Sample::default()
        };
        let mut report = Report::default();
        let boots = vec![boot(1.0, 9.0), boot(2.0, 5.0), boot(3.0, 7.0)];
        report.samples.insert("ours".into(), boots);
        let table = report.milestones("ours");
        assert!(table.ends_with("| kernel | 2.0 | 2.0 |\n| docker | 7.0 | 5.0 |\n"));
        assert_eq!(report.milestones("debian"), "");
    }

    #[test]
    fn one_side_alone_gives_no_ratio() {
        let mut report = Report::default();
        report
            .samples
            .insert("debian".into(), vec![sample(40.0, 120.0)]);
        assert!(report.figures().is_empty());
    }
}
