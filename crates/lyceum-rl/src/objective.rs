//! The loss of a policy and its derivatives, as a pure function over slices.
//!
//! An objective knows nothing of models: it sees log-probabilities, entropies and values of sampled tokens and says
//! how the loss changes with each. The derivatives are checked against finite differences below and against
//! PyTorch's autograd in the golden tests.

use serde::{Deserialize, Serialize};

use crate::kl::{KlPenalty, KlPlace};

/// What the loss is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Objective {
    /// How a token's advantage acts on its log-probability.
    pub form: Form,
    /// What the probability ratio is taken over.
    pub ratio: Ratio,
    /// The ratio is clipped below at 1 - `clip_low`.
    pub clip_low: f32,
    /// The ratio is clipped above at 1 + `clip_high`; larger than `clip_low` is DAPO's clip-higher.
    pub clip_high: f32,
    /// Penalty on leaving the reference model.
    pub kl: Option<KlPenalty>,
    /// Weight of the entropy bonus.
    pub entropy: f32,
    /// Weight of the critic's squared error (used only where there is a critic).
    pub value: f32,
    /// The critic's prediction may move this far from its old one before the error stops shrinking.
    pub value_clip: Option<f32>,
    /// Cap of the truncated importance weight min(p_old / p_behaviour, cap) that corrects for a generator whose
    /// probabilities differ from the trainer's.
    pub importance_cap: Option<f32>,
}

impl Default for Objective {
    fn default() -> Self {
        Self {
            form: Form::Clip,
            ratio: Ratio::Token,
            clip_low: 0.2,
            clip_high: 0.2,
            kl: None,
            entropy: 0.0,
            value: 0.5,
            value_clip: Some(0.2),
            importance_cap: None,
        }
    }
}

/// How a token's advantage acts on its log-probability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// -min(ratio A, clip(ratio) A): PPO (arXiv 1707.06347, eq. 7).
    #[default]
    Clip,
    /// -A log p: the advantage is a weight and the policy is regressed on its own samples.
    WeightedLikelihood,
}

/// What the probability ratio of new to old policy is taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ratio {
    /// Each token by itself.
    #[default]
    Token,
    /// The geometric mean over a sample's tokens (GSPO, arXiv 2507.18071, eq. 7).
    Sequence,
}

/// One sample's trained tokens. All slices have one entry a token, or are empty where the text says so.
#[derive(Clone, Copy, Debug)]
pub struct SampleTokens<'a> {
    /// Log-probability under the policy being trained.
    pub logp: &'a [f32],
    /// Entropy of the policy's distribution; empty when no entropy bonus is asked for.
    pub entropy: &'a [f32],
    /// The critic's value; empty without a critic.
    pub value: &'a [f32],
    /// Log-probability when sampled, as the generator recorded it.
    pub behaviour: &'a [f32],
    /// Log-probability under the trainer's weights at the start of the update; empty means `behaviour`.
    pub old: &'a [f32],
    /// The critic's value at the start of the update; empty without a critic.
    pub old_value: &'a [f32],
    /// Log-probability under the reference model; empty without a KL term in the loss.
    pub reference: &'a [f32],
    /// Advantage.
    pub advantage: &'a [f32],
    /// What the critic should say; empty without a critic.
    pub returns: &'a [f32],
    /// Weight of each of the tokens in the loss, from [`crate::denominator::token_weights`].
    pub weight: f32,
}

/// Derivatives of the loss for one sample; `entropy` and `value` are empty where their term is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampleGrads {
    /// By log-probability.
    pub logp: Vec<f32>,
    /// By entropy.
    pub entropy: Vec<f32>,
    /// By value.
    pub value: Vec<f32>,
}

/// Sums over a sample's tokens that the loop logs; add them up and divide by `tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ObjectiveStats {
    /// The weighted loss, all terms. Already a share of the mean: add, do not divide.
    pub loss: f64,
    /// Tokens seen.
    pub tokens: usize,
    /// Tokens whose ratio was clipped (and so have no gradient from the advantage).
    pub clipped: usize,
    /// Sum of |log p - log p_behaviour|: the gap between generator and trainer, before any update of the step.
    pub gap: f64,
    /// Sum of the ratios.
    pub ratio: f64,
    /// Sum of the KL estimates against the reference.
    pub kl: f64,
    /// Sum of entropies.
    pub entropy: f64,
    /// Sum of squared errors of the critic.
    pub value_error: f64,
}

impl std::ops::AddAssign for ObjectiveStats {
    fn add_assign(&mut self, o: Self) {
        self.loss += o.loss;
        self.tokens += o.tokens;
        self.clipped += o.clipped;
        self.gap += o.gap;
        self.ratio += o.ratio;
        self.kl += o.kl;
        self.entropy += o.entropy;
        self.value_error += o.value_error;
    }
}

impl Objective {
    /// Whether the loss needs the reference model's log-probabilities of the current tokens.
    #[must_use]
    pub fn needs_reference(&self) -> bool {
        self.kl.is_some()
    }

    /// Loss and derivatives of one sample.
    ///
    /// # Panics
    /// When the slices' lengths differ.
    #[must_use]
    pub fn evaluate(&self, s: &SampleTokens<'_>) -> (ObjectiveStats, SampleGrads) {
        let n = s.logp.len();
        assert!(
            s.behaviour.len() == n && s.advantage.len() == n,
            "one behaviour log-probability and advantage a token"
        );
        let old = if s.old.is_empty() { s.behaviour } else { s.old };
        let mut stats = ObjectiveStats { tokens: n, ..ObjectiveStats::default() };
        let mut grads = SampleGrads { logp: vec![0.0; n], ..SampleGrads::default() };
        stats.gap = s.logp.iter().zip(s.behaviour).map(|(a, b)| f64::from((a - b).abs())).sum();

        match self.form {
            Form::Clip => self.clipped_surrogate(s, old, &mut stats, &mut grads.logp),
            Form::WeightedLikelihood => {
                for (t, grad) in grads.logp.iter_mut().enumerate() {
                    stats.loss -= f64::from(s.weight * s.advantage[t] * s.logp[t]);
                    stats.ratio += f64::from((s.logp[t] - old[t]).exp());
                    *grad = -s.weight * s.advantage[t];
                }
            }
        }
        self.kl_term(s, &mut stats, &mut grads.logp);
        if !s.entropy.is_empty() {
            stats.entropy = s.entropy.iter().map(|&h| f64::from(h)).sum();
            if self.entropy != 0.0 {
                stats.loss -= f64::from(self.entropy * s.weight) * stats.entropy;
                grads.entropy = vec![-self.entropy * s.weight; n];
            }
        }
        if !s.value.is_empty() {
            grads.value = self.value_term(s, &mut stats);
        }
        (stats, grads)
    }

    /// -min(rho A, clip(rho) A), times the truncated importance weight. With [`Ratio::Sequence`] all tokens share one
    /// rho, whose derivative by each log-probability is rho / n.
    fn clipped_surrogate(
        &self,
        s: &SampleTokens<'_>,
        old: &[f32],
        stats: &mut ObjectiveStats,
        grads: &mut [f32],
    ) {
        let n = s.logp.len();
        let log_ratio: Vec<f32> = match self.ratio {
            Ratio::Token => s.logp.iter().zip(old).map(|(a, b)| a - b).collect(),
            Ratio::Sequence => {
                let mean = s.logp.iter().zip(old).map(|(a, b)| a - b).sum::<f32>() / n.max(1) as f32;
                vec![mean; n]
            }
        };
        // The shared derivative of a sequence's ratio, summed over the tokens that use it.
        let mut sequence_slope = 0.0;
        for t in 0..n {
            let rho = log_ratio[t].exp();
            let advantage = s.advantage[t];
            let bounded = rho.clamp(1.0 - self.clip_low, 1.0 + self.clip_high);
            let (free, held) = (rho * advantage, bounded * advantage);
            let clipped = held < free;
            let correction = match self.importance_cap {
                Some(cap) => (old[t] - s.behaviour[t]).exp().min(cap),
                None => 1.0,
            };
            stats.ratio += f64::from(rho);
            stats.clipped += usize::from(clipped);
            stats.loss -= f64::from(s.weight * correction * free.min(held));
            if !clipped {
                let slope = -s.weight * correction * free;
                match self.ratio {
                    Ratio::Token => grads[t] += slope,
                    Ratio::Sequence => sequence_slope += slope / n as f32,
                }
            }
        }
        if self.ratio == Ratio::Sequence {
            grads.iter_mut().for_each(|g| *g += sequence_slope);
        }
    }

    fn kl_term(&self, s: &SampleTokens<'_>, stats: &mut ObjectiveStats, grads: &mut [f32]) {
        let Some(penalty) = self.kl.filter(|_| !s.reference.is_empty()) else { return };
        for (t, grad) in grads.iter_mut().enumerate() {
            let (estimate, slope) = penalty.kind.estimate(s.logp[t], s.reference[t]);
            stats.kl += f64::from(estimate);
            if penalty.place == KlPlace::Loss {
                stats.loss += f64::from(s.weight * penalty.coefficient * estimate);
                *grad += s.weight * penalty.coefficient * slope;
            }
        }
    }

    /// Half the squared error, the larger of the free and the clipped prediction's (PPO's value clipping).
    fn value_term(&self, s: &SampleTokens<'_>, stats: &mut ObjectiveStats) -> Vec<f32> {
        let scale = self.value * s.weight;
        let slope = |t: usize| {
            let (value, target) = (s.value[t], s.returns[t]);
            let error = value - target;
            let (loss, slope) = match (self.value_clip, s.old_value.get(t)) {
                (Some(range), Some(&old)) => {
                    let bounded = value.clamp(old - range, old + range);
                    let bounded_error = bounded - target;
                    // On a tie both are the same function as long as the prediction is inside the range.
                    if bounded_error * bounded_error > error * error {
                        (bounded_error * bounded_error, 0.0)
                    } else {
                        (error * error, error)
                    }
                }
                _ => (error * error, error),
            };
            stats.value_error += f64::from(error * error);
            stats.loss += f64::from(0.5 * scale * loss);
            scale * slope
        };
        (0..s.value.len()).map(slope).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kl::KlKind;
    use proptest::prelude::*;

    fn tokens<'a>(logp: &'a [f32], old: &'a [f32], advantage: &'a [f32]) -> SampleTokens<'a> {
        SampleTokens {
            logp,
            entropy: &[],
            value: &[],
            behaviour: old,
            old: &[],
            old_value: &[],
            reference: &[],
            advantage,
            returns: &[],
            weight: 1.0,
        }
    }

    #[test]
    fn on_policy_the_gradient_is_the_advantage() {
        let logp = [-1.0, -2.0];
        let (stats, grads) = Objective::default().evaluate(&tokens(&logp, &logp, &[0.5, -3.0]));
        assert_eq!(grads.logp, [-0.5, 3.0]);
        assert_eq!((stats.clipped, stats.gap), (0, 0.0));
    }

    #[test]
    fn a_gain_already_taken_is_clipped_and_a_loss_is_not() {
        let logp = [0.5f32.ln(), 0.5f32.ln()];
        let old = [0.25f32.ln(), 0.25f32.ln()];
        let (stats, grads) = Objective::default().evaluate(&tokens(&logp, &old, &[1.0, -1.0]));
        assert_eq!(grads.logp[0], 0.0);
        assert!((grads.logp[1] - 2.0).abs() < 1e-5);
        assert_eq!(stats.clipped, 1);
    }

    #[test]
    fn clip_higher_lets_a_rare_token_grow_further() {
        let (logp, old) = ([0.0f32.max(0.25f32).ln() + 0.25], [0.25f32.ln()]);
        let wide = Objective { clip_high: 0.28, ..Objective::default() };
        let (_, narrow) = Objective::default().evaluate(&tokens(&logp, &old, &[1.0]));
        let (_, wider) = wide.evaluate(&tokens(&logp, &old, &[1.0]));
        assert_eq!((narrow.logp[0], wider.logp[0]), (0.0, 0.0));
        let (logp, old) = ([-1.0 + 0.22], [-1.0]);
        let (_, narrow) = Objective::default().evaluate(&tokens(&logp, &old, &[1.0]));
        let (_, wider) = wide.evaluate(&tokens(&logp, &old, &[1.0]));
        assert_eq!(narrow.logp[0], 0.0);
        assert!(wider.logp[0] < 0.0);
    }

    #[test]
    fn the_importance_weight_is_truncated() {
        let logp = [-1.0f32];
        let objective = Objective { importance_cap: Some(2.0), ..Objective::default() };
        let sample = SampleTokens { old: &[-1.0], ..tokens(&logp, &[-3.0], &[1.0]) };
        let (_, grads) = objective.evaluate(&sample);
        assert_eq!(grads.logp, [-2.0]);
    }

    proptest! {
        #[test]
        fn derivatives_match_differences(
            seed in prop::collection::vec((-4f32..-0.1, -0.6f32..0.6, -2f32..2.0, -4f32..-0.1, -1f32..1.0, -1f32..1.0), 1..6),
            sequence in any::<bool>(),
            place in any::<bool>(),
        ) {
            let logp: Vec<f32> = seed.iter().map(|s| s.0).collect();
            let old: Vec<f32> = seed.iter().map(|s| s.0 - s.1).collect();
            let advantage: Vec<f32> = seed.iter().map(|s| s.2).collect();
            let reference: Vec<f32> = seed.iter().map(|s| s.3).collect();
            let value: Vec<f32> = seed.iter().map(|s| s.4).collect();
            let returns: Vec<f32> = seed.iter().map(|s| s.5).collect();
            let entropy: Vec<f32> = seed.iter().map(|s| s.2.abs()).collect();
            let objective = Objective {
                ratio: if sequence { Ratio::Sequence } else { Ratio::Token },
                kl: Some(KlPenalty {
                    kind: KlKind::K3,
                    coefficient: 0.1,
                    place: if place { KlPlace::Loss } else { KlPlace::Reward },
                }),
                entropy: 0.01,
                value_clip: None,
                importance_cap: Some(2.0),
                ..Objective::default()
            };
            let loss = |logp: &[f32], entropy: &[f32], value: &[f32]| {
                let sample = SampleTokens {
                    logp, entropy, value, behaviour: &old, old: &old, old_value: &[], reference: &reference,
                    advantage: &advantage, returns: &returns, weight: 0.5,
                };
                objective.evaluate(&sample)
            };
            let (_, grads) = loss(&logp, &entropy, &value);
            let h = 2e-3f32;
            for t in 0..logp.len() {
                let nudge = |xs: &[f32], by: f32| { let mut xs = xs.to_vec(); xs[t] += by; xs };
                let slope = |up: f64, down: f64| ((up - down) / f64::from(2.0 * h)) as f32;
                let by_logp = slope(loss(&nudge(&logp, h), &entropy, &value).0.loss, loss(&nudge(&logp, -h), &entropy, &value).0.loss);
                let by_value = slope(loss(&logp, &entropy, &nudge(&value, h)).0.loss, loss(&logp, &entropy, &nudge(&value, -h)).0.loss);
                let by_entropy = slope(loss(&logp, &nudge(&entropy, h), &value).0.loss, loss(&logp, &nudge(&entropy, -h), &value).0.loss);
                // A kink of the clip inside the interval makes the difference quotient meaningless there.
                let log_ratio = if sequence {
                    logp.iter().zip(&old).map(|(a, b)| a - b).sum::<f32>() / logp.len() as f32
                } else { logp[t] - old[t] };
                let near_kink = [0.8f32.ln(), 1.2f32.ln()].iter().any(|k| (log_ratio - k).abs() < 2.0 * h);
                prop_assert!(near_kink || (by_logp - grads.logp[t]).abs() < 5e-3, "{by_logp} {:?}", grads.logp);
                prop_assert!((by_value - grads.value[t]).abs() < 2e-3);
                prop_assert!((by_entropy - grads.entropy[t]).abs() < 2e-3);
            }
        }
    }
}
