//! How a group of rewards becomes advantages.
//!
//! Rewards arrive per sampled token (see [`crate::credit`]); an outcome reward is simply a reward on the last
//! token. Group methods look at totals, GAE at the tokens and the critic's values. All functions are pure.

use serde::{Deserialize, Serialize};

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
    /// Total minus the mean of the other samples' totals (RLOO, arXiv 2402.14740).
    Rloo,
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
fn yes() -> bool {
    true
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
    /// The critic's value before each sampled token; empty where there is no critic.
    pub values: &'a [f32],
}

/// Advantages of a sample's tokens, with the critic's targets where there is a critic.
#[derive(Clone, Debug, PartialEq)]
pub struct Advantages {
    /// One a sampled token.
    pub advantages: Vec<f32>,
    /// What the critic should have said at each token; empty without a critic.
    pub returns: Vec<f32>,
}

impl AdvantageSpec {
    /// Whether the policy needs a value head.
    #[must_use]
    pub fn needs_critic(&self) -> bool {
        matches!(self, Self::Gae { .. })
    }

    /// Advantages of a batch of groups. `groups` are lists of samples of the same prompt.
    #[must_use]
    pub fn estimate(&self, groups: &[Vec<SampleRewards<'_>>]) -> Vec<Vec<Advantages>> {
        let mut out: Vec<Vec<Advantages>> = groups.iter().map(|g| self.estimate_group(g)).collect();
        if let Self::Gae { whiten: true, .. } = self {
            whiten_batch(&mut out);
        }
        out
    }

    fn estimate_group(&self, group: &[SampleRewards<'_>]) -> Vec<Advantages> {
        let totals: Vec<f32> = group.iter().map(|s| s.rewards.iter().sum()).collect();
        let spread = |per_sample: Vec<f32>| {
            let tokens = |(a, s): (f32, &SampleRewards<'_>)| Advantages {
                advantages: vec![a; s.rewards.len()],
                returns: Vec::new(),
            };
            per_sample.into_iter().zip(group).map(tokens).collect()
        };
        match *self {
            Self::Grpo { scale } => spread(group_relative(&totals, scale)),
            Self::Rloo => spread(leave_one_out(&totals)),
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
