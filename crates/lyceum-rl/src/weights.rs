//! Samples weighted by how good they are, for objectives that imitate ([`WeightedLikelihood`](crate::objective::Form)): direct
//! advantage regression (DAR, arXiv 2504.14177) and what it is compared with. Pure functions; weights carry no gradient.

use serde::{Deserialize, Serialize};

use crate::advantage::STD_EPSILON;

/// Over what DAR's advantages are brought to one scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// Over the batch: mean subtracted, divided by the standard deviation (the paper).
    #[default]
    Batch,
    /// Divided by the standard deviation of the prompt's own samples.
    Prompt,
}

/// The constants of DAR's weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DarSpec {
    /// Weight of the KL divergence from the reference.
    pub alpha: f32,
    /// Weight of the KL divergence from the policy that sampled.
    pub beta: f32,
    /// No weight is larger.
    pub clip: f32,
    /// The scale of advantages.
    pub normalise: Normalise,
    /// Whether the log-ratio to the reference is taken per token, so that long answers do not drown in it (ours; the paper
    /// takes the sum).
    pub per_token_ratio: bool,
}

/// Totals of every group less the group's mean, at one scale. A group of one keeps its total: the batch's mean is then its
/// baseline.
#[must_use]
pub fn normalised(groups: &[Vec<f32>], normalise: Normalise) -> Vec<Vec<f32>> {
    let centred = |group: &Vec<f32>| -> Vec<f32> {
        let mean = if group.len() > 1 { group.iter().sum::<f32>() / group.len() as f32 } else { 0.0 };
        group.iter().map(|total| total - mean).collect()
    };
    let mut out: Vec<Vec<f32>> = groups.iter().map(centred).collect();
    let scale = |values: &mut [&mut f32]| {
        let n = values.len() as f32;
        let mean = values.iter().map(|value| **value).sum::<f32>() / n.max(1.0);
        let variance = values.iter().map(|value| (**value - mean).powi(2)).sum::<f32>() / (n - 1.0).max(1.0);
        values.iter_mut().for_each(|value| **value = (**value - mean) / (variance.sqrt() + STD_EPSILON));
    };
    match normalise {
        Normalise::Batch => scale(&mut out.iter_mut().flatten().collect::<Vec<_>>()),
        Normalise::Prompt => {
            out.iter_mut().for_each(|group| scale(&mut group.iter_mut().collect::<Vec<_>>()));
        }
    }
    out
}

/// DAR's weight of one sample: min((pi_ref / pi_t)^a exp(A / (alpha + beta)), clip) with a = alpha / (alpha + beta), in
/// log space. `log_ratio` is log pi_ref - log pi_t of the answer.
///
/// ```
/// use lyceum_rl::weights::{DarSpec, Normalise, dar_weight};
/// let spec = DarSpec { alpha: 0.0, beta: 0.5, clip: 20.0, normalise: Normalise::Batch, per_token_ratio: false };
/// assert!((dar_weight(1.0, -3.0, spec) - 2f32.exp()).abs() < 1e-5);
/// // With the policy at the reference the ratio is 1, whatever alpha.
/// assert_eq!(dar_weight(0.0, 0.0, DarSpec { alpha: 0.3, ..spec }), 1.0);
/// assert_eq!(dar_weight(1e9, 0.0, spec), 20.0);
/// assert_eq!(dar_weight(-1e9, 0.0, spec), 0.0);
/// ```
#[must_use]
pub fn dar_weight(advantage: f32, log_ratio: f32, spec: DarSpec) -> f32 {
    let whole = spec.alpha + spec.beta;
    let log_weight = spec.alpha / whole * log_ratio + advantage / whole;
    // Cut before it is raised, so that nothing overflows.
    log_weight.min(80.0).exp().min(spec.clip)
}

/// Weight 1 for the group's best sample and 0 for the others: supervised fine-tuning on the best of N. A group of equals has
/// no best.
///
/// ```
/// use lyceum_rl::weights::best;
/// assert_eq!(best(&[0.5, 1.0, 1.0]), [0.0, 1.0, 0.0]);
/// assert_eq!(best(&[0.5, 0.5]), [0.0, 0.0]);
/// ```
#[must_use]
pub fn best(totals: &[f32]) -> Vec<f32> {
    let mut weights = vec![0.0; totals.len()];
    let first = (0..totals.len()).rev().max_by(|&a, &b| totals[a].total_cmp(&totals[b]));
    if let Some(first) = first.filter(|_| crate::filter::is_mixed(totals)) {
        weights[first] = 1.0;
    }
    weights
}

/// Weight 1 for samples above the group's mean and 0 for the others: what DAR comes near to with a small alpha + beta.
///
/// ```
/// assert_eq!(lyceum_rl::weights::above_mean(&[0.0, 0.5, 1.0]), [0.0, 0.0, 1.0]);
/// ```
#[must_use]
pub fn above_mean(totals: &[f32]) -> Vec<f32> {
    let mean = totals.iter().sum::<f32>() / totals.len() as f32;
    totals.iter().map(|&total| if total > mean { 1.0 } else { 0.0 }).collect()
}

/// The gradient of DPO's loss (arXiv 2305.18290, eq. 7) on a group whose samples 2i and 2i + 1 are pairs, as weights of a
/// likelihood: beta sigmoid(-h) for the better one and the opposite for the other, where h is how much surer the policy is of
/// the better one than the reference is. A pair of equals, and a sample without a partner, has none. Exact at the policy
/// that sampled, so for one optimiser step a round.
///
/// ```
/// use lyceum_rl::weights::preference_slopes;
/// assert_eq!(preference_slopes(&[0.0, 1.0, 0.5, 0.5, 1.0], &[0.0; 5], 0.1), [-0.05, 0.05, 0.0, 0.0, 0.0]);
/// ```
#[must_use]
pub fn preference_slopes(totals: &[f32], log_ratios: &[f32], beta: f32) -> Vec<f32> {
    let mut slopes = vec![0.0; totals.len()];
    for first in (0..totals.len().saturating_sub(1)).step_by(2) {
        let second = first + 1;
        let (better, worse) = match totals[first].total_cmp(&totals[second]) {
            std::cmp::Ordering::Equal => continue,
            std::cmp::Ordering::Greater => (first, second),
            std::cmp::Ordering::Less => (second, first),
        };
        let surer = beta * (log_ratios[worse] - log_ratios[better]);
        let slope = beta / (1.0 + surer.exp());
        slopes[better] = slope;
        slopes[worse] = -slope;
    }
    slopes
}

/// What the weights of a batch are like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WeightStats {
    /// Their mean.
    pub mean: f64,
    /// Share of samples whose weight is at the clip.
    pub clipped: f64,
    /// Effective sample size, (sum w)^2 / sum w^2, as a share of the samples.
    pub effective: f64,
}

impl WeightStats {
    /// Of these weights; `clip` is the largest there may be.
    ///
    /// ```
    /// use lyceum_rl::weights::WeightStats;
    /// let stats = WeightStats::of(&[20.0, 20.0, 0.0, 0.0], 20.0);
    /// assert_eq!((stats.mean, stats.clipped, stats.effective), (10.0, 0.5, 0.5));
    /// ```
    #[must_use]
    pub fn of(weights: &[f32], clip: f32) -> Self {
        let n = weights.len().max(1) as f64;
        let sum: f64 = weights.iter().map(|&w| f64::from(w)).sum();
        let squares: f64 = weights.iter().map(|&w| f64::from(w) * f64::from(w)).sum();
        let effective = if squares > 0.0 { sum * sum / squares / n } else { 0.0 };
        let clipped = weights.iter().filter(|&&w| w >= clip).count() as f64 / n;
        Self { mean: sum / n, clipped, effective }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_published_constants_are_nearly_a_filter() {
        let spec = DarSpec {
            alpha: 0.005,
            beta: 0.045,
            clip: 20.0,
            normalise: Normalise::Batch,
            per_token_ratio: false,
        };
        let weights: Vec<f32> = [0.15, -0.15, -0.5].map(|a| dar_weight(a, 0.0, spec)).to_vec();
        assert!((weights[0] - 20.0).abs() < 0.1 && (weights[1] - 0.05).abs() < 1e-3 && weights[2] < 5e-5);
    }

    #[test]
    fn a_single_sample_is_measured_from_the_batch() {
        let batch = normalised(&[vec![1.0], vec![3.0]], Normalise::Batch);
        assert!((batch[0][0] + batch[1][0]).abs() < 1e-6 && batch[1][0] > 0.6);
        let spread = normalised(&[vec![0.0, 10.0], vec![0.0, 1.0]], Normalise::Prompt);
        assert!((spread[0][1] - spread[1][1]).abs() < 1e-3);
        let pooled = normalised(&[vec![0.0, 10.0], vec![0.0, 1.0]], Normalise::Batch);
        assert!(pooled[0][1] > 5.0 * pooled[1][1]);
    }

    proptest! {
        /// beta times the logistic function is the slope of DPO's loss by the better answer's log-probability.
        #[test]
        fn slopes_are_those_of_the_loss(better in -3f32..3.0, worse in -3f32..3.0, beta in 0.05f32..2.0) {
            let loss = |logp: f32| (1.0 + (-beta * (logp - better - (0.0 - worse))).exp()).ln();
            // log ratio = log reference - log policy, and the policy's log-probabilities are 0 here.
            let slopes = preference_slopes(&[1.0, 0.0], &[better, worse], beta);
            let h = 1e-2;
            let difference = (loss(h) - loss(-h)) / (2.0 * h);
            prop_assert!((difference + slopes[0]).abs() < 2e-3, "{} {}", difference, slopes[0]);
            prop_assert_eq!(slopes[0], -slopes[1]);
        }
    }
}
