//! Chance that can be had again: the same seed makes the same choices. Owns nothing.

/// Choices that follow from a seed (a linear congruential generator, Knuth's MMIX).
pub struct Chance {
    seed: u64,
    state: u64,
}

impl Chance {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut chance = Self { seed, state: seed };
        // Seeds that lie close make different choices from the first on.
        chance.below(2);
        chance.below(2);
        chance
    }

    /// The seed, to be told.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A number from 0 up to, but not, `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // The high bits are the good ones.
        (self.state >> 33) % limit.max(1)
    }

    /// One of several, which must not be none.
    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let index = usize::try_from(self.below(all.len() as u64)).unwrap_or_default();
        &all[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_choices_and_all_of_them() {
        let choices = |seed| {
            let mut chance = Chance::new(seed);
            (0..200).map(|_| chance.below(12)).collect::<Vec<_>>()
        };
        assert_eq!(choices(7), choices(7));
        assert_ne!(choices(7), choices(8));
        assert!((0..12).all(|number| choices(7).contains(&number)));
    }
}
