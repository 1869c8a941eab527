//! Budgets: one file with a limit, an aim and the last measured value for each figure, and the check against new figures.
//! Pure but for reading that file.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::{HarnessError, Result};

/// One figure's budget. A smaller value is always the better one.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// What is counted, for people.
    pub what: String,
    /// Its unit.
    pub unit: String,
    /// The value when the file was last brought up to date.
    pub value: f64,
    /// Above this the check fails.
    pub limit: f64,
    /// What would be good.
    pub aim: f64,
}

/// All budgets by figure.
pub type Budgets = BTreeMap<String, Budget>;

/// Reads the budgets file.
///
/// # Errors
/// When it cannot be read or has unknown or missing keys.
pub fn read(file: &Path) -> Result<Budgets> {
    let text = std::fs::read_to_string(file).map_err(HarnessError::file("read budgets", file))?;
    toml::from_str(&text).map_err(|error| HarnessError::Form {
        what: "budgets file",
        detail: error.to_string(),
    })
}

/// What is wrong with `figures`: one sentence for each that exceeds its budget and for each that has none.
pub fn complaints(budgets: &Budgets, figures: &BTreeMap<String, f64>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, value) in figures {
        match budgets.get(name) {
            None => complaints.push(format!("{name} = {value:.3} has no budget")),
            Some(budget) if *value > budget.limit => complaints.push(format!(
                "{name} = {value:.3} {} is over its limit of {} ({})",
                budget.unit, budget.limit, budget.what
            )),
            Some(_) => {}
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> Budgets {
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("budgets.toml")).unwrap()
    }

    #[test]
    fn the_shipped_file_is_consistent() {
        for (name, budget) in shipped() {
            assert!(budget.aim <= budget.limit, "{name}: aims above its limit");
        }
    }

    #[test]
    fn over_the_limit_and_unknown_figures_are_complaints() {
        let budgets = shipped();
        let figures = BTreeMap::from([("iso_mib".to_owned(), 1e9), ("novelty".to_owned(), 0.0)]);
        let complaints = complaints(&budgets, &figures);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        let fine = BTreeMap::from([("iso_mib".to_owned(), 1.0)]);
        assert!(super::complaints(&budgets, &fine).is_empty());
    }
}
