//! Token classification: a process reward model learns to tell right steps from wrong ones (PURE, arXiv 2504.15275).
//!
//! A problem's attempt is read once; the head's logit at the last token of each step is log(p(right) / p(wrong)), and the loss is
//! the mean binary cross-entropy over steps. As in the paper there are two stages: first the head alone, then everything.

use std::collections::BTreeMap;

use lyceum_engine::{Codec, Steps, judge};
use lyceum_env::exam::estimate;
use lyceum_env::{Attempt, JudgedStep, Problem, Split, Task};
use lyceum_nn::params::is_value_head;
use lyceum_nn::policy::{Policy, TokenGrads};
use lyceum_run::Row;
use lyceum_stats::{Draw, Estimate, Purpose};
use rand::Rng;

use crate::learner::Learner;
use crate::pairs::logistic;
use crate::recipe::{LabelsSpec, Recipe};
use crate::round::problems;
use crate::{Error, Result};

/// An attempt as the model reads it.
#[derive(Clone, Debug, PartialEq)]
struct Labelled {
    steps: Steps,
    judged: Vec<JudgedStep>,
}

/// One round: a batch of attempts, one optimiser step. Returns what is logged of it.
///
/// # Errors
/// [`Error::Data`] for a task without attempts; [`Error::Numeric`] when the loss is not finite (the weights are
/// unchanged).
pub fn round(
    learner: &mut Learner,
    recipe: &Recipe,
    spec: &LabelsSpec,
    task: &dyn Task,
    round: u64,
) -> Result<Row> {
    let problems = problems(recipe, task, round, spec.batch)?;
    let batch: Vec<Labelled> =
        problems.iter().map(|p| labelled(&learner.model.codec, spec, task, p)).collect::<Result<_>>()?;
    let targets: Vec<Vec<bool>> = batch
        .iter()
        .enumerate()
        .map(|(prompt, one)| {
            let draw = Draw { seed: recipe.seed, step: round + 1, prompt: prompt as u64, sample: 0 };
            let mut random = draw.rng(Purpose::Sampler);
            one.judged.iter().map(|step| step.right ^ random.random_bool(spec.noise)).collect()
        })
        .collect();
    let count: usize = targets.iter().map(Vec::len).sum();
    let weight = 1.0 / count.max(1) as f32;
    let policy = &mut learner.model.policy;
    policy.zero_grad();
    let (mut loss, mut agreed) = (0.0, 0usize);
    let sequences: Vec<&Steps> = batch.iter().map(|one| &one.steps).collect();
    for (from, to) in Steps::chunks(&sequences, spec.micro_tokens) {
        let logits = policy.logprobs(&Steps::pack(&sequences[from..to]))?.value;
        let mut grads = TokenGrads::default();
        for (logit, &right) in logits.iter().zip(targets[from..to].iter().flatten()) {
            let (own, slope) = cross_entropy(*logit, right);
            loss += f64::from(own * weight);
            grads.value.push(slope * weight);
            agreed += usize::from((*logit > 0.0) == right);
        }
        policy.backward(&grads)?;
    }
    if !loss.is_finite() {
        let cause = "the loss is not finite; lower optimizer.learning_rate";
        return Err(Error::Numeric { step: round, cause: cause.into() });
    }
    let mut rate = recipe.optimizer.rate(round, recipe.optimizer_steps());
    let mut adamw = recipe.optimizer.adamw();
    if round < spec.head_steps {
        policy.keep_gradient(&is_value_head);
        rate = spec.head_learning_rate;
        // Without a gradient, decay would be all that moves the rest.
        adamw.weight_decay = 0.0;
    }
    let info = policy.step(&adamw, rate, recipe.optimizer.clip())?;
    let mut row = Row::new(round + 1);
    row.set("labels/loss", loss);
    row.set("labels/accuracy", agreed as f64 / count.max(1) as f64);
    row.set("labels/steps", count as f64);
    row.set("optimizer/gradient-norm", info.gradient_norm);
    row.set("optimizer/learning-rate", f64::from(rate));
    Ok(row)
}

/// Binary cross-entropy of a logit, in nats, and its derivative.
///
/// ```
/// let (loss, slope) = lyceum_rl::labels::cross_entropy(0.0, true);
/// assert!((loss - 2f32.ln()).abs() < 1e-6 && (slope + 0.5).abs() < 1e-6);
/// ```
#[must_use]
pub fn cross_entropy(logit: f32, right: bool) -> (f32, f32) {
    let signed = if right { logit } else { -logit };
    let (loss, slope) = logistic(signed);
    (loss, if right { slope } else { -slope })
}

/// How well steps are told apart, on the first `limit` problems of a split.
///
/// `step-accuracy` counts the steps of kind `step` whose score has the sign of the judgement; `right-steps` and `wrong-steps`
/// are the same for either judgement alone, `always-right` is what calling every step right would reach, and
/// `score-<kind>` is the mean score of each kind of step. Intervals are over problems.
///
/// # Errors
/// [`Error::Data`] for a task without attempts.
pub fn evaluate(
    learner: &Learner,
    recipe: &Recipe,
    spec: &LabelsSpec,
    task: &dyn Task,
    split: Split,
) -> Result<BTreeMap<String, Estimate>> {
    let count = task.count(split)?.unwrap_or(u64::MAX).min(recipe.eval.limit as u64);
    let attempts: Vec<Labelled> = (0..count)
        .map(|i| labelled(&learner.model.codec, spec, task, &task.problem(split, recipe.seed, i)?))
        .collect::<Result<_>>()?;
    let sequences: Vec<&Steps> = attempts.iter().map(|one| &one.steps).collect();
    let scores = judge(&learner.model.policy, &sequences, spec.micro_tokens)?;
    let mut groups: BTreeMap<String, Vec<Vec<f64>>> = BTreeMap::new();
    for (one, scores) in attempts.iter().zip(&scores) {
        let mut own: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let mut note = |name: String, value: f64| own.entry(name).or_default().push(value);
        for (step, &score) in one.judged.iter().zip(scores) {
            note(format!("score-{}", step.kind), f64::from(score));
            if step.kind == "step" {
                let told = f64::from(u8::from((score > 0.0) == step.right));
                note(STEP_ACCURACY.into(), told);
                note(if step.right { "right-steps" } else { "wrong-steps" }.into(), told);
                note("always-right".into(), f64::from(u8::from(step.right)));
            }
        }
        own.into_iter().for_each(|(name, values)| groups.entry(name).or_default().push(values));
    }
    Ok(groups.into_iter().map(|(name, groups)| (name, estimate(&groups))).collect())
}

/// The measure by which checkpoints are compared.
pub const STEP_ACCURACY: &str = "step-accuracy";

fn labelled(codec: &Codec, spec: &LabelsSpec, task: &dyn Task, problem: &Problem) -> Result<Labelled> {
    let attempt = task.attempt(problem).filter(|attempt| !attempt.steps.is_empty()).ok_or_else(|| {
        Error::Data(format!("problem {} has no judged attempt; [labels] needs a task that has", problem.id))
    })?;
    let steps = encode(codec, codec.prompt(&problem.conversation())?, &attempt, &spec.separator)?;
    Ok(Labelled { steps, judged: attempt.steps })
}

/// Encodes an attempt step by step, so that every step ends at a token of its own.
fn encode(codec: &Codec, prompt: Vec<u32>, attempt: &Attempt, separator: &str) -> Result<Steps> {
    let mut steps = Steps { ids: prompt, ends: Vec::new() };
    for (at, step) in attempt.steps.iter().enumerate() {
        let ends = attempt.ended && at + 1 == attempt.steps.len();
        let text = if ends { step.text.clone() } else { format!("{}{separator}", step.text) };
        steps.ids.extend(codec.tokenizer().encode(&text).map_err(lyceum_engine::Error::Text)?);
        if ends {
            // As the policy ends its answer.
            steps.ids.extend(codec.stop_tokens().first());
        }
        steps.ends.push(steps.ids.len() as u32);
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use lyceum_text::{ControlTokens, Tokenizer};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_shows_where_judgement_stopped() {
        let codec = Codec::new(Tokenizer::bytes(&ControlTokens::default()).unwrap()).unwrap();
        let step = |text: &str| JudgedStep { text: text.into(), right: true, kind: "step" };
        let encoded = |ended| {
            let attempt = Attempt { steps: vec![step("ab"), step("c")], ended };
            encode(&codec, vec![7], &attempt, "\n").unwrap()
        };
        let bytes = |text: &str| codec.tokenizer().encode(text).unwrap();
        let end = codec.stop_tokens()[0];
        let whole = [vec![7], bytes("ab\nc"), vec![end]].concat();
        assert_eq!(encoded(true), Steps { ids: whole, ends: vec![4, 6] });
        // The last judged step looks like every other: steps follow that nobody judged.
        let open = [vec![7], bytes("ab\nc\n")].concat();
        assert_eq!(encoded(false), Steps { ids: open, ends: vec![4, 6] });
    }

    proptest! {
        #[test]
        fn the_slope_is_that_of_the_loss(logit in -8f32..8.0, right: bool) {
            let h = 1e-2;
            let difference = (cross_entropy(logit + h, right).0 - cross_entropy(logit - h, right).0) / (2.0 * h);
            prop_assert!((difference - cross_entropy(logit, right).1).abs() < 1e-3);
        }
    }

    #[test]
    fn large_logits_neither_overflow_nor_vanish() {
        for (logit, right, loss, slope) in [(100.0, false, 100.0, 1.0), (-100.0, true, 100.0, -1.0)] {
            assert_eq!(cross_entropy(logit, right), (loss, slope));
            let (loss, slope) = cross_entropy(-logit, right);
            assert!(loss < 1e-30 && slope.abs() < 1e-30, "{loss} {slope}");
        }
    }
}
