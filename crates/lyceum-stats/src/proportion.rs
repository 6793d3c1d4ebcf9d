use statrs::distribution::{ContinuousCDF, Normal};

use crate::{Estimate, LEVEL, Method};

/// Proportion of independent trials that succeeded, with Wilson's score interval (Wilson 1927, without continuity
/// correction). It stays within \[0, 1\] and is sensible at 0 and at all successes.
#[must_use]
pub fn proportion(successes: usize, trials: usize) -> Estimate {
    let n = trials as f64;
    let rate = successes as f64 / n;
    let z = Normal::standard().inverse_cdf(0.5 + LEVEL / 2.0);
    let centre = (rate + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (rate * (1.0 - rate) / n + z * z / (4.0 * n * n)).sqrt();
    Estimate {
        mean: rate,
        // Rounding must not push the interval off the value it is of.
        low: (centre - half).max(0.0).min(rate),
        high: (centre + half).min(1.0).max(rate),
        n: trials,
        unscored: 0,
        groups: None,
        method: Method::Wilson,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// scipy 1.17.1: `scipy.stats.binomtest(k, n).proportion_ci(method="wilson")`.
    #[test]
    fn worked_examples() {
        for (successes, trials, low, high) in [
            (265, 643, 0.374_716_774, 0.450_588_178),
            (0, 20, 0.0, 0.161_125_158),
            (20, 20, 0.838_874_842, 1.0),
            (1, 2, 0.094_531_206, 0.905_468_794),
        ] {
            let found = proportion(successes, trials);
            assert!((found.low - low).abs() < 1e-8, "{successes}/{trials}: {} {low}", found.low);
            assert!((found.high - high).abs() < 1e-8, "{successes}/{trials}: {} {high}", found.high);
        }
        assert!(proportion(0, 0).mean.is_nan());
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_rate_and_mirrors(trials in 1usize..2000, share in 0.0..=1.0f64) {
            let successes = (share * trials as f64) as usize;
            let found = proportion(successes, trials);
            prop_assert!(0.0 <= found.low && found.low <= found.mean);
            prop_assert!(found.mean <= found.high && found.high <= 1.0);
            let mirrored = proportion(trials - successes, trials);
            prop_assert!((mirrored.low - (1.0 - found.high)).abs() < 1e-12);
        }

        #[test]
        fn more_trials_narrow_it(trials in 1usize..500) {
            let width = |e: Estimate| e.high - e.low;
            prop_assert!(width(proportion(4 * trials, 8 * trials)) < width(proportion(trials, 2 * trials)));
        }
    }
}
