//! What a training run is made of, as written in a recipe file.

mod policy;

use lyceum_env::tool::ToolsSpec;
use lyceum_env::{Split, TaskSpec};
use lyceum_nn::optimizer::AdamW;
use lyceum_nn::schedule::{Decay, Schedule};
use serde::{Deserialize, Serialize};

use crate::pairs::PairLoss;
use crate::{Error, Result};

pub use self::policy::{PolicySpec, Truncated};

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
        let (efficiency, replay) = self
            .policy
            .as_ref()
            .map_or((false, false), |policy| (policy.reward.efficiency.is_some(), policy.replay.is_some()));
        if efficiency && self.tools.is_none() {
            return refuse("policy.reward.efficiency counts calls of tools; add a table [tools]");
        }
        if replay && self.tools.is_some() {
            // A state in the middle of an answer would forget the calls before it.
            return refuse("policy.replay does not go with [tools]; keep one of them");
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
    fn tools_and_what_counts_or_forgets_their_calls() {
        let refusal = |changes: serde_json::Value| -> Option<String> {
            let mut recipe = json!({"name": "x", "model": {"name": "tiny-0.3m"}, "task": {"name": "chain"}});
            recipe.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            serde_json::from_value::<Recipe>(recipe).unwrap().validate().err().map(|error| error.to_string())
        };
        let tools = json!({"use": [{"name": "calculator"}]});
        let thrifty = json!({"reward": {"efficiency": {}}});
        let replay = json!({"replay": {"choice": "random"}});
        assert!(refusal(json!({"policy": thrifty})).unwrap().contains("[tools]"));
        assert!(refusal(json!({"policy": replay, "tools": tools})).unwrap().contains("policy.replay"));
        assert_eq!(refusal(json!({"policy": thrifty, "tools": tools})), None);
        assert_eq!(refusal(json!({"policy": replay})), None);
        assert!(
            refusal(json!({"policy": {"advantage": {"kind": "dpo"}}}))
                .unwrap()
                .contains("weighted-likelihood")
        );
        assert!(
            refusal(json!({"policy": {"curriculum": {"problems": 1u64 << 40}}}))
                .unwrap()
                .contains("problems")
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
