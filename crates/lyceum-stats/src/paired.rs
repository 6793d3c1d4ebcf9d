use rand::RngCore;
use statrs::distribution::{Binomial, DiscreteCDF};

use crate::{Draw, Purpose};

/// McNemar's exact test: two methods on the same items, of which `only_first` were right under the first alone and
/// `only_second` under the second alone. The two-sided p-value (binomial, doubled smaller tail, at most 1).
#[must_use]
pub fn mcnemar_exact(only_first: u64, only_second: u64) -> f64 {
    let smaller = only_first.min(only_second);
    Binomial::new(0.5, only_first + only_second).map_or(1.0, |flips| (2.0 * flips.cdf(smaller)).min(1.0))
}

/// Most differences for which all sign patterns are tried.
const EXACT: usize = 20;
/// Patterns drawn beyond that.
const DRAWN: u64 = 100_000;

/// The paired permutation test: were the two methods alike, each difference could as well have had the other sign.
/// The two-sided p-value of the mean difference; exact up to 20 differences that are not 0, by drawn sign patterns
/// above (then never under 1 in 100 001).
///
/// Where items come in groups, give one difference (the sum) a group.
#[must_use]
pub fn paired_permutation(differences: &[f64], seed: u64) -> f64 {
    let moved: Vec<f64> = differences.iter().copied().filter(|d| d.is_finite() && *d != 0.0).collect();
    let magnitude: f64 = moved.iter().map(|d| d.abs()).sum();
    // Sums in another order differ by rounding; such ties count as ties.
    let observed = moved.iter().sum::<f64>().abs() - 1e-12 * magnitude;
    if moved.len() <= EXACT {
        let patterns = 1u32 << moved.len();
        let extreme =
            (0..patterns).filter(|&signs| flipped(&moved, u64::from(signs)).abs() >= observed).count();
        return extreme as f64 / f64::from(patterns);
    }
    let mut rng = Draw { seed, step: 0, prompt: moved.len() as u64, sample: 0 }.rng(Purpose::Resampling);
    let extreme = (0..DRAWN)
        .filter(|_| {
            let sum: f64 = moved.chunks(64).map(|chunk| flipped(chunk, rng.next_u64())).sum();
            sum.abs() >= observed
        })
        .count();
    (extreme as f64 + 1.0) / (DRAWN as f64 + 1.0)
}

/// Sum of at most 64 differences, each negated where its bit of `signs` is set.
fn flipped(differences: &[f64], signs: u64) -> f64 {
    differences.iter().enumerate().map(|(bit, d)| if signs >> bit & 1 == 1 { -d } else { *d }).sum()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// scipy 1.17.1: `scipy.stats.binomtest(b, b + c, 0.5).pvalue`.
    #[test]
    fn mcnemar_worked_examples() {
        for (first, second, expected) in [
            (0, 0, 1.0),
            (5, 5, 1.0),
            (1, 9, 0.021484375),
            (0, 6, 0.03125),
            (59, 121, 4.4344492637551645e-6),
            (900, 1100, 8.45708953550381e-6),
        ] {
            let found = mcnemar_exact(first, second);
            assert!((found / expected - 1.0).abs() < 1e-9, "{first} {second}: {found} {expected}");
            assert_eq!(found, mcnemar_exact(second, first));
        }
    }

    /// By hand: of the 8 sign patterns of (1, 2, 3) only all plus and all minus reach |sum| 6; of (1, 2, -3)
    /// all reach 0.
    #[test]
    fn permutation_by_hand() {
        assert_eq!(paired_permutation(&[1.0, 2.0, 3.0, 0.0], 0), 0.25);
        assert_eq!(paired_permutation(&[1.0, 2.0, -3.0], 0), 1.0);
        assert_eq!(paired_permutation(&[], 0), 1.0);
    }

    /// scipy 1.17.1: `scipy.stats.permutation_test((x,), np.mean, permutation_type="samples", n_resamples=np.inf)`
    /// on x and zeros.
    #[test]
    fn permutation_against_scipy() {
        let differences = [0.4, -0.1, 0.3, 0.8, 0.2, -0.3, 0.6, 0.1, 0.5, -0.2];
        let found = paired_permutation(&differences, 0);
        assert!((found - 0.091796875).abs() < 1e-12, "{found}");
    }

    /// All differences alike, so the statistic is binomial: drawn patterns must agree with the exact sign test.
    #[test]
    fn drawn_patterns_agree_with_the_exact_tail() {
        let differences: Vec<f64> = (0..100).map(|index| if index < 40 { -1.0 } else { 1.0 }).collect();
        let exact = mcnemar_exact(40, 60);
        let found = paired_permutation(&differences, 3);
        assert!(
            (found - exact).abs() < 4.0 * (exact * (1.0 - exact) / DRAWN as f64).sqrt(),
            "{found} {exact}"
        );
        assert!(paired_permutation(&[1.0; 100], 3) <= 1.0 / DRAWN as f64);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn only_magnitudes_and_the_balance_matter(differences in vec(-3.0..3.0f64, 0..10)) {
            let found = paired_permutation(&differences, 0);
            prop_assert!(0.0 < found && found <= 1.0);
            let negated: Vec<f64> = differences.iter().map(|d| -d).collect();
            prop_assert_eq!(found, paired_permutation(&negated, 0));
            let reversed: Vec<f64> = differences.iter().rev().copied().collect();
            prop_assert_eq!(found, paired_permutation(&reversed, 0));
        }
    }
}
