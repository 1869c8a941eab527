//! Samples by name, and what people and programs read of them. Pure.

use std::collections::BTreeMap;

use qemu_tests::bench::median;
use serde::Serialize;

/// Everything that was measured.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Samples by figure, such as `throughput vxlan`, and their unit.
    pub figures: BTreeMap<String, Figure>,
}

/// Samples of one figure.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figure {
    /// What they are counted in.
    pub unit: String,
    /// In the order in which they were taken.
    pub samples: Vec<f64>,
}

impl Figure {
    /// The middle one.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        median(&self.samples)
    }

    /// The smallest one that is not exceeded by 99 in a hundred; of few samples, the largest.
    #[must_use]
    pub fn p99(&self) -> Option<f64> {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * 99).div_ceil(100);
        sorted.get(rank.checked_sub(1)?).copied()
    }
}

impl Report {
    /// Adds a sample.
    pub fn add(&mut self, figure: &str, unit: &str, sample: f64) {
        let figure = self.figures.entry(figure.to_owned()).or_default();
        unit.clone_into(&mut figure.unit);
        figure.samples.push(sample);
    }

    /// How many times `other` the median of `figure` is.
    #[must_use]
    pub fn ratio(&self, figure: &str, other: &str) -> Option<f64> {
        Some(self.figures.get(figure)?.median()? / self.figures.get(other)?.median()?)
    }

    /// A table; `ratios` are pairs of figures to be compared.
    #[must_use]
    pub fn table(&self, ratios: &[(&str, &str)]) -> String {
        let mut text = String::from("| figure | median | p99 | samples |\n|---|---|---|---|\n");
        for (name, figure) in &self.figures {
            let shown =
                |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
            let (middle, late) = (shown(figure.median()), shown(figure.p99()));
            let (unit, count) = (&figure.unit, figure.samples.len());
            text += &format!("| {name} | {middle} {unit} | {late} {unit} | {count} |\n");
        }
        text += "\n| ratio of medians | |\n|---|---|\n";
        for (one, other) in ratios {
            if let Some(ratio) = self.ratio(one, other) {
                text += &format!("| {one} / {other} | {ratio:.2} |\n");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_and_ratios_are_of_medians() {
        let mut report = Report::default();
        for sample in [3.0, 1.0, 2.0] {
            report.add("a", "s", sample);
            report.add("b", "s", 2.0 * sample);
        }
        assert_eq!(report.ratio("b", "a"), Some(2.0));
        assert_eq!(report.ratio("b", "c"), None);
        let figure = Figure {
            unit: "s".into(),
            samples: (1..=200).map(f64::from).collect(),
        };
        assert_eq!((figure.median(), figure.p99()), (Some(100.5), Some(198.0)));
        assert!(report.table(&[("b", "a")]).contains("| b / a | 2.00 |"));
    }
}
