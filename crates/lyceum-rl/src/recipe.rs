//! What a training run is made of, as written in a recipe file.

use std::path::PathBuf;

use lyceum_engine::Sampling;
use lyceum_env::tool::ToolsSpec;
use lyceum_env::{RewardSpec, Split, TaskSpec};
use lyceum_nn::optimizer::AdamW;
use lyceum_nn::schedule::{Decay, Schedule};
use serde::{Deserialize, Serialize};

use crate::advantage::AdvantageSpec;
use crate::credit::Credit;
use crate::curriculum::CurriculumSpec;
use crate::denominator::Denominator;
use crate::filter::GroupFilter;
use crate::objective::{Form, Objective};
use crate::pairs::PairLoss;
use crate::replay::ReplaySpec;
use crate::{Error, Result};

/// A training run: a model, a task, one loop and how to watch it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Names the run folder.
    pub name: String,
    /// Seed of everything random.
    #[serde(default)]
    pub seed: u64,
    /// The model.
    pub model: ModelSpec,
    /// Where problems come from and how answers are verified.
    pub task: TaskSpec,
    /// Tools that the model may call in the middle of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<ToolsSpec>,
    /// Supervised fine-tuning on the task's demonstrations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sft: Option<SftSpec>,
    /// Reinforcement learning on the model's own samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicySpec>,
    /// Learning to judge steps: a process reward model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelsSpec>,
    /// Learning from preferences: a reward model, or a policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairs: Option<PairsSpec>,
    /// How gradients become updates.
    #[serde(default)]
    pub optimizer: OptimizerSpec,
    /// Held-out evaluation.
    #[serde(default)]
    pub eval: EvalSpec,
    /// Checkpoints and logs.
    #[serde(default)]
    pub run: RunSpec,
}

/// The model of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// A registered name, a preset such as `tiny-1m`, `hf:owner/name`, a folder, a .gguf file or a run.
    pub name: String,
    /// Precision of products; sums, weights and optimiser state are f32.
    #[serde(default)]
    pub precision: PrecisionSpec,
    /// Train a low-rank adapter and leave the model alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSpec>,
    /// Keep only the layers' inputs and compute the rest again in the backward pass: less memory, more time.
    #[serde(default)]
    pub checkpointing: bool,
    /// Context length of a model made from a preset.
    #[serde(default = "preset_context")]
    pub context: usize,
}

fn preset_context() -> usize {
    512
}

/// Precision of products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrecisionSpec {
    /// 32-bit operands.
    F32,
    /// bf16 operands.
    #[default]
    Bf16,
}

/// A low-rank adapter (arXiv 2106.09685).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraSpec {
    /// Rank.
    pub rank: usize,
    /// The update is scaled by alpha / rank.
    pub alpha: f32,
    /// Linear layers that get an adapter.
    pub targets: Vec<String>,
}

impl Default for LoraSpec {
    fn default() -> Self {
        let targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
        Self { rank: 16, alpha: 32.0, targets: targets.map(String::from).to_vec() }
    }
}

/// Supervised fine-tuning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftSpec {
    /// Optimiser steps.
    pub steps: u64,
    /// Demonstrations per step.
    pub batch: usize,
    /// Rows (tokens) computed at once; bounds memory, does not change the gradient.
    pub micro_tokens: usize,
}

impl Default for SftSpec {
    fn default() -> Self {
        Self { steps: 100, batch: 32, micro_tokens: 2048 }
    }
}

/// Token classification on the judged steps of the task's attempts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LabelsSpec {
    /// Optimiser steps; 0 evaluates and trains nothing.
    pub steps: u64,
    /// Attempts per step.
    pub batch: usize,
    /// Tokens computed at once; bounds memory, does not change the gradient.
    pub micro_tokens: usize,
    /// What separates steps; a policy that is judged must end its steps with the same.
    pub separator: String,
    /// Chance that a label is turned round.
    pub noise: f64,
    /// So many steps, the first ones, train the head alone.
    pub head_steps: u64,
    /// Their learning rate, without schedule.
    pub head_learning_rate: f32,
}

impl Default for LabelsSpec {
    fn default() -> Self {
        Self {
            steps: 200,
            batch: 32,
            micro_tokens: 2048,
            separator: "\n\n".into(),
            noise: 0.0,
            head_steps: 0,
            head_learning_rate: 1e-3,
        }
    }
}

/// Learning from the task's preferences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PairsSpec {
    /// Optimiser steps.
    pub steps: u64,
    /// Pairs per step.
    pub batch: usize,
    /// Tokens computed at once; bounds memory, does not change the gradient.
    pub micro_tokens: usize,
    /// What is learnt.
    pub loss: PairLoss,
}

impl Default for PairsSpec {
    fn default() -> Self {
        Self { steps: 100, batch: 32, micro_tokens: 2048, loss: PairLoss::default() }
    }
}

/// The loop of a recipe.
#[derive(Clone, Copy, Debug)]
pub enum Loop<'a> {
    /// Imitation.
    Sft(&'a SftSpec),
    /// Reinforcement.
    Policy(&'a PolicySpec),
    /// Token classification.
    Labels(&'a LabelsSpec),
    /// Preferences.
    Pairs(&'a PairsSpec),
}

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

/// How gradients become updates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerSpec {
    /// Peak learning rate.
    pub learning_rate: f32,
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// Course after the warm-up.
    pub decay: Decay,
    /// The last step's learning rate as a share of the peak.
    pub final_factor: f32,
    /// Global norm that gradients are clipped to; 0 does not clip.
    pub clip: f32,
    /// AdamW's decay of the gradient's mean.
    pub beta1: f32,
    /// AdamW's decay of the squared gradient's mean.
    pub beta2: f32,
    /// AdamW's epsilon.
    pub epsilon: f32,
    /// Decoupled decay of matrices.
    pub weight_decay: f32,
}

impl Default for OptimizerSpec {
    fn default() -> Self {
        let adamw = AdamW::default();
        Self {
            learning_rate: 1e-4,
            warmup: 0,
            decay: Decay::Constant,
            final_factor: 0.1,
            clip: 1.0,
            beta1: adamw.beta1,
            beta2: adamw.beta2,
            epsilon: adamw.epsilon,
            weight_decay: adamw.weight_decay,
        }
    }
}

impl OptimizerSpec {
    /// The optimiser's constants.
    #[must_use]
    pub fn adamw(&self) -> AdamW {
        AdamW { beta1: self.beta1, beta2: self.beta2, epsilon: self.epsilon, weight_decay: self.weight_decay }
    }

    /// The learning rate of optimiser step `step` (from 0) of `total`.
    #[must_use]
    pub fn rate(&self, step: u64, total: u64) -> f32 {
        let Self { warmup, decay, final_factor, .. } = *self;
        self.learning_rate * Schedule { decay, warmup, total, final_factor }.factor(step)
    }

    /// The clipping norm, if any.
    #[must_use]
    pub fn clip(&self) -> Option<f32> {
        (self.clip > 0.0).then_some(self.clip)
    }
}

/// Held-out evaluation: answers, the verifier's verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalSpec {
    /// Updates between evaluations; 0 evaluates only before the first and after the last.
    pub every: u64,
    /// Splits of the task.
    pub splits: Vec<Split>,
    /// Most problems of each split.
    pub limit: usize,
    /// Most new tokens of an answer; the rollout's limit when absent.
    pub max_new_tokens: Option<usize>,
    /// 0 takes the likeliest token; above, answers are sampled, the same way at every evaluation.
    pub temperature: f32,
}

impl Default for EvalSpec {
    fn default() -> Self {
        Self { every: 25, splits: vec![Split::Heldout], limit: 200, max_new_tokens: None, temperature: 0.0 }
    }
}

/// Checkpoints and logs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSpec {
    /// Updates between checkpoints.
    pub checkpoint_every: u64,
    /// Checkpoints kept besides the best one.
    pub keep: usize,
}

impl Default for RunSpec {
    fn default() -> Self {
        Self { checkpoint_every: 10, keep: 2 }
    }
}

impl PolicySpec {
    fn validate(&self) -> Result<()> {
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
        let regresses = self.objective.form == Form::WeightedLikelihood;
        if self.advantage.weight_clip().is_some() && !regresses {
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

/// Whether a product is a whole number that a double holds, so that all arithmetic on it is exact.
fn countable(factors: &[u64]) -> bool {
    let product = factors.iter().try_fold(1u64, |product, &factor| product.checked_mul(factor));
    product.is_some_and(|product| product < 1 << 53)
}

impl Recipe {
    /// Checks what the types can't.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key and what to put there.
    pub fn validate(&self) -> Result<()> {
        let refuse = |message: &str| Err(Error::Config(message.into()));
        if let Some(tools) = &self.tools {
            tools.check()?;
        }
        match self.training()? {
            Loop::Sft(sft) if !countable(&[sft.steps, sft.batch as u64]) => {
                return refuse("sft.steps x batch is more than can be counted; make them smaller");
            }
            Loop::Sft(sft) if sft.batch == 0 || sft.steps == 0 => {
                return refuse("sft.batch and sft.steps must be at least 1");
            }
            Loop::Sft(_) => {}
            Loop::Labels(labels) => {
                if labels.batch == 0 {
                    return refuse("labels.batch must be at least 1");
                }
                if labels.separator.is_empty() {
                    return refuse("labels.separator must not be empty");
                }
                if !countable(&[labels.steps, labels.batch as u64]) {
                    return refuse("labels.steps x batch is more than can be counted; make them smaller");
                }
                if !(0.0..=0.5).contains(&labels.noise) {
                    return refuse("labels.noise must be between 0 and 0.5");
                }
                if self.model.lora.is_some() {
                    return refuse("[labels] trains whole models; take [model.lora] away");
                }
            }
            Loop::Pairs(pairs) => {
                if pairs.batch == 0 || pairs.steps == 0 {
                    return refuse("pairs.batch and pairs.steps must be at least 1");
                }
                if !countable(&[pairs.steps, pairs.batch as u64]) {
                    return refuse("pairs.steps x batch is more than can be counted; make them smaller");
                }
                if pairs.loss.scores_by_value() && self.model.lora.is_some() {
                    return refuse("pairs.loss bradley-terry trains whole models; take [model.lora] away");
                }
                pairs.loss.validate()?;
            }
            Loop::Policy(policy) => policy.validate()?,
        }
        if !(self.eval.temperature >= 0.0 && self.eval.temperature.is_finite()) {
            return refuse("eval.temperature must not be negative");
        }
        if self.eval.max_new_tokens == Some(0) {
            return refuse("eval.max_new_tokens must be at least 1");
        }
        let rate = self.optimizer.learning_rate;
        if !(rate.is_finite() && rate > 0.0) {
            return refuse("optimizer.learning_rate must be positive");
        }
        Ok(())
    }

    /// The loop that the recipe chooses.
    ///
    /// # Errors
    /// [`Error::Config`] unless there is exactly one of the tables `[sft]`, `[policy]`, `[labels]` and `[pairs]`.
    pub fn training(&self) -> Result<Loop<'_>> {
        let refuse = |message: &str| Err(Error::Config(message.into()));
        match (&self.sft, &self.policy, &self.labels, &self.pairs) {
            (Some(sft), None, None, None) => Ok(Loop::Sft(sft)),
            (None, Some(policy), None, None) => Ok(Loop::Policy(policy)),
            (None, None, Some(labels), None) => Ok(Loop::Labels(labels)),
            (None, None, None, Some(pairs)) => Ok(Loop::Pairs(pairs)),
            (None, None, None, None) => {
                refuse("add a table [sft], [policy], [labels] or [pairs]: it chooses the training loop")
            }
            _ => refuse("[sft], [policy], [labels] and [pairs] are runs of their own; keep one of them"),
        }
    }

    /// Optimiser steps in all, for the schedule.
    #[must_use]
    pub fn optimizer_steps(&self) -> u64 {
        let of_a_round = match self.training() {
            Ok(Loop::Policy(policy)) => policy.steps_of_a_round(),
            _ => 1,
        };
        self.rounds().saturating_mul(of_a_round)
    }

    /// Rounds of the loop: SFT steps, policy updates, steps of token classification or on pairs.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        match self.training() {
            Ok(Loop::Sft(sft)) => sft.steps,
            Ok(Loop::Policy(policy)) => policy.updates,
            Ok(Loop::Labels(labels)) => labels.steps,
            Ok(Loop::Pairs(pairs)) => pairs.steps,
            Err(_) => 0,
        }
    }

    /// Whether the model is examined after round `done` (from 1); before the first it is examined always.
    #[must_use]
    pub fn evaluates_after(&self, done: u64) -> bool {
        let every = self.eval.every;
        done == self.rounds() || (every > 0 && done.is_multiple_of(every))
    }

    /// Whether a checkpoint is written after round `done` (from 1); before the first there is one always.
    #[must_use]
    pub fn saves_after(&self, done: u64) -> bool {
        self.evaluates_after(done) || done.is_multiple_of(self.run.checkpoint_every.max(1))
    }

    /// Most new tokens of a held-out answer.
    #[must_use]
    pub fn eval_tokens(&self) -> usize {
        self.eval.max_new_tokens.or(self.policy.as_ref().map(|p| p.max_new_tokens)).unwrap_or(256)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paid_is_what_has_a_weight() {
        let paid = |policy: serde_json::Value| serde_json::from_value::<PolicySpec>(policy).unwrap().paid();
        assert_eq!(paid(json!({})), ["reward/correct"]);
        assert_eq!(
            paid(json!({"reward": {"weights": {"correct": 0.0, "length": 0.5}}, "credit": {"rule": "sum"}})),
            ["reward/length", "reward/process"]
        );
    }

    #[test]
    fn counts_beyond_counting_are_refused() {
        let read = |table: &str, keys: serde_json::Value| -> Recipe {
            let mut recipe = json!({"name": "a", "model": {"name": "tiny-0.3m"}, "task": {"name": "chain"}});
            recipe[table] = keys;
            serde_json::from_value(recipe).unwrap()
        };
        let many = 1u64 << 62;
        for (table, keys, key) in [
            ("policy", json!({"updates": many, "epochs": 4}), "epochs x minibatches"),
            ("policy", json!({"epochs": many, "minibatches": 8}), "epochs x minibatches"),
            ("policy", json!({"updates": many}), "policy.updates"),
            ("policy", json!({"updates": 1, "prompts": many}), "prompts x samples"),
            ("sft", json!({"steps": many, "batch": 4}), "sft.steps x batch"),
        ] {
            let refusal = read(table, keys.clone()).validate().unwrap_err().to_string();
            assert!(refusal.contains(key), "{keys}: {refusal}");
        }
        assert!(read("policy", json!({})).validate().is_ok());
        assert_eq!(read("policy", json!({"epochs": many, "minibatches": 8})).optimizer_steps(), u64::MAX);
    }
}
