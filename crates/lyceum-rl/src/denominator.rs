//! The one place where a sum over tokens becomes a mean.

use serde::{Deserialize, Serialize};

/// What the loss is averaged over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Denominator {
    /// All sampled tokens of the update count alike (DAPO, arXiv 2503.14476, eq. 8; SRPO).
    #[default]
    Token,
    /// Mean over a sample's tokens, then over samples: every sample counts alike (GRPO, arXiv 2402.03300, eq. 3).
    Sequence,
    /// Sum over a sample's tokens divided by a fixed length, then mean over samples: no length bias
    /// (Dr. GRPO, arXiv 2503.20783). The length is the rollout's limit of new tokens.
    FixedLength,
    /// Sum over a sample's tokens, mean over samples: the log-probability of a whole answer (DAR, arXiv 2504.14177; DPO).
    Sum,
}

/// The weight of every token of every sample of *one optimiser step*, however it is later cut into micro-batches:
/// the loss is the sum of weight x token loss. `lengths[i]` counts the trained tokens of sample i; `limit` is the
/// length that [`Denominator::FixedLength`] divides by.
///
/// ```
/// use lyceum_rl::denominator::{Denominator, token_weights};
/// assert_eq!(token_weights(Denominator::Token, &[1, 3], 10), [0.25, 0.25]);
/// assert_eq!(token_weights(Denominator::Sequence, &[1, 4], 10), [0.5, 0.125]);
/// assert_eq!(token_weights(Denominator::FixedLength, &[1, 4], 10), [0.05, 0.05]);
/// assert_eq!(token_weights(Denominator::Sum, &[1, 4], 10), [0.5, 0.5]);
/// ```
///
/// Returns one weight a sample: it holds for each of its tokens.
#[must_use]
pub fn token_weights(denominator: Denominator, lengths: &[usize], limit: usize) -> Vec<f32> {
    let samples = lengths.len() as f32;
    match denominator {
        Denominator::Token => {
            let total: usize = lengths.iter().sum();
            vec![1.0 / total.max(1) as f32; lengths.len()]
        }
        Denominator::Sequence => lengths.iter().map(|&n| 1.0 / (samples * n.max(1) as f32)).collect(),
        Denominator::FixedLength => vec![1.0 / (samples * limit.max(1) as f32); lengths.len()],
        Denominator::Sum => vec![1.0 / samples; lengths.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn token_and_sequence_weights_sum_to_one(lengths in prop::collection::vec(1usize..50, 1..20)) {
            for denominator in [Denominator::Token, Denominator::Sequence] {
                let weights = token_weights(denominator, &lengths, 64);
                let sum: f64 = weights.iter().zip(&lengths).map(|(&w, &n)| f64::from(w) * n as f64).sum();
                prop_assert!((sum - 1.0).abs() < 1e-5);
            }
        }
    }
}
