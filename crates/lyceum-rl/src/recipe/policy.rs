//! The recipe's table `policy`: reinforcement learning.

use std::path::PathBuf;

use lyceum_engine::Sampling;
use lyceum_env::RewardSpec;
use serde::{Deserialize, Serialize};

use super::countable;
use crate::advantage::AdvantageSpec;
use crate::credit::Credit;
use crate::curriculum::CurriculumSpec;
use crate::denominator::Denominator;
use crate::filter::GroupFilter;
use crate::objective::{Form, Objective};
use crate::replay::ReplaySpec;
use crate::{Error, Result};

/// Reinforcement learning: sample, score, assign credit, take advantages, step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySpec {
    /// Rollout-and-update rounds.
    pub updates: u64,
    /// Prompts per round.
    pub prompts: usize,
    /// Samples per prompt: the group.
    pub samples: usize,
    /// Passes over each round's samples.
    pub epochs: usize,
    /// Optimiser steps per pass; the round's groups are dealt out evenly.
    pub minibatches: usize,
    /// Rows (tokens) computed at once; bounds memory, does not change the gradient.
    pub micro_tokens: usize,
    /// Sequences decoded at once.
    pub decode_batch: usize,
    /// Most new tokens of a sample.
    pub max_new_tokens: usize,
    /// How tokens are sampled.
    pub sampling: Sampling,
    /// What is rewarded.
    pub reward: RewardSpec,
    /// Where the reward lands.
    pub credit: Credit,
    /// How groups of rewards become advantages.
    pub advantage: AdvantageSpec,
    /// The loss.
    pub objective: Objective,
    /// What the loss is averaged over.
    pub denominator: Denominator,
    /// Which groups are trained on.
    pub filter: GroupFilter,
    /// Wait for as many kept groups as there are prompts in a round before an update: rounds in between sample and do not
    /// learn (dynamic sampling at a fixed number of rollouts a round, DAPO, arXiv 2503.14476).
    pub gather: bool,
    /// What becomes of samples that were cut off at the limit of tokens.
    pub truncated: Truncated,
    /// Which problems come when.
    pub curriculum: CurriculumSpec,
    /// Rollouts that begin in the middle of earlier ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<ReplaySpec>,
    /// Share of traces kept in the run folder.
    pub keep_traces: f64,
    /// Recorded rollouts to train on instead of new ones: a trace file, as `lyceum rollout` writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_traces: Option<PathBuf>,
}

impl Default for PolicySpec {
    fn default() -> Self {
        Self {
            updates: 100,
            prompts: 8,
            samples: 8,
            epochs: 1,
            minibatches: 1,
            micro_tokens: 2048,
            decode_batch: 64,
            max_new_tokens: 128,
            sampling: Sampling::default(),
            reward: RewardSpec::default(),
            credit: Credit::default(),
            advantage: AdvantageSpec::default(),
            objective: Objective::default(),
            denominator: Denominator::default(),
            filter: GroupFilter::default(),
            gather: false,
            truncated: Truncated::default(),
            curriculum: CurriculumSpec::default(),
            replay: None,
            keep_traces: 1.0,
            from_traces: None,
        }
    }
}

/// What becomes of samples that were cut off at the limit of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Truncated {
    /// They are trained on like all others.
    #[default]
    Keep,
    /// They leave their group (over-long filtering, DAPO, arXiv 2503.14476).
    Drop,
    /// They stay in their group's mean and get advantage 0 (SRPO, arXiv 2504.14286).
    Silence,
}

impl PolicySpec {
    pub(super) fn validate(&self) -> Result<()> {
        let refuse = |message: &str| Err(Error::Config(message.into()));
        if self.prompts == 0 || self.samples == 0 || self.updates == 0 || self.epochs == 0 {
            return refuse("policy.prompts, samples, updates and epochs must be at least 1");
        }
        if self.minibatches == 0 || self.minibatches > self.prompts {
            return refuse("policy.minibatches must be between 1 and policy.prompts");
        }
        if self.max_new_tokens == 0 {
            return refuse("policy.max_new_tokens must be at least 1");
        }
        let (prompts, samples) = (self.prompts as u64, self.samples as u64);
        if !countable(&[self.updates, self.epochs as u64, self.minibatches as u64]) {
            return refuse(
                "policy.updates x epochs x minibatches is more than can be counted; make them smaller",
            );
        }
        if !countable(&[self.updates, prompts, samples]) {
            return refuse(
                "policy.updates x prompts x samples is more than can be counted; make them smaller",
            );
        }
        if self.samples == 1 && self.advantage.needs_group() {
            return refuse("policy.samples = 1 leaves a group nothing to compare; use at least 2, or gae");
        }
        self.reward.check()?;
        self.curriculum.validate()?;
        if self.advantage.regresses() && self.objective.form != Form::WeightedLikelihood {
            return refuse(
                "policy.advantage gives weights of a likelihood; say policy.objective.form = \"weighted-likelihood\"",
            );
        }
        if let AdvantageSpec::Dar { alpha, beta, .. } = self.advantage
            && !(alpha >= 0.0 && beta >= 0.0 && alpha + beta > 0.0)
        {
            return refuse("policy.advantage.alpha and beta must not be negative, and their sum not 0");
        }
        if let Some(replay) = &self.replay {
            replay.validate(self)?;
        }
        if self.credit != Credit::Outcome && self.reward.process.is_none() {
            return refuse(
                "policy.credit pays process rewards; add a table [policy.reward.process], which names their judge",
            );
        }
        if let Credit::Min { temperature } = self.credit
            && !(temperature > 0.0 && temperature.is_finite())
        {
            return refuse("policy.credit.temperature must be positive");
        }
        if let Some(problem) = self.sampling.problem() {
            return Err(Error::Config(format!("policy.sampling: {problem}")));
        }
        if self.sampling.temperature == 0.0 {
            return refuse("policy.sampling.temperature = 0 makes all samples of a group equal; use 1.0");
        }
        Ok(())
    }

    /// Whether the loss or the advantages compare with the reference model.
    #[must_use]
    pub fn needs_reference(&self) -> bool {
        self.objective.needs_reference() || self.advantage.needs_reference()
    }

    /// What the policy is paid for, by name in the metrics: components with a weight, and process rewards under a credit
    /// that pays them.
    #[must_use]
    pub fn paid(&self) -> Vec<String> {
        let weights = self.reward.effective_weights();
        let components = weights.iter().filter(|(_, weight)| **weight != 0.0).map(|(name, _)| name.clone());
        let process = (self.credit != Credit::Outcome).then(|| "process".to_owned());
        components.chain(process).map(|name| format!("reward/{name}")).collect()
    }

    /// Optimiser steps of a round whose groups are all trained on.
    #[must_use]
    pub fn steps_of_a_round(&self) -> u64 {
        (self.epochs as u64).saturating_mul(self.minibatches as u64)
    }
}
