//! What a recipe rewards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::component::{Failure, FailureKind};
use super::efficiency::EfficiencySpec;
use super::judge::JudgeSpec;
use super::pairwise::PairwiseSpec;
use super::process::ProcessSpec;
use crate::error::{Error, Result};

/// How components become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The weighted sum.
    #[default]
    Sum,
    /// The product, each component to the power of its weight.
    Product,
    /// The weighted sum where the component `gate` is 1 or more, else 0.
    Gate,
}

/// The component `length`: 1 up to `free` new tokens, falling evenly to 0 at `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LengthSpec {
    /// Tokens that cost nothing.
    pub free: u64,
    /// Tokens at which nothing is left.
    pub limit: u64,
}

impl LengthSpec {
    /// The component's value for so many new tokens.
    #[must_use]
    pub fn score(&self, tokens: u64) -> f64 {
        let over = tokens.saturating_sub(self.free) as f64;
        let room = self.limit.saturating_sub(self.free).max(1) as f64;
        (1.0 - over / room).max(0.0)
    }
}

/// The recipe's table `reward`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewardSpec {
    /// How components are combined.
    pub rule: Rule,
    /// The components that count, with their weights. Empty for `reward = 1` with a command and `correct = 1` without.
    pub weights: BTreeMap<String, f64>,
    /// The component that opens the gate; `correct` if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<String>,
    /// Scores the number of new tokens as the component `length`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<LengthSpec>,
    /// Scores the number of calls of tools as the component `efficiency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub efficiency: Option<EfficiencySpec>,
    /// Judges whole answers as the component `judge`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judge: Option<JudgeSpec>,
    /// Compares neighbouring samples as the component `preferred`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairwise: Option<PairwiseSpec>,
    /// Judges every step of a completion. Where these rewards land is the recipe's `credit`; they are no component and
    /// have no part in the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessSpec>,
    /// Share of the problems whose components are known; on all others the combined reward is 0 whatever the
    /// completion (PURE's "PRM + 10 % verifiable" is 0.1). Which they are depends on the problem alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known: Option<f64>,
    /// A program that scores completions: JSON lines in, JSON lines out (see [`CommandReward`](super::CommandReward)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Seconds that the command may take for one completion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<f64>,
    /// Seconds more for its first answer, in which it may load what it needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup: Option<f64>,
}

impl RewardSpec {
    /// Checks what serde can't.
    ///
    /// # Errors
    /// [`Error::Option`] names the key.
    pub fn check(&self) -> Result<()> {
        let refuse = |option: &str, message: &str| Err(Error::option("reward", option, message));
        if self.weights.values().any(|weight| !weight.is_finite()) {
            return refuse("weights", "must be finite numbers");
        }
        if self.command.as_ref().is_some_and(Vec::is_empty) {
            return refuse("command", "must name a program, as in [\"python3\", \"my_reward.py\"]");
        }
        for (key, seconds) in [("deadline", self.deadline), ("startup", self.startup)] {
            if seconds.is_some_and(|seconds| !(0.001..=86_400.0).contains(&seconds)) {
                return refuse(key, "must be seconds between 0.001 and 86400");
            }
            if seconds.is_some() && self.command.is_none() {
                return refuse(key, "is for a reward command, and there is none");
            }
        }
        if self.length.is_some_and(|length| length.limit <= length.free) {
            return refuse("length", "must have a limit above free");
        }
        if let Some(judge) = &self.judge {
            if judge.model.is_some() == judge.endpoint.is_some() {
                return refuse("judge", "must have either a model or an endpoint");
            }
            if !(0.001..=86_400.0).contains(&judge.deadline) {
                return refuse("judge.deadline", "must be seconds between 0.001 and 86400");
            }
        }
        if self.pairwise.as_ref().is_some_and(|pairs| !(0.0..=1.0).contains(&pairs.second_bias)) {
            return refuse("pairwise.second_bias", "must be a chance between 0 and 1");
        }
        if self.efficiency.is_some_and(|spec| !(spec.smoothing > 0.0 && spec.smoothing.is_finite())) {
            return refuse("efficiency.smoothing", "must be positive");
        }
        if self.known.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return refuse("known", "must be a share between 0 and 1");
        }
        if let Some(process) = &self.process {
            if process.separator.is_empty() {
                return refuse("process.separator", "must not be empty");
            }
            if !(0.0..=1.0).contains(&process.noise) || (process.noise > 0.0 && process.model.is_some()) {
                return refuse("process.noise", "must be a share, and is for the task's own judgement");
            }
        }
        if self.gate.is_some() && self.rule != Rule::Gate {
            return refuse("gate", "needs rule = \"gate\"");
        }
        Ok(())
    }

    /// The components that count, with their weights.
    #[must_use]
    pub fn effective_weights(&self) -> BTreeMap<String, f64> {
        if self.weights.is_empty() {
            let name = if self.command.is_some() { "reward" } else { "correct" };
            return BTreeMap::from([(name.to_owned(), 1.0)]);
        }
        self.weights.clone()
    }

    /// One number from the components that `score` looks up.
    ///
    /// # Errors
    /// The failure of the first component that counts and has none, or [`FailureKind::NotFinite`].
    pub fn combine(
        &self,
        score: impl Fn(&str) -> std::result::Result<f64, Failure>,
    ) -> std::result::Result<f64, Failure> {
        let weights = self.effective_weights();
        let sum = || weights.iter().try_fold(0.0, |sum, (name, weight)| Ok(sum + weight * score(name)?));
        let total: f64 = match self.rule {
            Rule::Sum => sum()?,
            Rule::Product => weights
                .iter()
                .try_fold(1.0, |product, (name, weight)| Ok(product * score(name)?.powf(*weight)))?,
            Rule::Gate if score(self.gate.as_deref().unwrap_or("correct"))? < 1.0 => 0.0,
            Rule::Gate => sum()?,
        };
        if !total.is_finite() {
            return Err(Failure::new(FailureKind::NotFinite, format!("the combined reward is {total}")));
        }
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(toml: &str) -> RewardSpec {
        toml::from_str(toml).unwrap()
    }

    fn total(toml: &str) -> Result<f64, FailureKind> {
        let scores = |name: &str| match name {
            "correct" => Ok(1.0),
            "wrong" => Ok(0.0),
            "half" => Ok(0.5),
            "minus" => Ok(-1.0),
            _ => Err(Failure::new(FailureKind::Missing, "no such component")),
        };
        spec(toml).combine(scores).map_err(|failure| failure.kind)
    }

    #[test]
    fn rules_by_worked_examples() {
        assert_eq!(total(""), Ok(1.0));
        assert_eq!(total("weights = {correct = 1.0, half = 0.5}"), Ok(1.25));
        assert_eq!(total("rule = 'product'\nweights = {correct = 1, half = 2}"), Ok(0.25));
        assert_eq!(total("rule = 'gate'\nweights = {half = 3}"), Ok(1.5));
        assert_eq!(total("rule = 'gate'\ngate = 'wrong'\nweights = {half = 3}"), Ok(0.0));
        // Behind a closed gate nobody asks for the other components.
        assert_eq!(total("rule = 'gate'\ngate = 'wrong'\nweights = {absent = 3}"), Ok(0.0));
        assert_eq!(total("weights = {correct = 1, absent = 0.1}"), Err(FailureKind::Missing));
        assert_eq!(total("rule = 'product'\nweights = {minus = 0.5}"), Err(FailureKind::NotFinite));
    }

    #[test]
    fn length_falls_evenly() {
        let length = LengthSpec { free: 10, limit: 20 };
        assert_eq!([0, 10, 15, 20, 99].map(|tokens| length.score(tokens)), [1.0, 1.0, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn bad_settings_are_named() {
        for (toml, key) in [
            ("command = []", "`command`"),
            ("command = ['x']\ndeadline = 0", "`deadline`"),
            ("deadline = 3", "`deadline`"),
            ("length = {free = 9, limit = 9}", "`length`"),
            ("gate = 'correct'", "`gate`"),
            ("weights = {a = nan}", "`weights`"),
            ("known = 1.5", "`known`"),
            ("judge = {}", "`judge`"),
            ("pairwise = {second_bias = 2.0}", "`pairwise.second_bias`"),
            ("efficiency = {smoothing = 0}", "`efficiency.smoothing`"),
            ("process = {separator = ''}", "`process.separator`"),
        ] {
            assert!(spec(toml).check().unwrap_err().to_string().contains(key), "{toml}");
        }
        assert!(spec("command = ['python3', 'x.py']\ndeadline = 3").check().is_ok());
        assert!(toml::from_str::<RewardSpec>("weight = {}").unwrap_err().to_string().contains("`weights`"));
    }
}
