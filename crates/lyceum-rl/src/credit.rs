//! Where a reward lands: which of a sample's tokens it is paid at.
//!
//! A rule is a pure function from the process rewards of a response's steps to the rewards that are paid at these steps; what
//! follows (returns, baselines) sums them. To add one: a function, a variant of [`Credit`], an arm of
//! [`Credit::transform`].

use serde::{Deserialize, Serialize};

use crate::kl::{KlPenalty, KlPlace};

/// How the process rewards of a response's steps become rewards at these steps. The combined reward of the whole response
/// lands on its last token under every rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Credit {
    /// Process rewards, if there are any, are watched and not paid.
    #[default]
    Outcome,
    /// As they are: the return of a step is the sum of its own and all later rewards.
    Sum,
    /// Softmin weights: the return is about the least reward ([`soft_min`]).
    Min {
        /// Near 0 the weights are on the worst step alone; above, they spread.
        #[serde(default = "tenth")]
        temperature: f32,
    },
    /// The return of a step is the least of its own and all later rewards ([`hard_min`]).
    HardMin,
    /// The last step's reward alone: what a judge that looks at the end of a response says of it ([`last_step`]).
    LastStep,
}

fn tenth() -> f32 {
    0.1
}

/// PURE's transform (arXiv 2504.15275): w = softmax(-r / T) over **all** steps of the response, reward w * r. With T near 0
/// the return of every step up to the worst is the worst reward, and 0 after it.
///
/// ```
/// use lyceum_rl::credit::soft_min;
/// let paid = soft_min(&[0.9, 0.8, 0.95, -0.6, 0.7], 0.1);
/// assert!((paid[3] + 0.6).abs() < 1e-3 && paid[0].abs() < 1e-3 && paid[4].abs() < 1e-3);
/// ```
#[must_use]
pub fn soft_min(rewards: &[f32], temperature: f32) -> Vec<f32> {
    let least = rewards.iter().copied().fold(f32::INFINITY, f32::min);
    let weights: Vec<f32> = rewards.iter().map(|r| ((least - r) / temperature.max(1e-6)).exp()).collect();
    let sum: f32 = weights.iter().sum();
    rewards.iter().zip(&weights).map(|(r, w)| w / sum * r).collect()
}

/// Rewards whose sums from each step on are the least rewards from each step on: the strict form of [`soft_min`].
///
/// ```
/// use lyceum_rl::{advantage::returns, credit::hard_min};
/// let paid = hard_min(&[0.5, -0.25, 1.0, 0.75]);
/// assert_eq!(returns(&paid, 1.0), [-0.25, -0.25, 0.75, 0.75]);
/// ```
#[must_use]
pub fn hard_min(rewards: &[f32]) -> Vec<f32> {
    let mut paid = rewards.to_vec();
    let mut later = 0.0;
    for (at, reward) in rewards.iter().enumerate().rev() {
        let least = if at + 1 == rewards.len() { *reward } else { reward.min(later) };
        paid[at] = if at + 1 == rewards.len() { least } else { least - later };
        later = least;
    }
    paid
}

/// The last step is paid its reward, the others nothing.
///
/// ```
/// assert_eq!(lyceum_rl::credit::last_step(&[0.9, -0.6, 0.7]), [0.0, 0.0, 0.7]);
/// ```
#[must_use]
pub fn last_step(rewards: &[f32]) -> Vec<f32> {
    let last = rewards.len().saturating_sub(1);
    rewards.iter().enumerate().map(|(at, &reward)| if at == last { reward } else { 0.0 }).collect()
}

impl Credit {
    /// The rewards paid at the steps whose process rewards are `steps`.
    #[must_use]
    pub fn transform(self, steps: &[f32]) -> Vec<f32> {
        match self {
            Self::Outcome => vec![0.0; steps.len()],
            Self::Sum => steps.to_vec(),
            Self::Min { temperature } => soft_min(steps, temperature),
            Self::HardMin => hard_min(steps),
            Self::LastStep => last_step(steps),
        }
    }
}

/// The reward at each of `tokens` sampled tokens: `paid[i]` at the last token of step i, which ends before token
/// `ends[i]`, and `outcome` at the last token.
///
/// ```
/// use lyceum_rl::credit::token_rewards;
/// assert_eq!(token_rewards(3, &[], &[], 1.0), [0.0, 0.0, 1.0]);
/// assert_eq!(token_rewards(4, &[1, 4], &[0.5, 0.25], 1.0), [0.5, 0.0, 0.0, 1.25]);
/// ```
#[must_use]
pub fn token_rewards(tokens: usize, ends: &[usize], paid: &[f32], outcome: f32) -> Vec<f32> {
    let mut rewards = vec![0.0; tokens];
    if let Some(last) = rewards.last_mut() {
        *last = outcome;
    }
    for (&end, &reward) in ends.iter().zip(paid) {
        // A step without a sampled token of its own is paid at the one before it.
        if let Some(token) = rewards.get_mut(end.saturating_sub(1)) {
            *token += reward;
        }
    }
    rewards
}

/// Subtracts a KL penalty from the rewards of a sample's tokens, for penalties that stand in the reward. `logp` is the
/// policy's log-probability at the time of the rollout.
pub fn penalise_kl(rewards: &mut [f32], penalty: Option<KlPenalty>, logp: &[f32], reference: &[f32]) {
    let Some(KlPenalty { kind, coefficient, place: KlPlace::Reward }) = penalty else { return };
    for ((reward, &logp), &reference) in rewards.iter_mut().zip(logp).zip(reference) {
        *reward -= coefficient * kind.estimate(logp, reference).0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advantage::returns;
    use crate::kl::KlKind;
    use proptest::prelude::*;

    fn close(got: &[f32], expected: &[f32], within: f32) {
        assert_eq!(got.len(), expected.len());
        for (g, e) in got.iter().zip(expected) {
            assert!((g - e).abs() <= within, "{got:?} {expected:?}");
        }
    }

    #[test]
    fn pure_by_worked_examples() {
        let one_mistake = soft_min(&[0.9, 0.8, 0.95, -0.6, 0.7], 0.1);
        close(&one_mistake, &[0.0, 0.0, 0.0, -0.6, 0.0], 1e-3);
        close(&returns(&one_mistake, 1.0), &[-0.6, -0.6, -0.6, -0.6, 0.0], 1e-3);
        let flawless = soft_min(&[0.9, 0.8, 0.95, 0.6, 0.7], 0.1);
        close(&flawless, &[0.0283, 0.0684, 0.0181, 0.379, 0.1627], 1e-3);
        close(&returns(&flawless, 1.0), &[0.656, 0.628, 0.560, 0.542, 0.163], 1e-3);
    }

    #[test]
    fn degenerate_responses() {
        for credit in [Credit::Sum, Credit::Min { temperature: 0.1 }, Credit::HardMin] {
            assert_eq!(credit.transform(&[]), Vec::<f32>::new());
            assert_eq!(credit.transform(&[-0.5]), [-0.5]);
        }
        assert_eq!(Credit::Outcome.transform(&[1.0, 2.0]), [0.0, 0.0]);
        assert_eq!(token_rewards(0, &[], &[], 1.0), Vec::<f32>::new());
    }

    proptest! {
        #[test]
        fn a_cold_soft_min_is_the_least_reward_up_to_the_worst_step(
            rewards in prop::collection::vec(-1f32..1.0, 1..12),
        ) {
            let worst = rewards.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).unwrap();
            let margin = rewards.iter().enumerate().filter(|(i, _)| *i != worst.0).all(|(_, r)| r - worst.1 > 0.02);
            prop_assume!(margin);
            let sums = returns(&soft_min(&rewards, 1e-3), 1.0);
            for (at, sum) in sums.iter().enumerate() {
                let expected = if at <= worst.0 { *worst.1 } else { 0.0 };
                prop_assert!((sum - expected).abs() < 1e-4);
            }
        }

        #[test]
        fn a_hot_soft_min_is_the_mean_and_hard_min_sums_to_suffix_minima(
            rewards in prop::collection::vec(-1f32..1.0, 1..12),
        ) {
            let n = rewards.len() as f32;
            let mean: f32 = rewards.iter().sum::<f32>() / n;
            prop_assert!((soft_min(&rewards, 1e6).iter().sum::<f32>() - mean).abs() < 1e-4);
            for (at, sum) in returns(&hard_min(&rewards), 1.0).iter().enumerate() {
                let least = rewards[at..].iter().copied().fold(f32::INFINITY, f32::min);
                prop_assert!((sum - least).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn the_penalty_is_paid_token_by_token_and_only_in_the_reward() {
        let mut rewards = [0.0, 1.0];
        let penalty = KlPenalty { kind: KlKind::K1, coefficient: 0.5, place: KlPlace::Reward };
        penalise_kl(&mut rewards, Some(penalty), &[-1.0, -2.0], &[-2.0, -2.0]);
        assert_eq!(rewards, [-0.5, 1.0]);
        penalise_kl(
            &mut rewards,
            Some(KlPenalty { place: KlPlace::Loss, ..penalty }),
            &[-1.0, -2.0],
            &[-9.0, -9.0],
        );
        assert_eq!(rewards, [-0.5, 1.0]);
    }
}
