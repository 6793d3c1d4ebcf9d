//! Per-token estimators of the divergence KL(policy || reference) from samples of the policy
//! (Schulman, "Approximating KL divergence", 2020).

use serde::{Deserialize, Serialize};

/// Which estimator. With d = log-probability - reference log-probability:
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KlKind {
    /// d: unbiased, of high variance, may be negative. As a loss its gradient is 0 in expectation: use it in the
    /// reward.
    K1,
    /// d^2 / 2: biased, of low variance; its gradient is that of the true divergence in expectation.
    K2,
    /// exp(-d) + d - 1: unbiased, never negative; the usual choice in the loss.
    K3,
}

impl KlKind {
    /// The estimate and its derivative with respect to the policy's log-probability.
    ///
    /// ```
    /// use lyceum_rl::kl::KlKind;
    /// assert_eq!(KlKind::K3.estimate(-1.0, -1.0), (0.0, 0.0));
    /// assert_eq!(KlKind::K2.estimate(-1.0, -3.0), (2.0, 2.0));
    /// ```
    #[must_use]
    pub fn estimate(self, logp: f32, reference: f32) -> (f32, f32) {
        let d = logp - reference;
        match self {
            Self::K1 => (d, 1.0),
            Self::K2 => (0.5 * d * d, d),
            Self::K3 => ((-d).exp() + d - 1.0, 1.0 - (-d).exp()),
        }
    }
}

/// A penalty on leaving the reference model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KlPenalty {
    /// The estimator.
    pub kind: KlKind,
    /// Its weight.
    pub coefficient: f32,
    /// Where it enters.
    #[serde(default)]
    pub place: KlPlace,
}

/// Where a KL penalty enters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KlPlace {
    /// Added to the loss, differentiated.
    #[default]
    Loss,
    /// Subtracted from every token's reward, not differentiated.
    Reward,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn derivatives_match_differences(logp in -8f32..0.0, reference in -8f32..0.0) {
            let h = 1e-2f32;
            for kind in [KlKind::K1, KlKind::K2, KlKind::K3] {
                let (_, slope) = kind.estimate(logp, reference);
                let (up, down) = (kind.estimate(logp + h, reference).0, kind.estimate(logp - h, reference).0);
                let measured = (up - down) / (2.0 * h);
                prop_assert!((slope - measured).abs() <= 2e-3 * (1.0 + slope.abs()), "{kind:?}: {slope} {measured}");
            }
        }

        #[test]
        fn k3_is_never_negative(logp in -8f32..0.0, reference in -8f32..0.0) {
            prop_assert!(KlKind::K3.estimate(logp, reference).0 >= -1e-6);
        }
    }
}
