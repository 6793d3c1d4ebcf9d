//! Which groups are worth training on.

use serde::{Deserialize, Serialize};

/// A rule over the rewards of a group's samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupFilter {
    /// Every group is kept.
    #[default]
    All,
    /// Only groups whose rewards differ: the others have no group-relative advantage
    /// (dynamic sampling, DAPO, arXiv 2503.14476, eq. 11).
    Mixed,
}

impl GroupFilter {
    /// Whether a group with these rewards is kept.
    ///
    /// ```
    /// use lyceum_rl::filter::GroupFilter;
    /// assert!(!GroupFilter::Mixed.keeps(&[1.0, 1.0]));
    /// assert!(GroupFilter::Mixed.keeps(&[1.0, 0.0]) && GroupFilter::All.keeps(&[1.0, 1.0]));
    /// ```
    #[must_use]
    pub fn keeps(self, rewards: &[f32]) -> bool {
        match self {
            Self::All => true,
            Self::Mixed => is_mixed(rewards),
        }
    }
}

/// Whether not all rewards are the same.
#[must_use]
pub fn is_mixed(rewards: &[f32]) -> bool {
    rewards.windows(2).any(|w| w[0] != w[1])
}
