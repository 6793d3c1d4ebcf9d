//! How a group of rewards becomes advantages.
//!
//! Rewards arrive per sampled token (see [`crate::credit`]); an outcome reward is simply a reward on the last
//! token. Group methods look at totals, GAE at the tokens and the critic's values. All functions are pure.

use serde::{Deserialize, Serialize};

use crate::weights::{DarSpec, Normalise, above_mean, best, dar_weight, normalised, preference_slopes};

/// How the rewards of a group's samples are turned into per-token advantages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum AdvantageSpec {
    /// Total minus the group's mean, divided by the group's standard deviation when `scale` says so
    /// (GRPO, arXiv 2402.03300, eq. 3; mean only: Dr. GRPO, arXiv 2503.20783).
    Grpo {
        /// What the centred reward is divided by.
        #[serde(default)]
        scale: Scale,
    },
    /// Rewards to come minus a baseline from the other samples of the group (RLOO, arXiv 2402.14740).
    Rloo {
        /// What is subtracted.
        #[serde(default)]
        baseline: Baseline,
        /// Whether advantages are whitened over the batch's sampled tokens.
        #[serde(default)]
        whiten: bool,
    },
    /// Generalised advantage estimation over tokens with a critic (arXiv 1506.02438, eq. 16).
    Gae {
        /// Discount per token.
        #[serde(default = "one")]
        gamma: f32,
        /// Trade between bias (0) and variance (1).
        #[serde(default = "gae_lambda")]
        lambda: f32,
        /// Whether advantages are whitened over the batch's sampled tokens, as PPO usually does.
        #[serde(default = "yes")]
        whiten: bool,
    },
    /// Weights of a likelihood that grow exponentially with the advantage ([`dar_weight`]; DAR, arXiv 2504.14177).
    Dar {
        /// Weight of the KL divergence from the reference.
        #[serde(default = "dar_alpha")]
        alpha: f32,
        /// Weight of the KL divergence from the policy that sampled.
        #[serde(default = "dar_beta")]
        beta: f32,
        /// No weight is larger.
        #[serde(default = "dar_clip")]
        clip: f32,
        /// The scale of advantages.
        #[serde(default)]
        normalise: Normalise,
        /// Take the log-ratio to the reference per token.
        #[serde(default)]
        per_token_ratio: bool,
    },
    /// Weight 1 for the best of a group ([`best`]).
    Best,
    /// Weight 1 for what is above the group's mean ([`above_mean`]).
    AboveMean,
    /// Online DPO on the pairs of a group ([`preference_slopes`]).
    Dpo {
        /// How far the policy may go from the reference.
        #[serde(default = "dpo_beta")]
        beta: f32,
    },
}

impl Default for AdvantageSpec {
    fn default() -> Self {
        Self::Grpo { scale: Scale::default() }
    }
}

fn one() -> f32 {
    1.0
}
fn gae_lambda() -> f32 {
    0.95
}
fn dar_alpha() -> f32 {
    0.005
}
fn dar_beta() -> f32 {
    0.045
}
fn dar_clip() -> f32 {
    20.0
}
fn dpo_beta() -> f32 {
    0.1
}
fn yes() -> bool {
    true
}

/// What leave-one-out advantages are measured from. PURE (arXiv 2504.15275) found that the unit matters: a baseline a
/// step is paid less often by responses of few steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// The mean of the others' totals, on every token alike; rewards are not told apart by place.
    #[default]
    Total,
    /// The others' reward a token, subtracted at each step's end as often as the step has tokens (PURE's first code).
    Token,
    /// The mean of the others' reward a step, subtracted at each step's end: what made models write one giant step.
    Step,
    /// The mean of the others' returns over all tokens, with the limit of new tokens for a length (PURE's second code).
    FixedLength,
}

/// The divisor of a group-relative advantage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// The group's sample standard deviation (n - 1), plus [`STD_EPSILON`].
    #[default]
    Std,
    /// Nothing: the mean is subtracted and no more.
    None,
}

/// Added to the standard deviation before dividing, so that a group of equal rewards gives zeros and not NaN.
pub const STD_EPSILON: f32 = 1e-4;

/// Group-relative advantages: one number a sample.
///
/// ```
/// use lyceum_rl::advantage::{Scale, group_relative};
/// assert_eq!(group_relative(&[1.0, 0.0, 0.0, 1.0], Scale::None), [0.5, -0.5, -0.5, 0.5]);
/// assert_eq!(group_relative(&[1.0, 1.0], Scale::Std), [0.0, 0.0]);
/// ```
#[must_use]
pub fn group_relative(totals: &[f32], scale: Scale) -> Vec<f32> {
    let n = totals.len() as f32;
    let mean = totals.iter().sum::<f32>() / n;
    let divisor = match scale {
        Scale::None => 1.0,
        Scale::Std if totals.len() < 2 => return vec![0.0; totals.len()],
        Scale::Std => {
            let squares: f32 = totals.iter().map(|r| (r - mean) * (r - mean)).sum();
            (squares / (n - 1.0)).sqrt() + STD_EPSILON
        }
    };
    totals.iter().map(|r| (r - mean) / divisor).collect()
}

/// Leave-one-out advantages: each total minus the mean of the others. A lone sample has nothing to be compared
/// with and gets 0.
///
/// ```
/// use lyceum_rl::advantage::leave_one_out;
/// assert_eq!(leave_one_out(&[3.0, 0.0, 0.0]), [3.0, -1.5, -1.5]);
/// ```
#[must_use]
pub fn leave_one_out(totals: &[f32]) -> Vec<f32> {
    if totals.len() < 2 {
        return vec![0.0; totals.len()];
    }
    let sum: f32 = totals.iter().sum();
    let others = (totals.len() - 1) as f32;
    totals.iter().map(|r| r - (sum - r) / others).collect()
}

/// The discounted sum of future rewards at every token.
///
/// ```
/// assert_eq!(lyceum_rl::advantage::returns(&[0.0, 1.0, 2.0], 0.5), [1.0, 2.0, 2.0]);
/// ```
#[must_use]
pub fn returns(rewards: &[f32], gamma: f32) -> Vec<f32> {
    let mut out = rewards.to_vec();
    for t in (0..out.len().saturating_sub(1)).rev() {
        out[t] += gamma * out[t + 1];
    }
    out
}

/// Leave-one-out advantages of rewards that land on steps: rewards to come, less a [`Baseline`] from the other samples.
/// `limit` is the length that [`Baseline::FixedLength`] divides by.
///
/// Two responses of three tokens, each worth 1.0, one in three steps and one in one:
///
/// ```
/// use lyceum_rl::advantage::{Baseline, SampleRewards, step_leave_one_out};
/// let many = SampleRewards { rewards: &[0.5, 0.25, 0.25], ends: &[1, 2, 3], values: &[], log_ratio: 0.0 };
/// let one = SampleRewards { rewards: &[0.0, 0.0, 1.0], ends: &[3], values: &[], log_ratio: 0.0 };
/// let advantages = |baseline| step_leave_one_out(&[many, one], baseline, 3);
/// let a = advantages(Baseline::Token);
/// assert!(a[0][0].abs() < 1e-6 && a[1][0].abs() < 1e-6);
/// // A step of the other is worth 1.0 and 1/3: the response of three steps pays 1.0 three times.
/// let a = advantages(Baseline::Step);
/// assert!((a[0][0] + 2.0).abs() < 1e-6 && (a[1][0] - 2.0 / 3.0).abs() < 1e-6);
/// ```
#[must_use]
pub fn step_leave_one_out(group: &[SampleRewards<'_>], baseline: Baseline, limit: usize) -> Vec<Vec<f32>> {
    if group.len() < 2 {
        return group.iter().map(|sample| vec![0.0; sample.rewards.len()]).collect();
    }
    let total = |sample: &SampleRewards<'_>| sample.rewards.iter().sum::<f32>();
    let others = |own: usize| group.iter().enumerate().filter(move |(i, _)| *i != own).map(|(_, s)| s);
    let count = (group.len() - 1) as f32;
    let advantages = |(own, sample): (usize, &SampleRewards<'_>)| {
        let mut rewards = sample.rewards.to_vec();
        match baseline {
            Baseline::Total => {
                let totals: Vec<f32> = group.iter().map(total).collect();
                return vec![leave_one_out(&totals)[own]; rewards.len()];
            }
            Baseline::FixedLength => {
                let sums = others(own).flat_map(|s| returns(s.rewards, 1.0)).sum::<f32>();
                let mean = sums / (count * limit.max(1) as f32);
                return returns(&rewards, 1.0).into_iter().map(|sum| sum - mean).collect();
            }
            Baseline::Token => {
                let tokens: usize = others(own).map(|s| s.rewards.len()).sum();
                let of_a_token = others(own).map(total).sum::<f32>() / tokens.max(1) as f32;
                let mut from = 0;
                for end in sample.steps() {
                    rewards[end - 1] -= of_a_token * (end - from) as f32;
                    from = end;
                }
            }
            Baseline::Step => {
                let of_a_step =
                    others(own).map(|s| total(s) / s.steps().count().max(1) as f32).sum::<f32>() / count;
                sample.steps().for_each(|end| rewards[end - 1] -= of_a_step);
            }
        }
        returns(&rewards, 1.0)
    };
    group.iter().enumerate().map(advantages).collect()
}

/// Advantages by GAE for one finished episode, and the targets of the critic (advantage + value).
///
/// `values[t]` is the critic's estimate before token `t`; the value after the last token is 0.
///
/// # Panics
/// When the two slices differ in length.
#[must_use]
pub fn gae(rewards: &[f32], values: &[f32], gamma: f32, lambda: f32) -> (Vec<f32>, Vec<f32>) {
    assert_eq!(rewards.len(), values.len(), "one value a token");
    let mut advantages = vec![0.0; rewards.len()];
    let mut next_value = 0.0;
    let mut next_advantage = 0.0;
    for t in (0..rewards.len()).rev() {
        let delta = rewards[t] + gamma * next_value - values[t];
        next_advantage = delta + gamma * lambda * next_advantage;
        next_value = values[t];
        advantages[t] = next_advantage;
    }
    let targets = advantages.iter().zip(values).map(|(a, v)| a + v).collect();
    (advantages, targets)
}

/// Shifts to mean 0 and scales to sample variance 1 (n - 1 in the denominator), in place. A lone value becomes 0.
pub fn whiten(values: &mut [f32]) {
    let n = values.len() as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    let scale = 1.0 / (variance + 1e-8).sqrt();
    for v in values {
        *v = ((f64::from(*v) - mean) * scale) as f32;
    }
}

/// What an estimator needs to know of one sample.
#[derive(Clone, Copy, Debug)]
pub struct SampleRewards<'a> {
    /// Reward that landed on each sampled token.
    pub rewards: &'a [f32],
    /// Ends of its steps, one past the last token of each, rising; empty for a sample that is one step.
    pub ends: &'a [usize],
    /// The critic's value before each sampled token; empty where there is no critic.
    pub values: &'a [f32],
    /// Log-probability of the sample under the reference less that under the policy that sampled; 0 without a reference.
    pub log_ratio: f32,
}

impl SampleRewards<'_> {
    /// Ends of steps, the end of the sample among them.
    fn steps(&self) -> impl Iterator<Item = usize> + '_ {
        let len = self.rewards.len();
        let own = self.ends.iter().copied().filter(move |&end| end > 0 && end < len);
        own.chain((len > 0).then_some(len))
    }
}

/// Advantages of a sample's tokens, with the critic's targets where there is a critic.
#[derive(Clone, Debug, PartialEq)]
pub struct Advantages {
    /// One a sampled token.
    pub advantages: Vec<f32>,
    /// What the critic should have said at each token; empty without a critic.
    pub returns: Vec<f32>,
}

/// The same advantage at every token of a sample.
fn spread(group: &[SampleRewards<'_>], per_sample: Vec<f32>) -> Vec<Advantages> {
    let tokens = |(a, s): (f32, &SampleRewards<'_>)| Advantages {
        advantages: vec![a; s.rewards.len()],
        returns: Vec::new(),
    };
    per_sample.into_iter().zip(group).map(tokens).collect()
}

/// DAR's weights, for all groups at once.
fn regress(groups: &[Vec<SampleRewards<'_>>], spec: DarSpec) -> Vec<Vec<Advantages>> {
    let totals: Vec<Vec<f32>> =
        groups.iter().map(|group| group.iter().map(|s| s.rewards.iter().sum()).collect()).collect();
    let weight = |(advantage, sample): (f32, &SampleRewards<'_>)| {
        let length = if spec.per_token_ratio { sample.rewards.len().max(1) as f32 } else { 1.0 };
        dar_weight(advantage, sample.log_ratio / length, spec)
    };
    let scaled = normalised(&totals, spec.normalise).into_iter().zip(groups);
    scaled.map(|(own, group)| spread(group, own.into_iter().zip(group).map(weight).collect())).collect()
}

impl AdvantageSpec {
    /// Whether the policy needs a value head.
    #[must_use]
    pub fn needs_critic(&self) -> bool {
        matches!(self, Self::Gae { .. })
    }

    /// Whether a sample alone has nothing to be compared with.
    #[must_use]
    pub fn needs_group(&self) -> bool {
        !matches!(self, Self::Gae { .. } | Self::Dar { .. })
    }

    /// Whether the sampling policy is compared with the reference.
    #[must_use]
    pub fn needs_reference(&self) -> bool {
        matches!(self, Self::Dpo { .. }) || matches!(self, Self::Dar { alpha, .. } if *alpha > 0.0)
    }

    /// Whether advantages are factors of a likelihood, which is what the objective must then be.
    #[must_use]
    pub const fn regresses(&self) -> bool {
        self.weight_clip().is_some() || matches!(self, Self::Dpo { .. })
    }

    /// The largest weight that there may be, where advantages are weights: none is negative.
    #[must_use]
    pub const fn weight_clip(&self) -> Option<f32> {
        match self {
            Self::Dar { clip, .. } => Some(*clip),
            Self::Best | Self::AboveMean => Some(1.0),
            Self::Grpo { .. } | Self::Rloo { .. } | Self::Gae { .. } | Self::Dpo { .. } => None,
        }
    }

    /// Advantages of a batch of groups. `groups` are lists of samples of the same prompt, `limit` the most tokens that a
    /// sample may have.
    #[must_use]
    pub fn estimate(&self, groups: &[Vec<SampleRewards<'_>>], limit: usize) -> Vec<Vec<Advantages>> {
        if let Self::Dar { alpha, beta, clip, normalise, per_token_ratio } = *self {
            return regress(groups, DarSpec { alpha, beta, clip, normalise, per_token_ratio });
        }
        let mut out: Vec<Vec<Advantages>> = groups.iter().map(|g| self.estimate_group(g, limit)).collect();
        if let Self::Gae { whiten: true, .. } | Self::Rloo { whiten: true, .. } = self {
            whiten_batch(&mut out);
        }
        out
    }

    fn estimate_group(&self, group: &[SampleRewards<'_>], limit: usize) -> Vec<Advantages> {
        let totals: Vec<f32> = group.iter().map(|s| s.rewards.iter().sum()).collect();
        match *self {
            Self::Grpo { scale } => spread(group, group_relative(&totals, scale)),
            Self::Best => spread(group, best(&totals)),
            Self::AboveMean => spread(group, above_mean(&totals)),
            Self::Dpo { beta } => {
                let ratios: Vec<f32> = group.iter().map(|sample| sample.log_ratio).collect();
                spread(group, preference_slopes(&totals, &ratios, beta))
            }
            // Its scale is the batch's: see `regress`.
            Self::Dar { .. } => Vec::new(),
            Self::Rloo { baseline, .. } => step_leave_one_out(group, baseline, limit)
                .into_iter()
                .map(|advantages| Advantages { advantages, returns: Vec::new() })
                .collect(),
            Self::Gae { gamma, lambda, .. } => group
                .iter()
                .map(|s| {
                    let (advantages, returns) = gae(s.rewards, s.values, gamma, lambda);
                    Advantages { advantages, returns }
                })
                .collect(),
        }
    }
}

fn whiten_batch(groups: &mut [Vec<Advantages>]) {
    let mut all: Vec<f32> = groups.iter().flatten().flat_map(|s| s.advantages.iter().copied()).collect();
    whiten(&mut all);
    let mut rest = all.as_slice();
    for sample in groups.iter_mut().flatten() {
        let (own, tail) = rest.split_at(sample.advantages.len());
        sample.advantages.copy_from_slice(own);
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gae_with_lambda_one_is_return_minus_value() {
        let (advantages, targets) = gae(&[0.0, 0.0, 1.0], &[0.2, 0.4, 0.6], 1.0, 1.0);
        for (a, e) in advantages.iter().zip([0.8, 0.6, 0.4]) {
            assert!((a - e).abs() < 1e-6);
        }
        assert!(targets.iter().all(|t| (t - 1.0).abs() < 1e-6));
    }

    #[test]
    fn gae_with_lambda_zero_is_the_one_step_error() {
        let (advantages, _) = gae(&[1.0, 2.0], &[0.5, 0.25], 0.5, 0.0);
        assert_eq!(advantages, [1.0 + 0.5 * 0.25 - 0.5, 2.0 - 0.25]);
    }

    fn near(got: &[f32], expected: &[f32]) {
        assert_eq!(got.len(), expected.len());
        assert!(got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-5), "{got:?} {expected:?}");
    }

    #[test]
    fn a_step_baseline_favours_few_steps_and_a_token_baseline_does_not() {
        // PURE's example: the same total of 1.0 in four steps and in one, a baseline of 0.2 a step.
        let rewards = |steps: usize| [vec![1.0 / steps as f32 - 0.2; steps]].concat();
        assert!((rewards(4).iter().sum::<f32>() - 0.2).abs() < 1e-6);
        assert!((rewards(1).iter().sum::<f32>() - 0.8).abs() < 1e-6);
        // And through the estimator, beside a third response that sets the baseline: 1.0 in five steps of one token.
        let (four, one, five) = ([0.25; 4], [0.0, 0.0, 0.0, 1.0], [0.2; 5]);
        let group = [
            SampleRewards { rewards: &four, ends: &[1, 2, 3, 4], values: &[], log_ratio: 0.0 },
            SampleRewards { rewards: &one, ends: &[4], values: &[], log_ratio: 0.0 },
            SampleRewards { rewards: &five, ends: &[1, 2, 3, 4, 5], values: &[], log_ratio: 0.0 },
        ];
        let first =
            |baseline| -> Vec<f32> { step_leave_one_out(&group, baseline, 8).iter().map(|a| a[0]).collect() };
        // Token: others' 2.0 over 9 (or 8) tokens, times 4 (or 5).
        near(&first(Baseline::Token), &[1.0 - 8.0 / 9.0, 1.0 - 8.0 / 9.0, 1.0 - 10.0 / 8.0]);
        // Step: (1.0 + 0.2) / 2 four times; (0.25 + 0.2) / 2 once; (0.25 + 1.0) / 2 five times.
        near(&first(Baseline::Step), &[1.0 - 2.4, 1.0 - 0.225, 1.0 - 3.125]);
    }

    #[test]
    fn from_step_rewards_to_advantages_by_hand() {
        use crate::credit::{Credit, token_rewards};
        // Three responses to one prompt, of 3, 2 and 1 steps; a limit of 4 tokens; hard minima.
        let steps: [(&[usize], &[f32], f32); 3] =
            [(&[1, 2, 4], &[0.5, -0.5, 1.0], 0.0), (&[2, 3], &[0.5, 1.0], 1.0), (&[2], &[-1.0], 0.0)];
        let rewards: Vec<Vec<f32>> = steps
            .iter()
            .map(|(ends, scores, outcome)| {
                token_rewards(*ends.last().unwrap(), ends, &Credit::HardMin.transform(scores), *outcome)
            })
            .collect();
        // Minima from each step on: -0.5 -0.5 1; 0.5 1; -1. Differences land on the steps' last tokens.
        near(&rewards[0], &[0.0, -1.5, 0.0, 1.0]);
        near(&rewards[1], &[0.0, -0.5, 2.0]);
        near(&rewards[2], &[0.0, -1.0]);
        let group: Vec<SampleRewards<'_>> = rewards
            .iter()
            .zip(&steps)
            .map(|(rewards, (ends, ..))| SampleRewards { rewards, ends, values: &[], log_ratio: 0.0 })
            .collect();
        // Returns: -0.5 -0.5 1 1 (sum 1); 1.5 1.5 2 (sum 5); -1 -1 (sum -2). Baselines: sums of the others / (2 * 4).
        let fixed = step_leave_one_out(&group, Baseline::FixedLength, 4);
        near(&fixed[0], &[-0.875, -0.875, 0.625, 0.625]);
        near(&fixed[1], &[1.625, 1.625, 2.125]);
        near(&fixed[2], &[-1.75, -1.75]);
        // Tokens: the others' totals 0.5, -1.5, 1.0 over 5, 6, 7 tokens.
        let token = step_leave_one_out(&group, Baseline::Token, 4);
        near(&token[0], &[-0.5 - 0.4, -0.5 - 0.3, 1.0 - 0.2, 1.0 - 0.2]);
        near(&token[1], &[1.5 + 0.75, 1.5 + 0.75, 2.0 + 0.25]);
        near(&token[2], &[-1.0 - 2.0 / 7.0, -1.0 - 2.0 / 7.0]);
        // Steps: of the others' 0.75 and -1; -1/6 and -1; -1/6 and 0.75.
        let step = step_leave_one_out(&group, Baseline::Step, 4);
        near(&step[0], &[-0.5 + 0.375, -0.5 + 0.25, 1.0 + 0.125, 1.0 + 0.125]);
        near(&step[1], &[1.5 + 7.0 / 6.0, 1.5 + 7.0 / 6.0, 2.0 + 7.0 / 12.0]);
        near(&step[2], &[-1.0 - 7.0 / 24.0, -1.0 - 7.0 / 24.0]);
        // Totals: no place.
        let total = step_leave_one_out(&group, Baseline::Total, 4);
        near(&total[1], &[1.5 + 0.75; 3]);
    }

    proptest! {
        #[test]
        fn group_methods_sum_to_zero(totals in prop::collection::vec(-5f32..5.0, 2..16)) {
            for advantages in [group_relative(&totals, Scale::Std), group_relative(&totals, Scale::None), leave_one_out(&totals)] {
                prop_assert!(advantages.iter().sum::<f32>().abs() < 1e-3);
            }
        }

        #[test]
        fn leave_one_out_is_mean_only_times_n_over_n_minus_one(totals in prop::collection::vec(-5f32..5.0, 2..16)) {
            let n = totals.len() as f32;
            for (a, b) in leave_one_out(&totals).iter().zip(group_relative(&totals, Scale::None)) {
                prop_assert!((a - b * n / (n - 1.0)).abs() < 1e-4);
            }
        }

        #[test]
        fn a_constant_shift_of_the_reward_changes_nothing(totals in prop::collection::vec(-5f32..5.0, 2..16), shift in -3f32..3.0) {
            let shifted: Vec<f32> = totals.iter().map(|r| r + shift).collect();
            for (a, b) in leave_one_out(&totals).iter().zip(leave_one_out(&shifted)) {
                prop_assert!((a - b).abs() < 1e-4);
            }
        }
    }
}
