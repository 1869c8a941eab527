//! The comparison with Debian: what is measured, on what, and how it becomes figures and verdicts.
//! Owns the cache folder's `peer/` and `build/bench/`; the command is `src/bin/bench.rs`.

pub mod budget;
pub mod measure;
pub mod ours;
pub mod peer;
pub mod report;

/// The median of some samples; for an even number the mean of both middle ones. `None` without samples.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = sorted.len() / 2;
    let lower = sorted.len().checked_sub(1)? / 2;
    Some((sorted.get(lower)? + sorted.get(upper)?) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn median_takes_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
