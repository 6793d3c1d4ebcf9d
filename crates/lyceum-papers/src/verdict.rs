//! What the numbers say about a claim.

use lyceum_stats::Estimate;
use serde::{Deserialize, Serialize};

use crate::Rule;

/// Fewest seeds that carry a verdict.
pub const LEAST_SEEDS: usize = 5;

/// Whether a claim holds in what was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The whole 95 % interval is where the claim says.
    Holds,
    /// The whole 95 % interval is where the claim says it is not.
    DoesNotHold,
    /// The interval reaches into both, or there are too few seeds.
    NotDecided,
}

impl Verdict {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::DoesNotHold => "does not hold",
            Self::NotDecided => "not decided",
        }
    }
}

/// The verdict on a measured number, and why it is none where it is none.
#[must_use]
pub fn decide(rule: Rule, threshold: f64, measured: &Estimate) -> (Verdict, Option<String>) {
    if measured.n < LEAST_SEEDS {
        let seeds = if measured.n == 1 { "1 seed" } else { &format!("{} seeds", measured.n) };
        return (Verdict::NotDecided, Some(format!("{seeds}; a verdict takes at least {LEAST_SEEDS}")));
    }
    let (yes, no) = match rule {
        Rule::Above => (measured.above(threshold), measured.below(threshold)),
        Rule::Below => (measured.below(threshold), measured.above(threshold)),
        Rule::Within => (
            measured.above(-threshold) && measured.below(threshold),
            measured.above(threshold) || measured.below(-threshold),
        ),
    };
    match (yes, no) {
        (true, _) => (Verdict::Holds, None),
        (_, true) => (Verdict::DoesNotHold, None),
        _ => (Verdict::NotDecided, Some("the interval reaches across the threshold".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(low: f64, high: f64, n: usize) -> Estimate {
        let mut estimate = lyceum_stats::mean(&vec![0.5 * (low + high); n]);
        (estimate.low, estimate.high) = (low, high);
        estimate
    }

    #[test]
    fn by_the_interval_alone() {
        use Verdict::{DoesNotHold, Holds, NotDecided};
        for (rule, threshold, low, high, expected) in [
            (Rule::Above, 0.5, 0.6, 0.9, Holds),
            (Rule::Above, 0.5, 0.5, 0.9, NotDecided),
            (Rule::Above, 0.5, 0.1, 0.4, DoesNotHold),
            (Rule::Below, 0.0, -0.3, -0.1, Holds),
            (Rule::Below, 0.0, -0.3, 0.1, NotDecided),
            (Rule::Below, 0.0, 0.1, 0.3, DoesNotHold),
            (Rule::Within, 0.2, -0.1, 0.1, Holds),
            (Rule::Within, 0.2, -0.1, 0.3, NotDecided),
            (Rule::Within, 0.2, 0.3, 0.4, DoesNotHold),
            (Rule::Within, 0.2, -0.4, -0.3, DoesNotHold),
        ] {
            let (verdict, why) = decide(rule, threshold, &estimate(low, high, 5));
            assert_eq!(verdict, expected, "{rule:?} {threshold} [{low}, {high}]");
            assert_eq!(why.is_some(), verdict == NotDecided);
        }
    }

    #[test]
    fn too_few_seeds_decide_nothing() {
        let (verdict, why) = decide(Rule::Above, 0.0, &estimate(5.0, 6.0, 4));
        assert_eq!(verdict, Verdict::NotDecided);
        assert_eq!(why.unwrap(), "4 seeds; a verdict takes at least 5");
        let nothing = lyceum_stats::mean(&[]);
        assert_eq!(decide(Rule::Within, 1.0, &nothing).0, Verdict::NotDecided);
    }
}
