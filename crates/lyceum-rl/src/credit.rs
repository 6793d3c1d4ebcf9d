//! Where a reward lands: which of a sample's tokens it is paid at.

use serde::{Deserialize, Serialize};

use crate::kl::{KlPenalty, KlPlace};

/// Where a sample's reward lands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credit {
    /// All of it on the last sampled token.
    #[default]
    Outcome,
}

impl Credit {
    /// The reward at each of `tokens` sampled tokens.
    ///
    /// ```
    /// use lyceum_rl::credit::Credit;
    /// assert_eq!(Credit::Outcome.token_rewards(3, 1.0), [0.0, 0.0, 1.0]);
    /// ```
    #[must_use]
    pub fn token_rewards(self, tokens: usize, reward: f32) -> Vec<f32> {
        let mut rewards = vec![0.0; tokens];
        match self {
            Self::Outcome => {
                if let Some(last) = rewards.last_mut() {
                    *last = reward;
                }
            }
        }
        rewards
    }
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
    use crate::kl::KlKind;

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
